"""The work of one job of a sweep: it runs cell after cell, each under its lock; a failure affects one cell only."""

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.records import record
from bridge.records.manifest import Cell, Manifest, read
from bridge.records.provenance import provenance
from bridge.sweep import fail_fast
from bridge.sweep.attempts import MAX_CUTS, MAX_DEATHS, Attempts, errors
from bridge.sweep.order import shares, turns

if TYPE_CHECKING:
    from bridge.records.record import Record
    from bridge.session import Session

# How long a job waits before it checks again whether cells that other jobs run are done.
POLL_S = 0.3
# How often a job ensures that a streamer of the sweep runs.
STREAM_S = 15.0


class MakeRoom(BaseException):
    """The job was signalled to make room. Not an `Exception`, so that it is never taken for a failure of the cell."""


@dataclass
class Worker:
    """A job's work, given to submitit as a callable that can be requeued.

    Attributes:
        outputs: the outputs folder.
        name: the sweep.
        launch: token of the launch; a cell that failed in it is not tried again in it.
        run_ids: the cells that the launch is for.
        again: those of them that are computed again although they have a finished record.
        own: index of the share of cells that this job begins with.
        n_jobs: how many jobs the launch has.
        grace_s: seconds a cell gets to finish after the job was signalled to make room.
    """

    outputs: str
    name: str
    launch: str
    run_ids: Sequence[str]
    again: Sequence[str]
    own: int
    n_jobs: int
    grace_s: float
    # SIGUSR2 asked this process to make room for others.
    _must_end: bool = field(default=False, init=False)
    # SIGTERM was received: a death that follows is not caused by the cell.
    _ending: bool = field(default=False, init=False)
    # The cell that runs now.
    _attempts: Attempts | None = field(default=None, init=False)

    def __call__(self) -> Counter[str]:
        """Work until every cell of the launch is done, failed or dropped.

        Returns:
            How many cells this job computed, and how many failed or were dropped in it.
        """
        from submitit import JobEnvironment

        self.job = JobEnvironment().job_id
        manifest = read(self.outputs, self.name)
        self._say(
            f"job {self.job} on {socket.gethostname()}, pid {os.getpid()}, "
            f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')!r}"
        )
        self._note_start(manifest)
        requeue = self._listen()
        shared = shares(manifest, self.run_ids, self.n_jobs)
        left = turns(shared, self.own % len(shared))
        counts = Counter(computed=0, failed=0)
        session = None
        streamed = 0.0
        # Each cell is tried once; cells that another job holds are tried again until they are settled.
        while left and not self._ends(manifest):
            busy: list[Cell] = []
            for cell in left:
                if self._ends(manifest):
                    break
                if time.monotonic() - streamed > STREAM_S:
                    streamed = time.monotonic()
                    _stream(manifest)
                if self._settled(manifest, cell):
                    continue
                with record.claimed(self.outputs, cell.run_id, wait=False) as mine:
                    if not mine:
                        busy.append(cell)
                    elif not self._settled(manifest, cell):
                        session = session or _session(manifest, self.n_jobs)
                        counts[self._run(manifest, cell, session)] += 1
            if busy and not self._must_end and len(busy) == len(left):
                time.sleep(POLL_S)
            left = busy
        if self._must_end:
            self._say(f"making room: {counts['computed']} cells computed, {counts['failed']} failed, requeued")
            # submitit's own handler: it requeues the job and ends this process, or raises where it may not.
            requeue(signal.SIGUSR2, None)
        _stream(manifest, last=True)
        self._say(f"finished: {counts['computed']} cells computed, {counts['failed']} failed in this job")
        return counts

    def checkpoint(self) -> Any:
        """The work that submitit submits again: the same, as finished cells are recognised on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(
            Worker(self.outputs, self.name, self.launch, self.run_ids, self.again, self.own, self.n_jobs, self.grace_s)
        )

    def _settled(self, manifest: Manifest, cell: Cell) -> bool:
        """Whether there is nothing left to do for a cell in this launch."""
        fields = record.head(self.outputs, cell.run_id)
        if fields is not None and fields["status"] == "done" and cell.run_id not in self.again:
            return True
        attempt = Attempts(manifest.folder, cell.run_id).read()
        return attempt.get("launch") == self.launch and attempt["state"] in ("failed", "done")

    def _run(self, manifest: Manifest, cell: Cell, session: "Session") -> str:
        """Run one cell that this process has locked, and note how it ended."""
        from bridge.config import from_plain
        from bridge.run import run

        attempts = Attempts(manifest.folder, cell.run_id)
        attempt = attempts.begin(self.launch, self.job, "told" if self._ending else "running")
        config = manifest.config(cell)
        label = manifest.label(cell)
        if attempt["n_deaths"] >= MAX_DEATHS:
            last = attempt["died"]
            return self._give_up(
                manifest,
                cell,
                f"its process was killed {attempt['n_deaths']} times while it ran (last: job {last['job']} on "
                f"{last['host']}); see whether memory ran out",
            )
        started = time.perf_counter()
        try:
            result = self._interruptible(attempts, lambda: run(from_plain(config), session))
        except MakeRoom:
            return self._drop(manifest, cell, attempts, time.perf_counter() - started)
        except Exception as error:
            if not isinstance(error, BridgeError):
                self._say(traceback.format_exc())
            return self._failed(manifest, cell, str(error))
        # Ctrl-C and the like: the cell is dropped, and the exception is raised again.
        except BaseException:
            attempts.end("dropped")
            raise
        if cell.run_id in self.again:
            attempts.end("done")
        else:
            attempts.clear()
        self._say(f"{'read back' if result.reused else 'done'}: {label} ({time.perf_counter() - started:.1f} s)")
        return "computed"

    def _interruptible(self, attempts: Attempts, call: Callable[[], "Record"]) -> "Record":
        """Call, and let a signal interrupt the call; signals raise nowhere else."""
        try:
            self._attempts = attempts
            if self._must_end:
                raise MakeRoom
            return call()
        finally:
            self._attempts = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _drop(self, manifest: Manifest, cell: Cell, attempts: Attempts, ran_s: float) -> str:
        """Drop a cell for a later job, unless it has exceeded the time limit of whole jobs too often."""
        attempt = attempts.read()
        whole_job = time.monotonic() - self._started < 1.5 * ran_s
        n_cuts = attempt["n_cuts"] + whole_job
        if n_cuts >= MAX_CUTS:
            return self._give_up(
                manifest,
                cell,
                f"it did not finish in {n_cuts} jobs that it had to itself ({ran_s / 60:.0f} min in the last); raise "
                "hydra.launcher.timeout_min",
            )
        attempts.end("dropped", n_cuts=n_cuts)
        self._say(f"dropped after {ran_s:.0f} s: {manifest.label(cell)}")
        return "dropped"

    def _give_up(self, manifest: Manifest, cell: Cell, error: str) -> str:
        data = {"status": "failed", "inputs": {}, "error": error, "traceback": "", "valid": False}
        whole = {**data, "config": manifest.config(cell), **provenance(), "wall_s": 0.0}
        yaml = json.dumps(whole["config"], indent=1) + "\n"
        if not record.is_done(self.outputs, cell.run_id):
            record.write(self.outputs, cell.run_id, whole, yaml, {}, error + "\n")
        return self._failed(manifest, cell, error)

    def _failed(self, manifest: Manifest, cell: Cell, error: str) -> str:
        """Note a failure, and stop the launch if there were too many with the same error."""
        Attempts(manifest.folder, cell.run_id).end("failed", error=error)
        self._say(f"failed: {manifest.label(cell)}: {error}")
        if limit := _limit(manifest):
            fail_fast.note(manifest.folder, self.launch, limit, list(errors(manifest.folder, self.launch).values()))
        return "failed"

    def _ends(self, manifest: Manifest) -> bool:
        """Whether no further cell may be begun."""
        stopped = _limit(manifest) is not None and fail_fast.stopped(manifest.folder, self.launch) is not None
        return self._must_end or stopped

    def _listen(self) -> Any:
        """Install handlers for the signals that submitit handles, and return submitit's own."""
        self._started = time.monotonic()
        requeue = signal.getsignal(signal.SIGUSR2)

        def make_room(signum: int, frame: FrameType | None) -> None:
            if not self._must_end:
                self._must_end = True
                self._say(f"told to make room (signal {signal.Signals(signum).name})")
                if self._attempts is not None:
                    signal.setitimer(signal.ITIMER_REAL, max(self.grace_s, 0.001))

        def out_of_time(signum: int, frame: FrameType | None) -> None:
            if self._attempts is not None:
                raise MakeRoom

        def sigterm(signum: int, frame: FrameType | None) -> None:
            if os.environ.get("SUBMITIT_EXECUTOR") == "local":
                raise KeyboardInterrupt
            # Preempted or cancelled: SIGKILL follows.
            self._ending = True
            self._say(f"signal {signal.Signals(signum).name}: going on until the job is ended")
            if self._attempts is not None:
                self._attempts.end("told")

        signal.signal(signal.SIGUSR2, make_room)
        signal.signal(signal.SIGTERM, sigterm)
        signal.signal(signal.SIGALRM, out_of_time)
        # The launching process ignores SIGINT while it submits; jobs must not, so that it can stop them.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return requeue

    def _note_start(self, manifest: Manifest) -> None:
        """Write the process id of a job to disk, for the launching process and for `bridge status`."""
        what = {"job": self.job, "pid": os.getpid(), "host": socket.gethostname(), "launch": self.launch}
        what["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        path = Path(manifest.folder) / "jobs" / f"{self.job}.json"
        record.write_whole(path, (json.dumps(what) + "\n").encode())

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stdout, flush=True)


def _limit(manifest: Manifest) -> int | None:
    limit: int | None = manifest.settings["sweep"].get("fail_fast")
    return limit


def _session(manifest: Manifest, n_jobs: int) -> "Session":
    """The session that the cells of this job share."""
    import torch

    from bridge.session import Session

    settings, config = manifest.settings, manifest.config(manifest.cells[0])
    if "OMP_NUM_THREADS" not in os.environ:
        # Jobs on one machine share its cores; models this small gain nothing from a second thread.
        small = all(config["pair"][side]["zoo"] is not None for side in ("source", "target"))
        here = n_jobs if os.environ.get("SUBMITIT_EXECUTOR") == "local" else 1
        torch.set_num_threads(1 if small else max(1, torch.get_num_threads() // here))
    return Session(settings["paths"]["outputs"], settings["device"], settings["batch_size"])


def _stream(manifest: Manifest, last: bool = False) -> None:
    """Ensure that a streamer of the sweep runs; the last job alive waits until everything is sent."""
    from bridge.tracking.base import tracker_of

    tracker = tracker_of(manifest.settings)
    tracker.finish(manifest) if last else tracker.ensure(manifest)
