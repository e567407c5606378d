"""Scores without items: families and best places go by the p values that stand in the record."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_doses import install, write_points

from bridge.report.leadmap import lead_map
from bridge.results.axes import Axis
from bridge.results.best import best_places
from bridge.results.comparison import Comparison
from bridge.results.conditions import Condition, Conditions
from bridge.results.curves import grids
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.results.metrics import Metric
from bridge.show.printing import print_grid
from bridge.tasks.base import Task


class Angles(Task):
    """How alike the layers of two models are; a null of permuted rows has no items."""

    name = "angles"
    metrics = (
        Metric("similarity", "similarity", heads=True, high=1.0, items=None),
        Metric("angle", "angle (rad)", "", "rad", False, low=0.0, items=None),
    )
    conditions = Conditions([Condition("observed", "estimate"), Condition("permuted", "negative", drawn=True)])
    axes = (Axis("layer", "layer", searched=True), Axis("rows", "rows", keys=("task.n_rows",)))


class Worse(Angles):
    """The same, headed by a score of which less is better."""

    name = "worse"
    metrics = (
        Metric("angle", "angle (rad)", "", "rad", False, low=0.0, heads=True, items=None),
        Metric("similarity", "similarity", high=1.0, items=None),
    )


class Nulls(Angles):
    """The same beside two nulls."""

    name = "nulls"
    conditions = Conditions(
        [
            Condition("observed", "estimate"),
            Condition("permuted", "negative", drawn=True),
            Condition("rotated", "negative", drawn=True),
        ]
    )


TASK = Angles()


def point(layer: int, rows: int, value: float, p: float, searched: float | None, head: str = "similarity") -> Any:
    """A point whose estimate is `value` and whose null has mean 0.3."""
    lead = {"difference": value - 0.3, "low": None, "high": None, "p": p}
    if searched is not None:
        lead["p_searched"] = searched
    return {
        "axes": {"layer": layer, "rows": rows}, "n": rows, "n_units": rows, "n_effective": float(rows), "unit": "row",
        "scores": {"observed": {head: {"mean": value, "low": None, "high": None}},
                   "permuted": {head: {"mean": 0.3, "low": 0.2, "high": 0.4}}},
        "contrasts": {"permuted": {head: lead}}, "parts": {},
    }  # fmt: skip


def drawn(made: Any, name: str, draws: list[float]) -> Any:
    """The same point with the draws of a null, which leads as the permuted one does."""
    made["scores"][name] = {"similarity": {"mean": 0.3, "low": 0.2, "high": 0.4, "n_draws": len(draws), "draws": draws}}
    made["contrasts"][name] = made["contrasts"]["permuted"]
    return made


def family(tmp_path: Path, *records: list[Any], task: Task = TASK) -> list[Comparison]:
    made = [
        write_points(tmp_path, task, points, task={"name": task.name, "n_rows": points[0]["axes"]["rows"]}, seed=seed)
        for seed, points in enumerate(records)
    ]
    return Family(comparisons(made)).cells


def p_holm(cells: list[Comparison]) -> list[float]:
    return [c.contrasts["permuted"][c.head]["p_holm"] for c in cells]


def test_p_values_corrected_for_a_records_points_are_left_to_correct_for_the_number_of_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    first = [point(layer, 60, 0.9, 0.01, searched) for layer, searched in ((1, 0.01), (2, 0.04))]
    cells = family(tmp_path / "one", first)
    assert p_holm(cells) == [0.01, 0.04]
    assert [c.verdict() for c in cells] == ["above every negative control"] * 2
    cells = family(tmp_path / "three", first, first, first)
    assert p_holm(cells) == pytest.approx([0.03] * 3 + [0.12] * 3)
    assert [c.is_above for c in cells] == [True] * 3 + [False] * 3
    assert p_holm(family(tmp_path / "most", [point(1, 60, 0.9, 0.6, 0.6)], first))[0] == 1.0


def test_p_values_that_were_corrected_for_nothing_go_through_holm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    cells = family(tmp_path, [point(layer, 60, 0.9, p, None) for layer, p in ((1, 0.01), (2, 0.04), (3, 0.03))])
    assert p_holm(cells) == pytest.approx([0.03, 0.06, 0.06])
    # Without the draws of a null nothing is ranked anew.
    assert "p_draws_family" not in cells[0].contrasts["permuted"]["similarity"]


def test_a_null_is_ranked_among_its_own_draws_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Nulls()
    install(monkeypatch, task)
    made = drawn(point(1, 60, 0.9, 0.01, None), "permuted", [0.3] * 19)
    (c,) = family(tmp_path, [drawn(made, "rotated", [*[-5.0] * 18, 5.0])], task=task)
    ranks = {name: by_metric["similarity"]["p_draws_family"] for name, by_metric in c.contrasts.items()}
    assert ranks == pytest.approx({"permuted": 1 / 20, "rotated": 2 / 20})


def test_draws_are_compared_by_their_number_from_the_first_one_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    few, more = [0.1] * 19, [*[0.1] * 19, *[5.0] * 19]
    records = ([drawn(point(1, n, 0.9, 0.01, None), "permuted", draws)] for n, draws in ((60, few), (70, more)))
    ranks = [c.contrasts["permuted"]["similarity"]["p_draws_family"] for c in family(tmp_path, *records)]
    assert ranks == pytest.approx([1 / 20, 1 / 20])


def test_the_best_place_goes_by_the_p_that_its_record_corrected_for_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    cells = family(tmp_path, [point(layer, 60, value, 0.01, p) for layer, value, p in ((1, 0.5, 0.2), (2, 0.9, 0.03))])
    (best,) = best_places(grids(cells))
    assert (best.cell.axes["layer"], best.n_searched, best.p, best.p_holm) == (2, 2, {"permuted": 0.03}, 0.03)
    assert best.verdict() == "above every negative control"
    (alone,) = best_places(grids(family(tmp_path / "alone", [point(1, 60, 0.5, 0.01, 0.2)])))
    assert alone.verdict() == "not above permuted"


def test_the_best_of_places_without_such_a_p_pays_for_each_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    cells = family(tmp_path, [point(layer, 60, 0.5 + layer / 10, 0.02, None) for layer in (1, 2, 3)])
    (best,) = best_places(grids(cells))
    assert (best.cell.axes["layer"], best.p["permuted"]) == (3, pytest.approx(0.06))
    assert best.verdict() == "not above permuted"
    two, more = best_places(
        grids(family(tmp_path / "two", *([point(i, n, 0.9, 0.01, 0.03) for i in (1, 2)] for n in (60, 70))))
    )
    assert (two.p_holm, more.p_holm) == (pytest.approx(0.06), pytest.approx(0.06))
    assert two.verdict() == more.verdict() == "not above permuted"


def test_less_is_better_where_the_task_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Worse()
    install(monkeypatch, task)
    points = [point(layer, 60, value, 0.01, 0.01, "angle") for layer, value in ((1, 0.1), (2, 0.2), (3, 0.9))]
    cells = family(tmp_path, points, task=task)
    assert [c.is_above for c in cells] == [True, True, False]
    (best,) = best_places(grids(cells))
    assert best.cell.axes["layer"] == 1
    assert best.verdict() == "above every negative control"


def test_less_of_what_should_be_little_is_a_lead_in_the_map_of_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Worse()
    install(monkeypatch, task)
    points = [point(layer, 60, value, 0.01, 0.01, "angle") for layer, value in ((1, 0.1), (2, 0.9))]
    (grid,) = grids(family(tmp_path, points, task=task))
    leads = lead_map([(grid, curve) for curve in grid.curves()], task.searched)
    assert re.findall(r">([+−]\.\d\d)</text>", leads) == ["+.20", "−.60"]


def test_a_place_without_a_score_is_never_best_and_has_no_verdict_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    points = [point(1, 60, 0.5, 0.01, 0.01), point(2, 60, 0.9, 0.01, 0.01)]
    points[1]["scores"]["observed"]["similarity"]["mean"] = None
    points[1]["contrasts"]["permuted"]["similarity"] |= {"difference": None, "p": None, "p_searched": None}
    cells = family(tmp_path, points)
    (best,) = best_places(grids(cells))
    assert best.cell.axes["layer"] == 1
    assert not cells[1].is_above


class Unsearched(Angles):
    """The same, with no axis to look for a best place along."""

    name = "unsearched"
    axes = (Axis("layer", "layer"), Axis("rows", "rows", keys=("task.n_rows",)))


def printed(records: list[Any]) -> str:
    text = io.StringIO()
    print_grid(records, Console(file=text, width=100))
    return text.getvalue()


def test_cells_whose_tables_another_metric_heads_have_tables_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    records = [
        write_points(tmp_path, TASK, [point(1, rows, 0.9, 0.01, 0.01, head)], task={"name": "angles", "n_rows": rows})
        for rows, head in ((60, "similarity"), (70, "angle"))
    ]
    titles = [line.strip() for line in printed(records).splitlines() if line.startswith("angles:")]
    assert titles == ["angles: similarity", "angles: angle"]


def test_what_is_left_out_of_a_long_table_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Unsearched()
    install(monkeypatch, task)
    points = [point(layer, 60, 0.9, 0.01, 0.01) for layer in range(70)]
    record = write_points(tmp_path, task, points, task={"name": task.name, "n_rows": 60})
    text = printed([record])
    assert sum(line.startswith("unsearched ") for line in text.splitlines()) == 60
    assert "the first 60 of 70 are shown; every cell: bridge report, bridge export" in text
    assert "are shown" not in printed(
        [write_points(tmp_path, task, points[:60], task={"name": task.name, "n_rows": 60})]
    )


def test_a_best_place_on_the_wrong_side_of_its_control_is_not_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TASK)
    cells = family(tmp_path, [point(layer, 60, value, 0.01, 0.01) for layer, value in ((1, 0.1), (2, 0.2))])
    (best,) = best_places(grids(cells))
    assert best.verdict() == "not above permuted"
