"""Many processes on one folder, and workers that are killed at random: no cell is lost, torn or computed in vain."""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import undisturbed
from commands import Shell, beside, leftovers, scores, wait_for
from untrained import SMALL

from bridge.records.manifest import read

AXES = ["layer=1,2", "injection=lm_head,late_layer", "seed=0,1"]
N_CELLS = 2 * 2 * 2
CHAOS_AXES = ["layer=1,2,3,4", "injection=lm_head,soft_prefix", f"seed={','.join(map(str, range(25)))}"]
N_CHAOS_CELLS = 4 * 2 * 25
SECONDS_BETWEEN_KILLS = (2.0, 5.0)


def test_four_processes_at_once_compute_each_cell_once(bare_outputs: Path) -> None:
    bridge = Shell(bare_outputs)
    words = ["-m", "sweep.name=together", *SMALL, *AXES]
    launchers = [["hydra/launcher=basic"], ["hydra/launcher=local", "hydra.launcher.jobs=1"]]
    commands = [bridge.start(*words, *launchers[i % 2]) for i in range(4)]
    said = [command.communicate(timeout=480) for command in commands]
    assert [command.returncode for command in commands] == [0] * 4, said
    # A cell that was computed is told with the seconds it took; one of another process is "read back".
    alone = [line for out, _ in said for line in re.findall(r"^  layer .* \(\d+\.\d s\)$", out, re.MULTILINE)]
    packed = re.findall(r" done: .* \(\d+\.\d s\)$", bridge.logs("together"), re.MULTILINE)
    assert len(alone) + len(packed) == N_CELLS
    assert bridge.states("together") == {"done": N_CELLS}
    assert leftovers(bridge) == []
    reference = beside(bridge, "reference")
    undisturbed.compute(reference.outputs, SMALL, AXES)
    assert len(scores(bridge)) == N_CELLS
    assert scores(bridge) == scores(reference)


@pytest.mark.slow
def test_a_sweep_of_200_cells_survives_a_worker_killed_every_few_seconds(bare_outputs: Path) -> None:
    bridge = Shell(bare_outputs)
    words = ["-m", "sweep.name=chaos", *SMALL, *CHAOS_AXES, "hydra/launcher=local", "hydra.launcher.jobs=3"]
    started, n_killed, codes = time.monotonic(), 0, [1]
    while codes[-1]:
        command = bridge.start(*words)
        n_killed += kill_workers(command, bridge)
        _, err = command.communicate()
        codes.append(command.returncode)
        assert "Traceback" not in err
        told = f"launch {len(codes) - 1}, {n_killed} workers killed, {bridge.n_done()} of {N_CHAOS_CELLS} cells done"
        print(f"{time.monotonic() - started:4.0f} s: {told}", flush=True)
        assert len(codes) < 50
    assert n_killed > 2
    assert bridge.states("chaos") == {"done": N_CHAOS_CELLS}
    assert leftovers(bridge) == []
    assert [p.name for p in (bridge.outputs / "activations").glob(".*")] == [".locks"]
    before = workers(bridge)
    assert bridge(*words).code == 0
    assert workers(bridge) == before
    reference = beside(bridge, "reference")
    undisturbed.repeat(read(bridge.outputs, "chaos"), reference.outputs)
    assert len(scores(bridge)) == N_CHAOS_CELLS
    assert scores(bridge) == scores(reference)


def kill_workers(command: "subprocess.Popen[str]", bridge: Shell) -> int:
    """Kill a random worker every few seconds until the command ends, and return how many were killed."""
    n_killed, before = 0, bridge.n_done()

    def progress() -> bool:
        return command.poll() is not None or bridge.n_done() > before

    while command.poll() is None:
        time.sleep(random.uniform(*SECONDS_BETWEEN_KILLS))
        # On a busy machine a worker needs longer than that to begin; killed before, it would never come to a cell.
        wait_for(progress, "a cell is done since the last kill")
        before = bridge.n_done()
        alive = [pid for pid in workers(bridge) if works(pid)]
        if alive and command.poll() is None:
            os.kill(random.choice(alive), signal.SIGKILL)
            n_killed += 1
    return n_killed


def workers(bridge: Shell) -> list[int]:
    return [about["pid"] for about in bridge.jobs("chaos").values()]


def works(pid: int) -> bool:
    """Whether a process of that id is a worker of a sweep; ids are given again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"submitit" in words
