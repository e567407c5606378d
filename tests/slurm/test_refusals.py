"""What SLURM refuses, or where it is missing: one line, and nothing is half done."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from commands import Said
from untrained import SMALL

from bridge.cli import main

pytestmark = pytest.mark.slurm


@pytest.fixture
def submit(bare_outputs: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Submit a small sweep from this process, of which everything on stderr is kept, also what sbatch says."""

    def command(*words: str) -> Said:
        more = [f"hydra.launcher.{word}" for word in words]
        with pytest.raises(SystemExit) as stop:
            main(["-m", *SMALL, "seed=0,1", "hydra/launcher=slurm", *more, f"paths.outputs={bare_outputs}"])
        out, err = capfd.readouterr()
        return Said(int(stop.value.code or 0), out, err)

    return command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gpus_per_node=3"], "slurm did not take the jobs: Batch job submission failed: Requested node configuration"),
        (["gres=gpu:h100:1"], "slurm did not take the jobs: Batch job submission failed: Requested node configuration"),
        (["partition=nope"], "slurm did not take the jobs: invalid partition specified: nope"),
        (["mem_gb=9999"], "slurm did not take the jobs: Memory specification can not be satisfied"),
        (["gpus=0"], "hydra.launcher.gpus=0; wanted at least 1: change it"),
    ],
    ids=["too many GPUs on a node", "no such GPU", "no such partition", "too much memory", "no GPU"],
)
def test_what_slurm_refuses_is_one_line_and_nothing_is_submitted(
    slurm: Cluster,
    bare_outputs: Path,
    submit: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, slurm.environment[name])
    assert submit(*words).line.startswith(said)
    assert slurm.unfinished() == []
    assert not (bare_outputs / "runs").exists()


def test_without_slurm_on_the_path_the_other_launcher_is_named(
    bare_outputs: Path, submit: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert submit().line == (
        "SLURM is not installed here; wanted sbatch on the path: log in to a node that has it, or use hydra/launcher=local"
    )
    assert not (bare_outputs / "runs").exists()
