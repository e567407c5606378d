"""The report and the terminal table over a sweep: what is best after the search, what is missing, what is folded."""

import io
import re
from pathlib import Path

import pytest
import synthetic_records
from declared import NEGATIVES
from rich.console import Console
from synthetic_families import cell
from synthetic_records import TASK, config, write_cell, write_failed

from bridge.controls.names import CONTROLS
from bridge.errors import ConfigError, RecordError
from bridge.records.manifest import Cell, Manifest
from bridge.records.record import read_all
from bridge.report.document import write_report
from bridge.report.evidence import gates
from bridge.report.gathered import Gathered
from bridge.report.headline import cards
from bridge.report.search import best_places
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.show.grid_footer import grid_footer
from bridge.show.grid_tables import MOST_ROWS, grid_tables
from bridge.show.page import MANY, MANY_PANELS

LAYERS, SIZES = range(11), (60, 200)


def sections(page: str) -> dict[str, str]:
    parts = page.split('<section id="')
    return {"": parts[0]} | {part.split('"')[0]: part for part in parts[1:]}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 66 cells: one injection dead in its lower layers, two cells failed, three missing; one cell beside."""
    folder = tmp_path_factory.mktemp("outputs")
    cells = []
    for k, (layer, n, name) in enumerate(
        (layer, n, name) for layer in LAYERS for n in SIZES for name in ("lm_head", "late_layer", "soft_prefix")
    ):
        changes = {"layer.source": str(layer), "dataset.size": n, "injection": {"name": name}}
        settings = {"n": n, "injection": {"name": name}, "rates": {"fitted": 0.1 + 0.06 * layer}}
        run_id = f"{k:016x}"
        if layer == 7 and n == 60:
            pass
        elif layer == 8 and name == "lm_head":
            own = {"layer__source": str(layer), "dataset__size": n, "injection": {"name": name}}
            run_id = write_failed(folder, "out of memory", f"Traceback {n}", **own).data["run_id"]
        else:
            failed = "alive" if name == "soft_prefix" and layer < 5 else None
            warnings = (f"n={n} fit rows are fewer than d={layer}",)
            made = write_cell(folder, layers=(layer, 10), failed_gate=failed, warnings=warnings, **settings)  # type: ignore[arg-type]
            run_id = made.data["run_id"]
        cells.append(Cell(run_id, (f"layer={layer}",), changes))
    write_cell(folder, seed=99)
    Manifest("grid", folder, config(), tuple(cells)).write()
    return folder


@pytest.fixture(scope="module")
def page(outputs: Path) -> str:
    path = write_report(outputs, name="grid")
    assert path == outputs / "reports" / "grid.html"
    return path.read_text()


def test_only_the_cells_of_the_sweep_are_shown_and_those_not_done_are_counted(page: str) -> None:
    head = sections(page)[""]
    assert "<h1>bridge report: grid</h1>" in head
    n_dead = len(range(5)) * len(SIZES)
    n_done = 66 - 3 - 2
    assert f"{n_done} cells finished, {n_done - n_dead} valid, {n_dead} dead, 0 otherwise invalid, 2 failed" in head
    assert f'<b class="bad">{n_done} of 66 cells done, 2 failed, 3 missing</b>' in head
    assert "bridge sweep grid runs what is left" in head
    assert "seed=99" not in page


def test_missing_cells_are_listed_by_injection_with_their_layers_sizes_and_controls(page: str) -> None:
    part = sections(page)["gates"]
    table = part[part.index("<h3>Missing cells</h3>") : part.index("<h3>Failed cells</h3>")]
    for name in ("lm_head", "late_layer", "soft_prefix"):
        row = f'<td class="text tight">{name}</td><td>1</td><td class="text">7</td><td class="text">60</td>'
        assert f'{row}<td class="text">all controls</td>' in table


def test_failed_cells_with_one_error_are_told_once(page: str) -> None:
    part = sections(page)["gates"]
    assert part.count("out of memory") == 1
    assert "layer 8, data set size 200, all controls" in part
    assert "all 2 cells with this error" in part


def test_warnings_that_differ_in_numbers_are_told_once(page: str) -> None:
    part = sections(page)["gates"]
    (line,) = re.findall(r"<li>n=\d+ fit rows are fewer than d=\d+ <span class=quiet>\((.*?)\)</span>", part)
    assert line == "61 cells, with other numbers in some: 21 kinds"


def test_the_best_layer_of_each_curve_stands_beside_every_negative_control(page: str) -> None:
    part = sections(page)["best"]
    rows = re.findall(r"<tr.*?</tr>", part)[1:]
    assert len(rows) == 3 * len(SIZES)
    for row in rows:
        assert "10→10" in row
        assert "above all<br>above lookup" in row or "above all<br>not above lookup" in row
    assert sum("of 6, 5 not valid" in row for row in rows) == 1
    assert sum("of 5, 5 not valid" in row for row in rows) == 1
    for name in NEGATIVES:
        assert f">{name.replace('_', ' ')}</th>" in part


def test_every_cell_has_its_lead_in_one_picture(page: str) -> None:
    whole = sections(page)["map"].split("</figure>")[0]
    assert "6 curves" in whole
    assert whole.count(">×</text>") == 10
    leads = re.findall(r">([+−]\.\d\d|[+−]1\.00)</text>", whole)
    assert len(leads) == 51
    assert whole.count(">late_layer, n=60</text>") == 1


def test_gates_and_runs_of_many_cells_are_a_row_per_curve_and_per_setting(page: str) -> None:
    parts = sections(page)
    assert MANY < 61
    gates = parts["gates"][: parts["gates"].index("<h3>Warnings</h3>")]
    assert gates.count("<tr") == 1 + 6
    assert gates.count("FAILED at layer 0–4, worst 0.14 (0.8 to 1.25)") == 2
    run = parts["run"][: parts["run"].index("<h3>Versions</h3>")]
    assert run.count("<tr") == 1 + 3
    assert ">0–10</td>" in run


def test_of_the_gates_that_failed_on_a_curve_the_one_furthest_from_its_threshold_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.report.evidence.MANY", 2)
    made = []
    for layer, value in ((1, 0.2), (2, 0.9), (3, 0.4)):
        monkeypatch.setitem(synthetic_records.FAILED, "states", value)
        made.append(write_cell(tmp_path, layers=(layer, 4), failed_gate="states"))
    assert "FAILED at layer 1–3, worst 0.9 (≤ 0.001)" in gates(Gathered(TASK, tuple(made)))


def test_the_definitions_say_what_was_corrected(page: str) -> None:
    run = sections(page)["run"]
    n_contrasts = 51 * len(NEGATIVES)
    assert f"Corrected by <b>Holm</b> for the {n_contrasts} contrasts of this report" in run
    assert "draw by draw the largest lead over all cells is taken" in run
    assert "20 draws cannot push it below 0.048" in run
    assert "max statistic" in run


def test_a_card_says_what_is_left_after_the_search(page: str) -> None:
    head = sections(page)[""]
    assert head.count("corrected for the search over") == 3
    assert "over 10 layers on 6 curves: above every negative control, p " in head


def test_of_the_ranks_of_a_best_layer_the_largest_is_shown(tmp_path: Path) -> None:
    rates = ({"fitted": 0.33, "shuffled": 0.25}, {"fitted": 0.3, "shuffled": 0.5})
    one = Gathered(TASK, tuple(cell(tmp_path, layers=(i, 4), rates=r, new_rates=r) for i, r in enumerate(rates)))
    (best,) = one.bests
    largest = max(best.p_draws.values())
    assert min(best.p_draws.values()) <= 0.05 < largest
    assert f"rank among draws {largest:.3f}" in cards(one)
    assert f"rank {largest:.3f}" in best_places(one)


def test_an_unknown_sweep_and_one_without_records_are_errors_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no sweep 'other' was started in .*; wanted one of none yet"):
        write_report(tmp_path, name="other")
    Manifest("empty", tmp_path, config(), (Cell("0" * 16, (), {}),)).write()
    with pytest.raises(
        RecordError, match=r"^no records of sweep empty under .*; wanted at least one: run bridge sweep empty$"
    ):
        write_report(tmp_path, name="empty")
    assert not (tmp_path / "reports").exists()


def test_more_settings_than_panels_are_told_and_listed_in_counting_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic_records, "N_RESAMPLES", 5)
    n = MANY + 2
    for seed in range(n):
        write_cell(tmp_path, seed=seed, controls=("fitted", "random"), metrics=("top1",))
    parts = sections(write_report(tmp_path).read_text())
    sentence = f"Panels of the first {MANY_PANELS} of {n} settings"
    for name in ("", "over-layer", "map", "leads", "answers"):
        assert sentence in parts[name], name
        assert f"seed={MANY_PANELS - 1}<" in parts[name], name
        # the picture of all leads goes further than the panels
        panels = parts[name].rsplit(sentence)[-1] if name == "map" else parts[name]
        assert f"seed={MANY_PANELS}<" not in panels, name
    assert f"The first {MANY} of {n} curves." in parts["map"]
    shown, folded = parts["best"].split("<summary>2 more curves</summary>")
    assert (shown.count("<tr"), folded.count("<tr")) == (1 + MANY, 1 + 2)
    assert parts["best"].index("seed=2<") < parts["best"].index("seed=10<")


def shown(outputs: Path, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    cells = Family(comparisons(read_all(outputs))).cells
    console.print(*grid_tables(cells, width))
    console.print(grid_footer(cells), highlight=False)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    return lines


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_large_grid_is_shown_by_the_best_layer_of_each_curve(outputs: Path, width: int) -> None:
    lines = shown(outputs, width)
    text = " ".join(" ".join(lines).split())
    assert len(comparisons(read_all(outputs))) > MOST_ROWS > len(lines)
    assert lines[0].strip() == "tiny: top-1 at the best layer of each curve"
    rows = [line.split() for line in lines if "→10" in line and "late_layer" in line]
    assert [row.count("10→10") for row in rows] == [1, 1]
    for row in rows:
        assert row[-2:] == ["yes", "both"]
    assert "corrected for the search over layers and 7 curves" in text
    assert "every cell: bridge report (a page), bridge export (a table)" in text


def test_curves_that_have_no_best_layer_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.show.grid_tables.MOST_ROWS", 3)
    for layer in (1, 2):
        write_cell(tmp_path, layers=(layer, 4), failed_gate="states")
        write_cell(tmp_path, layers=(layer, 4), n=7, controls=("random", "mean"))
        write_cell(tmp_path, layers=(layer, 4), n=8, controls=tuple(c for c in CONTROLS if c != "identity"))
    lines = [" ".join(line.split()) for line in shown(tmp_path, 120)]
    text = " ".join(lines)
    assert re.search(r"lm_head - 7( -)+ no ", text)
    assert re.search(r"lm_head - 100( -)+ none ", text)
    assert [line for line in lines if re.search(r" open open (both|none|lookup|words)$", line)]
