"""A sweep whose cells fail alike stops, says so, and goes on with the same command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Said

from bridge.records import record
from bridge.records.manifest import Manifest, read
from bridge.sweep import fail_fast
from bridge.sweep.attempts import Attempts, errors
from bridge.sweep.status import states

Bridge = Callable[..., Said]
Sweeps = Callable[..., Path]
# The models have four blocks.
NO_SUCH_LAYER = "layer 9 is out of range for tiny-llama; wanted 0..4, as it has 4 blocks: change it"
PARAMS = "layer: 9, seed: '0,1,2,3,4,5,6,7'"


def names(outputs: Path) -> list[str]:
    return [state.name for state in states(read(outputs, "mine"))]


def line(n_failed: int, n_left: int, n_cells: int = 8) -> str:
    return (
        f"stopped, because {n_failed} cells failed with the same error (sweep.fail_fast): {n_left} of {n_cells} cells "
        "were not begun; put it right, and the same command runs what is missing or failed"
    )


def test_no_further_cell_is_begun_after_so_many_equal_errors(
    bridge: Bridge, sweeps: Sweeps, bare_outputs: Path
) -> None:
    sweeps("mine", PARAMS, launcher="basic")
    said = bridge("sweep", "mine", "--fail-fast", "3")
    assert said.code == 1
    first, second = said.err.splitlines()
    assert first == f"bridge: {line(3, 5)}"
    assert second.endswith(NO_SUCH_LAYER)
    assert names(bare_outputs) == ["failed"] * 3 + ["missing"] * 5
    assert line(3, 5) in bridge("status", "mine").out
    # With nothing left to begin there is nothing to stop, and a launch counts its own failures only.
    said = bridge("sweep", "mine", "--fail-fast", "8")
    assert (said.code, "stopped" in said.err) == (1, False)
    assert names(bare_outputs) == ["failed"] * 8
    assert "stopped" not in bridge("status", "mine").out


def test_all_jobs_of_a_launch_stop(bridge: Bridge, sweeps: Sweeps, bare_outputs: Path) -> None:
    path = sweeps("mine", PARAMS)
    path.write_text(path.read_text().replace("{name: mine}", "{name: mine, fail_fast: 2}"))
    said = bridge("sweep", "mine", "hydra.launcher.jobs=2")
    # A cell that the other job was on when the second failed is ended, and none is begun after it.
    n_failed = names(bare_outputs).count("failed")
    assert n_failed in (2, 3)
    assert said.err.startswith("bridge: stopped, because ")
    assert f"{8 - n_failed} of 8 cells were not begun" in said.err
    logs = "".join(p.read_text() for p in (bare_outputs / "sweeps" / "mine" / "jobs").glob("*_log.out"))
    assert logs.count("finished: ") == 2


def test_errors_that_differ_do_not_add_up(tmp_path: Path) -> None:
    for failed in (["no memory"], ["no memory", "no file", "no layer"]):
        fail_fast.note(tmp_path, "first", 2, failed)
        assert fail_fast.stopped(tmp_path) is None
    fail_fast.note(tmp_path, "first", None, ["no memory"] * 9)
    assert fail_fast.stopped(tmp_path) is None
    fail_fast.note(tmp_path, "first", 2, ["no memory", "no file", "no memory"])
    assert fail_fast.stopped(tmp_path) == fail_fast.Stop("first", 2, "no memory")


def test_another_launch_is_not_stopped_by_an_earlier_one(manifest: Manifest) -> None:
    for run_id in manifest.run_ids[:3]:
        Attempts(manifest.folder, run_id).begin("first", "7")
        Attempts(manifest.folder, run_id).end("failed", error="no memory")
    Attempts(manifest.folder, manifest.run_ids[3]).begin("second", "8")
    Attempts(manifest.folder, manifest.run_ids[3]).end("failed", error="no memory")
    assert len(errors(manifest.folder, "first")) == 3
    assert errors(manifest.folder, "second") == {manifest.run_ids[3]: "no memory"}
    fail_fast.note(manifest.folder, "first", 3, list(errors(manifest.folder, "first").values()))
    assert fail_fast.stopped(manifest.folder, "first") == fail_fast.Stop("first", 3, "no memory")
    assert fail_fast.stopped(manifest.folder, "second") is None
    assert json.loads((manifest.folder / "stopped.json").read_text())["n_failed"] == 3
    fail_fast.clear(manifest.folder)
    assert fail_fast.stopped(manifest.folder) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fail-fast", "0"], "sweep.fail_fast=0; wanted at least 1, or null to begin every cell: change it"),
        (["sweep.fail_fast=x"], "Value 'x' of type 'str' could not be converted to Integer"),
        (
            ["--fail-fast", "2", "hydra/launcher=submitit_local"],
            "sweep.fail_fast has no effect on a launcher that begins every cell at once; wanted one that begins them ",
        ),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(
    bridge: Bridge, sweeps: Sweeps, bare_outputs: Path, words: list[str], told: str
) -> None:
    sweeps("mine", PARAMS)
    said = bridge("sweep", "mine", *words)
    assert said.code == 1
    assert told in said.err
    assert said.err.count("\n") == 1
    assert not record.read_all(bare_outputs)
    assert not (bare_outputs / "sweeps").exists()
