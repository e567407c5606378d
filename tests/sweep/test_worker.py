"""One job of a sweep, called directly: no cell is lost, none is tried for ever, none is computed twice."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bridge.run
from bridge.config import run_id
from bridge.errors import FitError
from bridge.records import record
from bridge.records.manifest import Manifest
from bridge.schema import BridgeConfig
from bridge.sweep import worker as worker_module
from bridge.sweep.attempts import MAX_CUTS, MAX_DEATHS, Attempts
from bridge.sweep.status import states
from bridge.sweep.worker import Worker

SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGALRM, signal.SIGINT)
# What happens in a cell, by its seed; a cell without an entry is computed at once.
Deeds = dict[int, Callable[[], Any]]


@pytest.fixture
def calls(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Cells that do as they are told, the seeds of those that were begun, and how often a job was requeued."""
    found = SimpleNamespace(seeds=[], deeds={}, n_requeued=0, sessions=[])

    def run(config: BridgeConfig, session: Any) -> Any:
        found.seeds.append(config.seed)
        found.sessions.append(session)
        try:
            found.deeds.get(config.seed, lambda: None)()
        except Exception as error:
            failed = {"status": "failed", "inputs": {}, "error": str(error)}
            record.write(manifest.outputs, run_id(config), failed, "", {}, "")
            raise
        return record.write(manifest.outputs, run_id(config), {"status": "done", "inputs": {}}, "", {}, "")

    def requeue(signum: int, frame: Any) -> None:
        found.n_requeued += 1

    monkeypatch.setattr(bridge.run, "run", run)
    monkeypatch.setattr("submitit.JobEnvironment", lambda: SimpleNamespace(job_id="7"))
    monkeypatch.setattr(worker_module, "_session", lambda manifest, n_jobs: object())
    monkeypatch.setattr(worker_module, "POLL_S", 0.01)
    before, listen = {which: signal.getsignal(which) for which in SIGNALS}, Worker._listen

    def listen_as_if_just_started(worker: Worker) -> Any:
        signal.signal(signal.SIGUSR2, requeue)
        return listen(worker)

    monkeypatch.setattr(Worker, "_listen", listen_as_if_just_started)
    yield found
    for which, handler in before.items():
        signal.signal(which, handler)


def job(manifest: Manifest, launch: str = "first", again: tuple[int, ...] = (), **changes: Any) -> Worker:
    ids = manifest.run_ids
    return Worker(
        **{
            **{"outputs": str(manifest.outputs), "name": "s", "launch": launch, "run_ids": ids},
            **{"again": [ids[i] for i in again], "own": 0, "n_jobs": 1, "grace_s": 0.01},
            **changes,
        }
    )


def killed(work: Callable[[], Any]) -> None:
    """Call in a process that has to die of it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def make_room(while_s: float = 1.0) -> None:
    """Be told in the middle of a cell, which would go on for long."""
    time.sleep(while_s)
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(20)


def fail() -> None:
    raise FitError("no such layer")


def told(manifest: Manifest, i: int) -> tuple[str, str]:
    state = states(manifest)[i]
    return state.name, state.error


def test_a_job_computes_every_cell_once_in_one_session(manifest: Manifest, calls: SimpleNamespace) -> None:
    assert job(manifest)() == {"computed": 4, "failed": 0}
    assert sorted(calls.seeds) == [0, 1, 2, 3]
    assert len(set(map(id, calls.sessions))) == 1
    assert list((manifest.folder / "attempts").iterdir()) == []
    (about,) = (manifest.folder / "jobs").glob("*.json")
    assert json.loads(about.read_text()).items() >= {"job": "7", "pid": os.getpid(), "launch": "first"}.items()
    assert job(manifest)() == {"computed": 0, "failed": 0}
    assert len(calls.seeds) == 4


def test_a_cell_that_kills_its_process_is_given_up_and_the_others_are_not(
    manifest: Manifest, calls: SimpleNamespace
) -> None:
    calls.deeds[1] = die
    for n_deaths in range(1, MAX_DEATHS + 1):
        killed(job(manifest))
        assert told(manifest, 1)[0] == "failed"
        assert Attempts(manifest.folder, manifest.run_ids[1]).read()["n_deaths"] == n_deaths - 1
    # from here on it would be computed
    calls.deeds.clear()
    assert job(manifest)()["failed"] == 1
    assert 1 not in calls.seeds
    name, error = told(manifest, 1)
    assert name == "failed"
    assert error.startswith(f"its process was killed {MAX_DEATHS} times while it ran (last: job 7 on ")
    assert error.endswith("see whether memory ran out")
    assert [state.name for state in states(manifest)].count("done") == 3
    # a new launch tries it again
    assert job(manifest, "second")() == {"computed": 1, "failed": 0}
    assert told(manifest, 1) == ("done", "")


def test_a_process_that_knows_that_it_will_be_killed_is_no_death_of_the_cell(
    manifest: Manifest, calls: SimpleNamespace
) -> None:
    def preempted() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        die()

    calls.deeds[2] = preempted
    for _ in range(MAX_DEATHS + 2):
        killed(job(manifest))
        assert told(manifest, 2)[0] == "missing"
        assert Attempts(manifest.folder, manifest.run_ids[2]).read()["n_deaths"] == 0
    calls.deeds.clear()
    job(manifest)()
    assert told(manifest, 2) == ("done", "")


def test_a_cell_that_is_begun_after_the_end_was_told_is_no_death_either(
    manifest: Manifest, calls: SimpleNamespace
) -> None:
    calls.deeds[0] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    calls.deeds[1] = die
    killed(job(manifest))
    assert told(manifest, 0)[0] == "done"
    assert Attempts(manifest.folder, manifest.run_ids[1]).read()["state"] == "told"


def test_a_cell_that_is_cut_off_in_jobs_of_its_own_is_given_up(manifest: Manifest, calls: SimpleNamespace) -> None:
    calls.deeds[0] = make_room
    for n_cuts in range(1, MAX_CUTS):
        job(manifest)()
        assert calls.n_requeued == n_cuts
        assert Attempts(manifest.folder, manifest.run_ids[0]).read()["n_cuts"] == n_cuts
        assert told(manifest, 0)[0] == "missing"
    counts = job(manifest)()
    assert (counts["failed"], calls.n_requeued) == (1, MAX_CUTS)
    name, error = told(manifest, 0)
    assert name == "failed"
    assert error.startswith(f"it did not finish in {MAX_CUTS} jobs that it had to itself")
    assert error.endswith("raise hydra.launcher.timeout_min")
    assert job(manifest)()["computed"] == 3
    assert calls.seeds.count(0) == MAX_CUTS


def test_a_cell_that_is_cut_off_late_in_a_job_is_not_counted_against_it(
    manifest: Manifest, calls: SimpleNamespace
) -> None:
    calls.deeds[0] = lambda: time.sleep(0.4)
    calls.deeds[1] = lambda: make_room(0.01)
    job(manifest)()
    assert calls.seeds == [0, 1]
    attempt = Attempts(manifest.folder, manifest.run_ids[1]).read()
    assert (attempt["state"], attempt["n_cuts"]) == ("dropped", 0)


def test_a_job_that_is_told_to_make_room_lets_its_cell_finish_if_it_can(
    manifest: Manifest, calls: SimpleNamespace
) -> None:
    calls.deeds[1] = lambda: (os.kill(os.getpid(), signal.SIGUSR2), time.sleep(0.1))
    assert job(manifest, grace_s=30)()["computed"] == 2
    assert calls.seeds == [0, 1]
    assert calls.n_requeued == 1


def test_a_requeued_job_does_all_that_was_left(manifest: Manifest, calls: SimpleNamespace) -> None:
    calls.deeds[1] = make_room
    first = job(manifest, again=(3,), own=0, n_jobs=2)
    first()
    assert calls.seeds == [0, 1]
    calls.deeds.clear()
    requeued = first.checkpoint().function
    assert requeued == job(manifest, again=(3,), own=0, n_jobs=2)
    assert requeued()["computed"] == 3
    assert sorted(calls.seeds[2:]) == [1, 2, 3]
    assert [state.name for state in states(manifest)] == ["done"] * 4


def test_giving_up_does_not_write_over_a_finished_record(manifest: Manifest, calls: SimpleNamespace) -> None:
    job(manifest)()
    calls.deeds[1] = die
    for _ in range(MAX_DEATHS):
        killed(job(manifest, "second", again=(1,)))
    assert job(manifest, "second", again=(1,))() == {"computed": 0, "failed": 1}
    assert told(manifest, 1) == ("done", "")
    assert Attempts(manifest.folder, manifest.run_ids[1]).read()["state"] == "failed"


def test_a_cell_that_failed_is_not_tried_by_every_job_of_its_launch(manifest: Manifest, calls: SimpleNamespace) -> None:
    calls.deeds[2] = fail
    assert job(manifest, n_jobs=3)() == {"computed": 3, "failed": 1}
    assert told(manifest, 2) == ("failed", "no such layer")
    for own in (1, 2):
        assert job(manifest, own=own, n_jobs=3)() == {"computed": 0, "failed": 0}
    assert len(calls.seeds) == 4
    assert job(manifest, "second")() == {"computed": 0, "failed": 1}
    assert calls.seeds[4:] == [2]


def test_what_is_to_be_computed_again_is_computed_once_more_in_a_launch(
    manifest: Manifest, calls: SimpleNamespace
) -> None:
    job(manifest)()
    for _ in range(2):
        job(manifest, "second", again=(0, 3))()
        assert sorted(calls.seeds[4:]) == [0, 3]
    job(manifest, "third", again=(3,))()
    assert calls.seeds[6:] == [3]


def test_a_job_waits_for_the_cells_that_another_holds_and_takes_them_when_they_are_let_go(
    manifest: Manifest, calls: SimpleNamespace
) -> None:
    (reader, writer), (begun, begin) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        held, lost = manifest.run_ids[1], manifest.run_ids[2]
        with record.claimed(manifest.outputs, held), record.claimed(manifest.outputs, lost):
            os.write(writer, b"x")
            os.read(begun, 1)
            record.write(manifest.outputs, held, {"status": "done", "inputs": {}}, "", {}, "")
        os._exit(0)
    os.read(reader, 1)
    calls.deeds[3] = lambda: os.write(begin, b"x")
    counts = job(manifest)()
    os.waitpid(pid, 0)
    assert counts == {"computed": 3, "failed": 0}
    assert calls.seeds == [0, 3, 2]


def test_a_cell_that_another_finishes_just_before_it_is_held_is_not_computed_again(
    manifest: Manifest, calls: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, done = record.claimed, {"status": "done", "inputs": {}}

    def late(outputs: Path, run_id: str, wait: bool = True) -> Any:
        if run_id == manifest.run_ids[1]:
            record.write(outputs, run_id, done, "", {}, "")
        return claimed(outputs, run_id, wait)

    monkeypatch.setattr(record, "claimed", late)
    assert job(manifest)() == {"computed": 3, "failed": 0}
    assert calls.seeds == [0, 2, 3]


def test_an_interrupted_job_drops_its_cell_and_ends(
    manifest: Manifest, calls: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    for which in (signal.SIGINT, signal.SIGTERM):
        calls.deeds[0] = lambda which=which: os.kill(os.getpid(), which)
        with pytest.raises(KeyboardInterrupt):
            job(manifest)()
        attempt = Attempts(manifest.folder, manifest.run_ids[0]).read()
        assert (attempt["state"], attempt["n_cuts"], attempt["n_deaths"]) == ("dropped", 0, 0)
