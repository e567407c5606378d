"""A task that bridge does not know: one file beside its entry point, and nothing edited elsewhere."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Shell
from hydra.core.config_store import ConfigStore

from bridge import schema
from bridge.records.manifest import read
from bridge.records.record import Record, read_all
from bridge.report.document import write_report
from bridge.results.best import best_places
from bridge.results.curves import grids
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.statistics.families import holm
from bridge.tasks import registry

HERE = Path(__file__).parent / "third_task"
SWEEP = ("sweep", "coins", "--config-dir", str(HERE / "sweeps"))


def bridge(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}
    return subprocess.run([sys.executable, "-m", "bridge", *words], cwd=cwd, env=environment, text=True,
                          capture_output=True, timeout=300)  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which its sweep was run, by a process that finds the task by its entry point alone."""
    folder = tmp_path_factory.mktemp("coins")
    done = bridge(*SWEEP, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def shell(swept: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """Runs `bridge` on what that left, in this process, which has the task installed for as long as a test takes."""
    schema.register()
    repo = ConfigStore.instance().repo
    schemas = dict(repo["schema"]["task"])
    assert "task" not in repo
    monkeypatch.syspath_prepend(str(HERE))
    registry._installed.cache_clear()
    schema.register.cache_clear()
    yield Shell(swept[0] / "outputs")
    registry._installed.cache_clear()
    repo.pop("task", None)
    repo["schema"]["task"] = schemas


@pytest.fixture
def records(shell: Shell) -> list[Record]:
    """Its records."""
    return read_all(shell.outputs)


def test_it_is_short() -> None:
    assert len((HERE / "third.py").read_text().splitlines()) <= 60


def test_its_sweep_prints_a_table_with_its_axes_and_conditions(swept: tuple[Path, str]) -> None:
    _, shown = swept
    (heading,) = (line for line in shown.splitlines() if line.startswith("setting"))
    assert heading.split() == ["setting", "bias", "tosses", "biased", "fair", "above"]
    rows = [line.split() for line in shown.splitlines() if line.startswith("coins ")]
    assert [row[1:3] for row in rows] == [[bias, n] for bias in ("0.5", "0.7", "0.95") for n in ("60", "200")]
    assert {row[-1] for row in rows if row[1] == "0.5"} == {"no"}
    assert {row[-1] for row in rows if row[1] == "0.95"} == {"yes"}


def test_no_model_was_trained_for_it(swept: tuple[Path, str]) -> None:
    outputs = swept[0] / "outputs"
    assert not [p for name in ("models", "activations", "artefacts") for p in (outputs / name).rglob("*.safetensors")]


def test_status_and_dry_run_know_it(shell: Shell) -> None:
    assert "coins: 2 done of 2 cells" in shell.here("status", "coins").out
    planned = shell.here(*SWEEP, "--dry-run", "task.n_tosses=60,500").out
    assert "coins: 2 cells (1 done, 1 missing); 1 to run" in planned
    assert "states: all there" in planned
    assert len(read(shell.outputs, "coins").cells) == 2


def test_what_it_does_not_use_cannot_be_swept_over(shell: Shell) -> None:
    said = shell.here("-m", "task=coins", "map=ridge,linear")
    assert said.code == 1
    assert "map, which has no effect in task=coins" in said.err
    assert "Traceback" not in said.err


def test_its_contrasts_are_corrected_for_all_of_its_points(records: list[Record]) -> None:
    family = Family(comparisons(records))
    contrasts = [c.contrasts["fair"]["heads"] for c in family.cells]
    assert len(contrasts) == family.n_contrasts == 6
    exact = [x["p_exact"] for x in contrasts]
    assert [x["p_holm"] for x in contrasts] == pytest.approx(holm(exact).tolist())
    assert max(exact) > 0.05 > min(x["p_holm"] for x in contrasts)
    assert all(x["p_draws_family"] >= 1 / 21 for x in contrasts)


def test_the_best_bias_of_each_curve_is_tested_for_the_search(records: list[Record]) -> None:
    bests = best_places(grids(Family(comparisons(records)).cells))
    assert [(b.cell.axes["bias"], b.n_searched) for b in bests] == [(0.95, 3)] * 2
    assert {b.verdict() for b in bests} == {"above every negative control"}


def test_its_report_has_curves_a_heat_map_and_the_best_places(
    swept: tuple[Path, str], records: list[Record], tmp_path: Path
) -> None:
    page = write_report(swept[0] / "outputs", tmp_path / "report.html", "coins").read_text()
    assert "Is a biased coin told from fair ones?" in page
    for words in (
        "heads (share of tosses) along bias",
        "heads by condition and bias",
        "heads (share of tosses) along tosses",
    ):
        assert f'aria-label="{words}' in page, words
    assert 'id="best"' in page
    assert "fair coins, many draws" in page


def test_its_export_has_a_row_for_each_point_and_condition(shell: Shell) -> None:
    folder = shell.outputs.parent
    assert shell.here("export", "coins", "--to", "coins.csv").code == 0
    with (folder / "coins.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2
    assert {(row["bias"], row["tosses"]) for row in rows} == {
        (bias, n) for bias in ("0.5", "0.7", "0.95") for n in ("60", "200")
    }
    assert {(row["control"], row["kind"]) for row in rows} == {("biased", "estimate"), ("fair", "negative")}
    assert all(float(row["p_holm"]) <= 1 for row in rows if row["control"] == "fair")
    assert shell.here("export", "coins", "--items", "--to", "items.csv").code == 0
    with (folder / "items.csv").open() as file:
        items = list(csv.DictReader(file))
    assert len(items) == 3 * (60 + 200) * 21
    assert {"toss", "heads", "unit", "point"} <= items[0].keys()
