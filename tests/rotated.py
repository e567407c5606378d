"""Small cells of task=rotation, through the command line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.models.recipe import KIND

# Two readers of Dyck-3 strings that were trained for some seconds.
STRINGS = ["dataset=dyck", "dataset.n_strings=300", "dataset.max_length=16"]
READERS = ["pair=dyck3_fast", "pair.source.zoo.n_steps=300", *STRINGS]
FEW = ["task=rotation", "task.n_haar=19", "task.n_resamples=100"]


@dataclass
class Cell:
    """What a command said and left.

    Attributes:
        code: its exit status.
        out: what it printed.
        err: what it printed on stderr.
        record: of the cell; empty where there is none.
    """

    code: int
    out: str
    err: str
    record: dict[str, Any]

    def scores(self, condition: str, metric: str = "ev") -> list[float]:
        """The mean of a condition at each site."""
        return [point["scores"][condition][metric]["mean"] for point in self.record["points"]]


def rotated(outputs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Cell:
    """A small cell of task=rotation; see `run_bridge`."""
    return run_bridge(outputs, capsys, *FEW, *words)


def run_bridge(outputs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Cell:
    """Run `bridge` with some words in this process, in an outputs folder without other records."""
    with pytest.raises(SystemExit) as stop:
        main([*words, "device=cpu", f"paths.outputs={outputs}"])
    said = capsys.readouterr()
    found = [json.loads(path.read_text()) for path in (outputs / "runs").glob("[!.]*/record.json")]
    return Cell(int(stop.value.code or 0), said.out, said.err, found[-1] if found else {})


def reader(artefacts: Path, seed: int) -> Path:
    """The folder of a trained model."""
    for path in (artefacts / KIND).glob("[!.]*"):
        spec = json.loads((path / "artefact.json").read_text())["made_from"]["spec"]
        if spec["seed"] == seed and spec["checkpoint"] is None:
            return path
    raise AssertionError(f"no model of seed {seed}")


def local(source: Path, target: Path) -> list[str]:
    """The words for two folders of readers."""
    sides = (("source", source), ("target", target))
    words = [w for side, path in sides for w in (f"pair.{side}.name={path}", f"pair.{side}.kind=dyck")]
    return ["pair=custom", *words, *STRINGS]
