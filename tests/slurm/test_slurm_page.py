"""The commands of docs/slurm.md are commands."""

import re
import shlex
from pathlib import Path

import pytest
from untrained import SMALL

from bridge.cli import VERBS, main

PAGE = (Path(__file__).parents[2] / "docs/slurm.md").read_text()
(FIVE,) = re.findall(r"```\n(pip install.*?)```", PAGE, re.DOTALL)
COMMANDS = [shlex.split(line) for line in FIVE.replace("\\\n", " ").strip().splitlines()]
SWEEPS = [words for words in COMMANDS if words[:2] == ["bridge", "sweep"]]
# Fewer cells than the grid of layer_ablation has: to compose all of them three times would take a quarter of a minute.
FEWER = ("layer='0','1'", "control=fitted,random")
(FILE,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def plan(words: list[str], outputs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a sweep would do, with models that are here instead of the pair of the page."""
    kept = [word for word in words if not word.startswith("pair=")]
    with pytest.raises(SystemExit) as stop:
        main([*dict.fromkeys([*kept, "--dry-run"]), *SMALL, *FEWER, f"paths.outputs={outputs}"])
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    return said.out


def test_there_are_five_commands_and_their_verbs_exist() -> None:
    assert len(COMMANDS) == 5
    assert [words[0] for words in COMMANDS] == ["pip", *["bridge"] * 4]
    assert {words[1] for words in COMMANDS[1:]} == {"sweep", "status", "dashboard"} <= VERBS.keys()
    assert len(SWEEPS) == 2


@pytest.mark.parametrize("words", SWEEPS, ids=["dry-run", "submission"])
def test_the_sweeps_of_the_page_are_packed_into_four_jobs(
    words: list[str], bare_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "jobs: 4 on slurm, each with one GPU" in plan(words[1:], bare_outputs, capsys)


def test_the_launcher_of_ones_own_that_the_page_shows_serves_bridges_sweeps(
    bare_outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweeps/hydra/launcher").mkdir(parents=True)
    (tmp_path / "sweeps/hydra/launcher/mine.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    said = plan(["sweep", "layer_ablation", "hydra/launcher=mine"], bare_outputs, capsys)
    assert "jobs: 4 on slurm, each with one GPU" in said
    assert "240 min at most" in said
