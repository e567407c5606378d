"""Contrasts of many cells as one family."""

import math
from pathlib import Path
from typing import Any

import pytest
import synthetic_records
import torch
from declared import BASELINES, NEGATIVES, TASK
from synthetic_families import HEAD, best_layers, cell, differences, family_of
from synthetic_records import METRICS

from bridge.controls.names import CONTROLS
from bridge.results.comparison import Comparison
from bridge.results.families import _comparable
from bridge.results.items import item_scores
from bridge.results.metrics import Metric
from bridge.results.scores import Branch
from bridge.statistics.families import draw_family_p, holm
from bridge.statistics.flips import exact_sign_flip_p
from bridge.statistics.shares import is_rare, rare_difference_p
from bridge.statistics.skewness import skewness_p

DRAWN = ("random", "shuffled", "shuffled_within")
BOTH = "new answers: {0}; all answers: {0}"
ALL_ABOVE = "above every negative control, and above lookup and bag_of_words"


def exact_p(c: Comparison, name: str, part: str = "all") -> float:
    scores, units = differences(c, name, part)
    flipped = exact_sign_flip_p(scores[:, None], 1 / 20 if name in DRAWN else 1.0, units).item()
    return max(flipped, skewness_p(scores[:, None], units).item())


@pytest.mark.parametrize("part", ["all", "new"])
def test_every_contrast_with_a_negative_control_in_a_valid_cell_is_corrected_for_all_of_them(
    tmp_path: Path, part: str
) -> None:
    rates = [{"fitted": rate, "shuffled_within": 0.34} for rate in (0.36, 0.45, 0.6)]
    made = [cell(tmp_path, layers=(i, 4), rates=r, new_rates=r) for i, r in enumerate(rates)]
    made.append(cell(tmp_path, layers=(4, 4), failed_gate="states"))
    family = family_of(made)
    assert family.n_contrasts == 3 * len(NEGATIVES)
    contrasts = [c.contrasts_of(part)[name]["top1"] for c in family.cells[:3] for name in NEGATIVES]
    exact = [exact_p(c, name, part) for c in family.cells[:3] for name in NEGATIVES]
    assert [x["p_exact"] for x in contrasts] == pytest.approx(exact, rel=1e-9)
    assert [x["p_holm"] for x in contrasts] == pytest.approx(holm(exact).tolist())
    assert max(exact) > 0.05 > min(x["p_holm"] for x in contrasts)
    for c in family.cells[:3]:
        assert not {"p_exact", "p_holm", "p_draws_family"} & c.contrasts_of(part)["same_model"]["top1"].keys()
        assert "p_holm" not in c.contrasts_of(part)["clustered"]["top1"]
    assert "p_holm" not in family.cells[3].contrasts_of(part)["random"]["top1"]


def test_known_answers_are_no_family(tmp_path: Path) -> None:
    (c,) = family_of([cell(tmp_path)]).cells
    assert "p_holm" not in c.contrasts_of("known")["random"]["top1"]


def test_units_and_not_items_are_what_a_family_flips(tmp_path: Path) -> None:
    (c,) = family_of([cell(tmp_path, n_units=8)]).cells
    # eight units and 120 items: of 2**8 flips at least two reach the observed sum
    assert c.contrasts["mean"]["top1"]["p_exact"] >= 2 / 2**8
    scores, _ = differences(c, "mean")
    assert exact_sign_flip_p(scores[:, None], 1.0).item() < 1e-6


def test_the_baselines_together_are_a_family_of_their_own(tmp_path: Path) -> None:
    rates = [{"fitted": rate, "lookup": 0.35, "bag_of_words": 0.3} for rate in (0.5, 0.6)]
    family = family_of([cell(tmp_path, layers=(i, 4), rates=r) for i, r in enumerate(rates)])
    members = [(c, name) for c in family.cells for name in BASELINES]
    exact = [exact_p(c, name) for c, name in members]
    corrected = [c.contrasts[name]["top1"]["p_holm"] for c, name in members]
    assert corrected == pytest.approx(holm(exact).tolist())
    assert corrected != pytest.approx(exact)
    assert "p_draws_family" not in family.cells[0].contrasts["lookup"]["top1"]


def test_a_verdict_is_that_of_the_whole_family(tmp_path: Path) -> None:
    rates = {"fitted": 0.34, "shuffled_within": 0.2, "lookup": 0.02, "bag_of_words": 0.01}
    (alone,) = family_of([cell(tmp_path, rates=rates)]).cells
    assert alone.verdict().endswith(f"all answers: {ALL_ABOVE}")
    made = [cell(tmp_path, layers=(i, 4), rates=rates) for i in range(12)]
    crowd = family_of(made).cells
    assert {c.verdict().partition("; ")[2] for c in crowd} == {
        "all answers: not above shuffled_within, but above lookup and bag_of_words"
    }
    assert all(c.contrasts["shuffled_within"]["top1"]["p_exact"] < 0.05 for c in crowd)


def test_the_family_can_reject_however_many_cells_there_are(tmp_path: Path) -> None:
    # 60 flips were drawn in each cell, whose p cannot fall below 1/61; Holm multiplies by up to 200
    rates, new_rates = {"fitted": 0.8, "lookup": 0.1}, {"fitted": 0.9, "lookup": 0.1}
    made = [cell(tmp_path, layers=(i, 40), rates=rates, new_rates=new_rates) for i in range(40)]
    family = family_of(made)
    assert min(c.contrasts["mean"]["top1"]["p"] for c in family.cells) * family.n_contrasts > 1
    assert {c.verdict() for c in family.cells} == {BOTH.format(ALL_ABOVE)}


def test_each_metric_is_a_family_of_its_own(tmp_path: Path) -> None:
    (c,) = family_of([cell(tmp_path, metrics=METRICS)], ["top1", "logprob_nats", "kl_nats"]).cells
    for name in NEGATIVES:
        assert 0 < c.contrasts[name]["logprob_nats"]["p_holm"] < 0.05
        assert "p_holm" not in c.contrasts[name]["mrr"]
    # In these records all scores in nats say the same, and of kl_nats less is better: no draw is so bad.
    assert c.contrasts["random"]["logprob_nats"]["p_draws_family"] == pytest.approx(1 / 21)
    assert c.contrasts["random"]["kl_nats"]["p_draws_family"] == 1.0


def test_scores_of_whole_answers_go_by_whole_answers(tmp_path: Path) -> None:
    (c,) = family_of([cell(tmp_path, metrics=(*METRICS, "exact_match"))], ["top1", "exact_match"]).cells
    new = c.contrasts_of("new")["mean"]
    assert 0 < new["exact_match"]["p_exact"] < new["top1"]["p_exact"]


def test_ranks_are_taken_draw_by_draw_over_all_cells(tmp_path: Path) -> None:
    rates = ({"fitted": 0.5, "shuffled": 0.3}, {"fitted": 0.35, "shuffled": 0.05}, {"fitted": 0.3, "shuffled": 0.25})
    made = [cell(tmp_path, layers=(i, 4), rates=r) for i, r in enumerate(rates)]
    family = family_of(made)
    for name in DRAWN:
        branches = [item_scores(c.records, TASK, ["fitted", name], [HEAD]).branches for c in family.cells]
        fitted = torch.stack([b["fitted"].metrics["top1"].mean() for b in branches])
        draws = torch.stack([b[name].metrics["top1"].mean(1) for b in branches], 1)
        p = [c.contrasts[name]["top1"]["p_draws_family"] for c in family.cells]
        assert p == pytest.approx(draw_family_p(fitted, draws).tolist())
        assert all(x["p_draws"] <= q for x, q in zip((c.contrasts[name]["top1"] for c in family.cells), p, strict=True))
    shuffled = [c.contrasts["shuffled"]["top1"] for c in family.cells]
    assert shuffled[1]["p_draws_family"] == pytest.approx(1 / 21)
    assert shuffled[2]["p_draws_family"] > shuffled[2]["p_draws"]


def test_ranks_on_a_part_of_the_items_are_those_of_its_own_scores(tmp_path: Path) -> None:
    rates, new_rates = {"fitted": 0.9, "shuffled": 0.05}, {"fitted": 0.02, "shuffled": 0.3}
    for c in family_of([cell(tmp_path, layers=(i, 4), rates=rates, new_rates=new_rates) for i in range(2)]).cells:
        assert c.contrasts_of("all")["shuffled"]["top1"]["p_draws_family"] == pytest.approx(1 / 21)
        assert c.contrasts_of("new")["shuffled"]["top1"]["p_draws_family"] > 0.5


def test_cells_with_more_draws_than_others_give_their_first_ones_to_the_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [cell(tmp_path, layers=(i, 4)) for i in range(2)]
    monkeypatch.setattr(synthetic_records, "N_DRAWS", 50)
    made.append(cell(tmp_path, layers=(3, 4), control__n_draws=50))
    p = {c.data["layers"]["source"]: c.contrasts["random"]["top1"]["p_draws_family"] for c in family_of(made).cells}
    assert p == pytest.approx({0: 1 / 21, 1: 1 / 21, 3: 1 / 21})
    # A cell that no number of items could bring to 5 % takes nothing from the others.
    monkeypatch.setattr(synthetic_records, "N_DRAWS", 3)
    made.append(cell(tmp_path, layers=(2, 4), control__n_draws=3))
    p = {c.data["layers"]["source"]: c.contrasts["random"]["top1"]["p_draws_family"] for c in family_of(made).cells}
    assert p == pytest.approx({0: 1 / 21, 1: 1 / 21, 2: 1 / 4, 3: 1 / 21})
    # Another control in another number of cells changes nothing here.
    assert family_of(made[:2]).cells[0].contrasts["random"]["top1"]["p_draws_family"] == pytest.approx(1 / 21)


def test_ten_cells_without_any_effect_are_above_no_more_often_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coins = torch.Generator().manual_seed(1)

    def chance(name: str, *_: Any) -> Branch:
        n_draws = synthetic_records.N_DRAWS if name == "random" else 1
        return Branch({"top1": (torch.rand(n_draws, synthetic_records.N_ITEMS, generator=coins) < 0.3).double()})

    monkeypatch.setattr(synthetic_records, "_branch", chance)
    # Every cell has coins of its own.
    monkeypatch.setattr(synthetic_records, "_scores", synthetic_records._scores.__wrapped__)
    above = {"p_draws": 0, "p_draws_family": 0}
    for trial in range(6):
        made = [cell(tmp_path, layers=(i, 4), seed=trial, controls=("fitted", "random")) for i in range(10)]
        ranks = [c.contrasts["random"]["top1"] for c in family_of(made).cells]
        for name in above:
            above[name] += any(x[name] <= 0.05 for x in ranks)
    # One in twenty is expected of a family, and one in twenty of each cell alone.
    assert above["p_draws_family"] <= 1
    assert above["p_draws"] >= 3


def test_cells_of_other_eval_items_and_units_are_one_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [cell(tmp_path), cell(tmp_path, n=60, n_units=30)]
    monkeypatch.setattr(synthetic_records, "N_ITEMS", 90)
    made.append(cell(tmp_path, n=40, n_units=30))
    family = family_of(made)
    assert [(c.point["n"], c.point["n_units"]) for c in family.cells] == [(90, 30), (120, 30), (120, 60)]
    exact = [exact_p(c, name) for c in family.cells for name in NEGATIVES]
    contrasts = [c.contrasts[name]["top1"] for c in family.cells for name in NEGATIVES]
    assert [x["p_exact"] for x in contrasts] == pytest.approx(exact, rel=1e-9)
    assert [x["p_holm"] for x in contrasts] == pytest.approx(holm(exact).tolist())


def test_cells_and_parts_of_too_few_units_are_outside_and_break_nothing(tmp_path: Path) -> None:
    made = [cell(tmp_path, layers=(n, 4), n_units=n) for n in (1, 5, 12, 60)]
    family, (best,) = best_layers(made)
    tested = [
        [part for part in ("all", "new") if "p_holm" in c.contrasts_of(part).get("mean", {}).get("top1", {})]
        for c in family.cells
    ]
    assert tested == [[], [], ["all"], ["all", "new"]]
    assert family.n_contrasts == 2 * len(NEGATIVES)
    assert "no test, only 1 unit" in family.cells[0].verdict()
    assert best.verdict()


def test_a_family_of_nothing_is_empty(tmp_path: Path) -> None:
    family, bests = best_layers([cell(tmp_path, n_units=3)])
    assert family.n_contrasts == 0
    assert [(b.p, b.p_holm, b.verdict()) for b in bests] == [({}, 1.0, "no test, only 3 units")]
    assert best_layers([])[1] == []


@pytest.mark.parametrize("seed", [0, 3])
def test_the_same_controls_fanned_out_give_the_same_family(tmp_path: Path, seed: int) -> None:
    whole, (best,) = best_layers([cell(tmp_path / "whole", layers=(i, 4), seed=seed) for i in range(2)])
    parts = [
        cell(tmp_path / "parts", layers=(i, 4), controls=(name,), seed=seed) for i in range(2) for name in CONTROLS
    ]
    joined, (other,) = best_layers(parts)
    for a, b in zip(whole.cells, joined.cells, strict=True):
        assert a.contrasts == b.contrasts
        assert a.parts == b.parts
    assert (best.p, best.p_draws, best.p_holm) == (other.p, other.p_draws, other.p_holm)


def test_a_rare_score_has_in_a_family_the_p_of_its_exact_interval(tmp_path: Path) -> None:
    rates = {"fitted": 0.03, "random": 0.02, "shuffled": 0.02}
    (made,) = family_of([cell(tmp_path, rates=rates, new_rates=rates)]).cells
    scores = item_scores(made.records, TASK, ["fitted", "random"], [HEAD])
    fitted, draws = (scores.branches[name].metrics["top1"] for name in ("fitted", "random"))
    assert is_rare(fitted[0], scores.units["items"])
    p = rare_difference_p(fitted[0], draws.mean(0), scores.units["items"])
    assert made.contrasts["random"]["top1"]["p_exact"] == pytest.approx(p)
    assert p > 0.05


def test_explained_variances_are_ranked_by_what_they_leave_unexplained() -> None:
    ev = Metric("ev", "explained variance", high=1.0)
    assert [_comparable(ev, score) for score in (0.0, 0.9, 0.99)] == pytest.approx([0, math.log(10), math.log(100)])
    # Scores that differ by rounding are equal.
    assert _comparable(ev, 1.0) == _comparable(ev, 1 - 1e-9)
    assert _comparable(Metric("top1", "top-1", low=0.0, high=1.0), 0.9) == 0.9
    assert _comparable(Metric("logprob_nats", "log-probability", high=0.0), -3.0) == -3.0
