"""Tables for a terminal, at the widths that terminals have."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_records import write_cell

from bridge.comparison import Comparison, comparisons
from bridge.controls import CONTROLS
from bridge.tables import grid_footer, grid_table, print_comparison

NEGATIVES = ("random", "shuffled", "shuffled_within", "identity", "mean")


def shown(what: object, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    if isinstance(what, Comparison):
        print_comparison(what, console)
    else:
        console.print(what)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    return text


@pytest.mark.parametrize("width", [80, 100, 104, 120, 200])
def test_one_cell_shows_every_control_on_a_line_of_its_own(tmp_path: Path, width: int) -> None:
    (compared,) = comparisons([write_cell(tmp_path)])
    text = shown(compared, width)
    for name in (*CONTROLS, "native_source", "native_target"):
        (line,) = [line for line in text.splitlines() if re.match(rf"{name}( x20)? +\d\.\d{{3}} \[", line)]
        assert f"{compared.mean(name):.3f} [" in line
    fitted_minus_mean = compared.contrasts["mean"]["top1"]["difference"]
    (line,) = [line for line in text.splitlines() if re.match(r"mean +\d\.\d{3} \[", line)]
    assert f"{fitted_minus_mean:+.3f} [" in line
    assert text.splitlines()[0].strip() == "tiny: layer 4→4, lm_head, n=100, 40 eval items"
    assert "gates: decode passed (0 <= 0.0001)" in text
    assert "answers seen in the fit (20 items), top-1: fitted " in text
    assert text.rstrip().endswith("above every negative control")
    assert ("(nats)" in text) == (width >= 104)


def test_a_random_control_shows_its_number_of_draws_and_the_p_value_that_they_allow(tmp_path: Path) -> None:
    (compared,) = comparisons([write_cell(tmp_path)])
    for name in ("random", "shuffled", "shuffled_within"):
        (line,) = [line for line in shown(compared, 120).splitlines() if line.startswith(f"{name} x20 ")]
        assert line.endswith("0.048")  # 1 / (1 + 20)


def test_a_fitted_score_alone_is_not_shown_and_the_controls_not_scored_are_named(tmp_path: Path) -> None:
    (compared,) = comparisons([write_cell(tmp_path, controls=("fitted",))])
    lines = shown(compared, 100).splitlines()
    assert not [line for line in lines if line.startswith("fitted ") and re.search(r"0\.\d", line)]
    text = " ".join(" ".join(lines).split())
    missing = ", ".join(name for name in CONTROLS if name != "fitted")
    assert f"not scored here: {missing} (control=all scores everything)" in text
    assert text.endswith(
        "fitted score not shown, because no negative control was scored beside it; run it with control=all"
    )
    grid = shown(grid_table([compared], width=120), 120)
    assert [line.split()[3] for line in grid.splitlines() if "4→4" in line] == ["-"]
    assert "open: 5 controls not scored" in " ".join(shown(grid_table([compared], width=120), 120).split())


def test_a_failed_gate_is_shown_with_value_and_threshold(tmp_path: Path) -> None:
    (dead,) = comparisons([write_cell(tmp_path, failed_gate="same_model")])
    text = shown(dead, 120)
    assert "same_model FAILED (0.14 not >= 0.8)" in text
    assert text.rstrip().endswith("dead: the target's own states reach only 14% of its native score this way")


@pytest.mark.parametrize("width", [80, 104, 120])
def test_a_grid_is_one_row_per_cell_with_every_negative_control(tmp_path: Path, width: int) -> None:
    made = [
        write_cell(tmp_path, layers=(2, 4)),
        write_cell(tmp_path, layers=(3, 4), failed_gate="same_model"),
        write_cell(tmp_path, layers=(30, 32), rates={"fitted": 0.02}),
    ]
    found = comparisons(made)
    text = shown(grid_table(found, width=width), width)
    assert text.splitlines()[0].strip() == "tiny: top-1"
    rows = [re.split(r" +", line.strip()) for line in text.splitlines() if line.startswith("lm_head")]
    assert [row[1] for row in rows] == ["2→4", "3→4", "30→32"]
    for row, compared in zip(rows, found, strict=True):
        assert row[3:9] == [f"{compared.mean(name):.2f}" for name in ("fitted", *NEGATIVES)]
    verdicts = [" ".join(row[len(row) - 2 :]) for row in rows]
    assert verdicts[0] == "above all"
    assert verdicts[1].endswith("dead")
    assert verdicts[2].startswith("not above") or "not above" in " ".join(text.split())


def test_a_grid_shows_a_dash_where_a_control_was_not_scored(tmp_path: Path) -> None:
    made = [write_cell(tmp_path), write_cell(tmp_path, layers=(2, 4), controls=("fitted", "random"))]
    text = shown(grid_table(comparisons(made)), 104)
    (row,) = [line.split() for line in text.splitlines() if "2→4" in line]
    assert [cell == "-" for cell in row[3:11]] == [False, False, *[True] * 6]


def test_a_grid_can_show_another_metric(tmp_path: Path) -> None:
    text = shown(grid_table(comparisons([write_cell(tmp_path)]), "logprob_nats"), 104)
    assert text.splitlines()[0].strip() == "tiny: log-prob (nats)"
    assert re.search(r"-\d\.\d\d", text)


def test_a_grid_says_in_how_many_cells_all_gates_passed(tmp_path: Path) -> None:
    made = [write_cell(tmp_path), write_cell(tmp_path, layers=(3, 4), failed_gate="same_model")]
    assert grid_footer(comparisons(made)).startswith("all gates passed in 1 of 2 cells; ")
    assert max(map(len, grid_footer(comparisons(made)).splitlines())) <= 80
