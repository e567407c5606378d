"""What happens to a sweep on a cluster: jobs are killed, cancelled, cut off, preempted; the launcher dies."""

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import undisturbed
from cluster import Cluster
from commands import Shell, beside, leftovers, scores, wait_for
from filelock import FileLock
from grid import NAME, Disturbed
from untrained import FAST, SMALL

pytestmark = pytest.mark.slurm


def test_a_sweep_whose_jobs_are_killed_or_cancelled_goes_on_without_them_and_is_completed_later(
    slurm: Cluster, disturbed: Disturbed
) -> None:
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end_one_job_after_the_other, slurm, disturbed)
        said = disturbed.bridge.here(*disturbed.words("gpus=3"))
        ending.result()
    assert said.code == 1
    assert re.search(r"^bridge: .*(was killed|runs what is missing)", said.err, re.MULTILINE), said.err
    assert "Traceback" not in said.err
    slurm.wait_until_empty()
    # The others did the cell of the killed one, and cancelled is nobody's failure: what was not done is missing.
    disturbed.assert_all_listed(failed=0, done=disturbed.n_done())
    assert disturbed.n_done() <= 10
    disturbed.assert_completed()


def end_one_job_after_the_other(slurm: Cluster, disturbed: Disturbed) -> None:
    """Kill the first of three jobs, cancel the second and the third; each time the others have cells left to do."""
    bridge = disturbed.bridge
    with disturbed.held(10):
        with disturbed.held(7):
            with disturbed.held(4):
                wait_for(lambda: disturbed.n_done() > 1, "two cells are done")
                wait_for(lambda: len(bridge.jobs(NAME)) == 3, "three jobs run")
                first, second, third = bridge.jobs(NAME).values()
                os.kill(first["pid"], signal.SIGKILL)
                wait_for(lambda: disturbed.n_done() == 4, "the others do its cell")
            wait_for(lambda: disturbed.n_done() > 4, "the others go on")
            slurm.ask("scancel", second["job"])
        wait_for(lambda: disturbed.n_done() > 7, "the last one goes on")
        slurm.ask("scancel", third["job"])
        slurm.wait_until_empty()


def test_without_their_launcher_preempted_jobs_finish_their_cell_are_requeued_and_do_the_rest(
    slurm: Cluster, disturbed: Disturbed
) -> None:
    bridge = disturbed.bridge
    with disturbed.held(8):
        command = bridge.start(*disturbed.words("gpus=2", "partition=main"))
        wait_for(lambda: disturbed.n_done() > 0, "a cell is done")
        os.killpg(command.pid, signal.SIGKILL)
        command.communicate()
        assert command.returncode == -signal.SIGKILL
        wait_for(lambda: disturbed.n_done() > 2, "three cells are done")
        wait_for(lambda: len(bridge.jobs(NAME)) == 2, "two jobs run")
        mine = [job.id for job in slurm.unfinished()]
        assert len(mine) == 2
        # The whole cluster, for somebody with precedence.
        slurm.ask("sbatch", "-p", "urgent", "-N2", "--gres=gpu:2", "--mem=1G", "-o", "/dev/null", "--wrap", "sleep 1")
        pending = {"PENDING"}
        wait_for(lambda: {j.state for j in slurm.jobs() if j.id in mine} == pending, "both jobs had to make room")
        assert disturbed.n_done() <= 8
        assert bridge.logs(NAME).count("told to make room") == 2
    slurm.wait_until_empty()
    assert [restarts(slurm, job) for job in mine] == [1, 1]
    # One that had only been claimed when the job was told is let go at once; one that had begun is finished.
    assert not re.search(r"dropped after (?!0 s)", bridge.logs(NAME))
    disturbed.assert_whole()
    n_jobs = len(slurm.jobs())
    assert bridge.here(*disturbed.words("gpus=2")).code == 0
    assert len(slurm.jobs()) == n_jobs


def test_a_job_at_its_time_limit_drops_its_cell_and_is_requeued(slurm: Cluster, bridge: Shell) -> None:
    words, axes = [*SMALL], ["layer=1,2", "layer.position=last,mean"]
    alone = beside(bridge, "alone")
    undisturbed.compute(alone.outputs, words, axes)
    command = ["-m", "sweep.name=slow", *words, *axes, "hydra/launcher=slurm"]
    # Two of the cells take for ever: they wait for states that another process has begun to extract.
    entries = {meta.parent.name.partition("-")[0] for meta in positions(alone, "mean")}
    assert len(entries) == 2
    locks = bridge.outputs / "activations" / ".locks"
    locks.mkdir(parents=True)
    held = [FileLock(locks / f"{entry}.lock") for entry in entries]
    for lock in held:
        lock.acquire()
    limits = ["timeout_min=1", "signal_delay_s=1", "grace_s=1", "mem_gb=1", "wait=false"]
    said = bridge.here(*command, *(f"hydra.launcher.{word}" for word in limits))
    assert said.code == 0, said.err
    assert "bridge status slow tells" in said.out
    (job,) = slurm.unfinished()
    wait_for(lambda: "told to make room" in bridge.logs("slow"), "the time is nearly up")
    wait_for(lambda: restarts(slurm, job.id) == 1, "the job is requeued")
    assert "dropped after" in bridge.logs("slow")
    for lock in held:
        lock.release()
    slurm.wait_until_empty()
    assert [j.state for j in slurm.jobs() if j.id == job.id] == ["COMPLETED"]
    assert bridge.states("slow") == {"done": 4}
    assert leftovers(bridge) == []
    assert len(scores(bridge)) == 4
    assert scores(bridge) == scores(alone)


def test_a_cell_that_raises_fails_alone_and_is_run_again_alone(slurm: Cluster, bridge: Shell) -> None:
    path, later = (bridge.outputs.parent / name for name in ("items.jsonl", "later.jsonl"))
    words = ["-m", "sweep.name=raises", *FAST, "dataset=json", f"dataset.path={path},{later}", "seed=0,1,2"]
    command = [*words, "hydra/launcher=slurm", "hydra.launcher.mem_gb=1"]
    items(path)
    said = bridge.here(*command)
    assert said.code == 1
    told = re.findall("^bridge: .*", said.err, re.MULTILINE)
    assert len(told) == 1, said
    assert " and 2 more: " in told[0]
    assert bridge.states("raises") == {"done": 3, "failed": 3}
    # The command returns when every cell is settled, and the job ends a moment later.
    slurm.wait_until_empty()
    assert all(job.state == "COMPLETED" for job in slurm.jobs() if job.id in bridge.jobs("raises"))
    failed = [data for data in bridge.records().values() if data["status"] == "failed"]
    assert len(failed) == 3
    for data in failed:
        assert str(later) in data["error"]
        assert "Traceback (most recent call last)" in data["traceback"]
    first = scores(bridge)
    items(later)
    assert bridge.here(*command).code == 0
    assert bridge.states("raises") == {"done": 6}
    assert bridge.logs("raises").count(" done: ") == 6
    assert {run_id: scores(bridge)[run_id] for run_id in first} == first


def items(path: Path) -> None:
    from bridge.data.sources import Facts

    lines = [{"prompt": i.prompt, "answer": i.answer, "relation": i.relation} for i in Facts().load()[:150]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def positions(shell: Shell, position: str) -> list[Path]:
    found = (shell.outputs / "activations").glob("*/meta.json")
    return [meta for meta in found if json.loads(meta.read_text())["position"] == position]


def restarts(slurm: Cluster, job: str) -> int:
    return int(re.findall(r"Restarts=(\d+)", slurm.ask("scontrol", "show", "job", job))[0])
