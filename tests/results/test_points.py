"""Points: what a record says of each, and the tables of items behind them, each with units of its own."""

from pathlib import Path

import pytest
import torch
from synthetic_doses import (
    ALL,
    DOSES,
    N_DOCUMENTS,
    N_DRAWS,
    N_QUERIES,
    TASK,
    about,
    install,
    point_of,
    result,
    write_doses,
    write_points,
)

from bridge.results.items import item_scores
from bridge.results.joining import comparisons
from bridge.results.points import mask_column
from bridge.results.scores import summarize


def test_a_point_says_where_it_lies_and_how_many_items_and_units_count() -> None:
    for dose, point in zip(DOSES, result().points, strict=True):
        assert point["axes"] == {"dose": dose, "n": N_DOCUMENTS}
        assert {key: point[key] for key in ("n", "n_units", "n_effective", "unit")} == {
            "n": N_QUERIES, "n_units": 20, "n_effective": pytest.approx(20.0), "unit": "topic",
        }  # fmt: skip
        assert {name: (part["n"], part["n_units"]) for name, part in point["parts"].items()} == {
            "hard": (30, 10), "easy": (30, 10),
        }  # fmt: skip


def test_conditions_stand_in_the_order_of_the_task_and_the_estimate_has_no_contrast_with_itself() -> None:
    for point in (*result(ALL[::-1]).points, *result().points):
        assert list(point["scores"]) == ["steered", "shuffled", "prompted", "native"]
        assert list(point["contrasts"]) == ["shuffled", "prompted", "native"]
    assert result(("shuffled", "native")).points[0]["contrasts"] == {}


def test_a_score_without_items_stands_among_all_items_alone_and_has_no_contrast() -> None:
    point = result().points[0]
    assert point["scores"]["steered"]["norm"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert "norm" not in point["scores"]["shuffled"]
    assert "norm" not in point["parts"]["hard"]["scores"]["steered"]
    assert "norm" not in point["contrasts"]["shuffled"]


def test_a_part_counts_its_items_by_the_mask_of_each_metric() -> None:
    scores = point_of(1.0)
    point = scores.point(ALL)
    recall, drift = (scores.branch("steered").metrics[name][0] for name in ("recall", "drift"))
    hard = point["parts"]["hard"]["scores"]["steered"]
    assert hard["recall"]["mean"] == pytest.approx(float(recall[:30].mean()))
    assert point["scores"]["steered"]["recall"]["mean"] == pytest.approx(float(recall.mean()))
    # The mask of the queries says nothing of the documents.
    assert hard["drift"] == point["scores"]["steered"]["drift"]
    assert hard["drift"]["mean"] == pytest.approx(float(drift.mean()))
    native = scores.branch("native").metrics["recall"][0]
    assert hard["share"]["mean"] == pytest.approx(float(recall[:30].sum() / native[:30].sum()))


def test_p_of_all_flips_is_there_for_what_a_family_corrects_and_for_nothing_else() -> None:
    point = result().points[0]
    for numbers, tested in ((point, True), (point["parts"]["hard"], True), (point["parts"]["easy"], False)):
        has = {name: "p_exact" in by["recall"] for name, by in numbers["contrasts"].items()}
        assert has == {"shuffled": tested, "prompted": tested, "native": False}
        assert {name: "p_draws" in by["recall"] for name, by in numbers["contrasts"].items()} == {
            "shuffled": True, "prompted": False, "native": False,
        }  # fmt: skip


def test_a_condition_is_scored_once_whatever_is_asked_for_and_the_numbers_are_the_same() -> None:
    asked: list[str] = []
    scores = point_of(0.5, asked)
    first = scores.point(("steered", "shuffled"))
    whole = scores.point(ALL)
    scores.columns(ALL, about())
    assert sorted(asked) == sorted(ALL)
    for name in ("steered", "shuffled"):
        assert whole["scores"][name] == first["scores"][name]
    assert whole["contrasts"]["shuffled"] == first["contrasts"]["shuffled"]


def test_each_kind_of_item_has_a_table_with_its_own_units_and_scores() -> None:
    items = result().items
    known = ["point", "control", "draw", "item"]
    assert list(items["queries"]) == [*known, "query", "unit", mask_column("hard", "hard"), "easy_hard", "recall"]
    assert list(items["documents"]) == [*known, "text", "unit", "hard", "easy", "drift"]
    n_rows = 2 * (3 + N_DRAWS)
    for table, n in (("queries", N_QUERIES), ("documents", N_DOCUMENTS)):
        assert {len(column) for column in items[table].values()} == {n_rows * n}
    queries = items["queries"]
    assert queries["point"] == [0] * (len(queries["point"]) // 2) + [1] * (len(queries["point"]) // 2)
    assert queries["unit"][:6] == [0, 0, 0, 1, 1, 1]
    assert items["documents"]["unit"][:4] == [0, 0, 1, 1]
    assert queries["hard_hard"][:N_QUERIES] == [True] * 30 + [False] * 30
    assert items["documents"]["hard"][:N_DOCUMENTS] == [True] * N_DOCUMENTS
    assert queries["draw"][N_QUERIES : N_QUERIES * 3] == [0] * N_QUERIES + [1] * N_QUERIES
    # A condition without a score of that name has none, and no other's.
    of_native = [x for x, name in zip(items["documents"]["drift"], items["documents"]["control"], strict=True)
                 if name == "native"]  # fmt: skip
    assert set(of_native) == {None}


def test_what_is_read_back_of_a_point_is_that_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    made = write_doses(tmp_path)
    assert made.tables == ["documents", "queries"]
    metrics = [TASK.by_name[name] for name in ("recall", "drift")]
    for number, dose in enumerate(DOSES):
        own = point_of(dose)
        items = item_scores([made], TASK, ALL, metrics, number)
        for name in ("steered", "shuffled", "prompted"):
            for metric in ("recall", "drift"):
                assert torch.equal(items.branches[name].metrics[metric], own.branch(name).metrics[metric])
        assert list(items.branches["native"].metrics) == ["recall"]
        assert {table: len(units) for table, units in items.units.items()} == {
            "queries": N_QUERIES, "documents": N_DOCUMENTS,
        }  # fmt: skip
        for label in ("all", "hard", "easy"):
            part = items.part(label, 60, 0)
            point = made.data["points"][number]
            scores = point["scores"] if label == "all" else point["parts"][label]["scores"]
            again = summarize(items.branches["steered"], items.branches["native"], part, TASK.by_name)
            assert again == {name: score for name, score in scores["steered"].items() if name != "norm"}


def test_points_of_cells_that_differ_in_their_conditions_alone_are_joined_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    whole = comparisons([write_doses(tmp_path / "whole")])
    apart = comparisons([write_doses(tmp_path / "apart", (name, "native")) for name in ALL[:3]])
    assert [c.axes["dose"] for c in whole] == [c.axes["dose"] for c in apart] == list(DOSES)
    for one, other in zip(whole, apart, strict=True):
        assert (one.number, one.scores) == (other.number, other.scores)
        assert one.contrasts == other.contrasts
        assert one.parts == other.parts
        assert other.missing == ()
    assert whole[0].scores["steered"] != whole[1].scores["steered"]


def test_a_record_without_points_has_no_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    assert comparisons([write_points(tmp_path, TASK, [])]) == []
