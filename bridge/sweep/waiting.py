"""Waiting for the jobs of a launch, and stopping them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from bridge.records import record
from bridge.records.manifest import Manifest
from bridge.sweep.attempts import Attempts

POLL_S = 0.25
ASK_SLURM_S = 5.0
# How long a job on this machine may take to end after its last cell; usually a moment.
ENDING_S = 60.0


def wait(manifest: Manifest, run_ids: Sequence[str], again: set[str], submitted: Sequence[Any], cluster: str) -> None:
    """Wait until every cell is settled or every job has ended, with a progress bar and a line for each new error."""
    shown: set[str] = set()
    ended = _slurm_ended(submitted) if cluster == "slurm" else lambda: all(job.done() for job in submitted)
    token = json.loads((manifest.folder / "jobs" / "jobs.jsonl").read_text().splitlines()[-1])["launch"]
    left = list(run_ids)
    with tqdm(total=len(left), desc=manifest.name, unit="cell", delay=1.0, disable=None) as bar:
        while left:
            over = ended()
            still = []
            for run_id in left:
                attempt = Attempts(manifest.folder, run_id).read()
                mine = attempt.get("launch") == token
                head = record.head(manifest.outputs, run_id) or {}
                if mine and attempt["state"] == "failed":
                    error = head.get("error", "")
                    if error not in shown:
                        shown.add(error)
                        bar.write(f"  failed: {manifest.label(manifest.by_run_id[run_id])}: {error}")
                elif not (mine and attempt["state"] == "done" if run_id in again else head.get("status") == "done"):
                    still.append(run_id)
                    continue
                bar.update()
            left = still
            if over:
                break
            time.sleep(POLL_S)
    # The log of a job should be complete when the command returns.
    until = time.monotonic() + ENDING_S
    while cluster == "local" and not ended() and time.monotonic() < until:
        time.sleep(POLL_S / 5)


def earlier_jobs(manifest: Manifest) -> list[str]:
    """Ids of the SLURM jobs that were submitted for the sweep before."""
    log = manifest.folder / "jobs" / "jobs.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line["job"] for line in lines if line["cluster"] == "slurm"]


def in_queue(ids: Sequence[str]) -> list[list[str]] | None:
    """Id, state and reason of the jobs that are still in SLURM's queue; None if SLURM did not answer."""
    if not ids or shutil.which("squeue") is None:
        return []
    words = ["squeue", "--noheader", "--array", "--jobs", ",".join(ids), "--format", "%i|%T|%r"]
    asked = subprocess.run(words, capture_output=True, text=True, check=False)
    if asked.returncode != 0 and "Invalid job id" not in asked.stderr:
        return None
    return [line.split("|") for line in asked.stdout.splitlines()]


def _slurm_ended(submitted: Sequence[Any]) -> Callable[[], bool]:
    """A function that says whether all jobs have left SLURM's queue, and prints why jobs wait in it."""
    ids = [job.job_id for job in submitted]
    last: list[Any] = [time.monotonic(), False]
    shown: set[str] = set()

    def ended() -> bool:
        if time.monotonic() - last[0] > ASK_SLURM_S:
            queued = in_queue(ids)
            last[:] = [time.monotonic(), queued == []]
            waiting = [row for row in queued or [] if row[1] == "PENDING"]
            for reason in {reason for _, _, reason in waiting} - {"None"} - shown:
                shown.add(reason)
                n = sum(row[2] == reason for row in waiting)
                tqdm.write(f"  {n} of {len(submitted)} jobs wait in SLURM's queue: {reason}", file=sys.stderr)
        return bool(last[1])

    return ended


def stop(manifest: Manifest, submitted: Sequence[Any]) -> None:
    """Interrupt the jobs on this machine; their cells are dropped whole."""
    for job in submitted:
        try:
            pid = json.loads((manifest.folder / "jobs" / f"{job.job_id}.json").read_text())["pid"]
            os.kill(pid, signal.SIGINT)
        except (FileNotFoundError, ProcessLookupError):
            # The job has not begun: only its controller runs.
            job.cancel()
