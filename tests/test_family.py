"""Contrasts of many cells as one family, and best layers that were searched for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_records import write_cell

from bridge.comparison import NEGATIVES, comparisons, item_scores
from bridge.controls import CONTROLS
from bridge.family import Family
from bridge.grids import grids, withhold
from bridge.statistics import exact_sign_flip_p, holm, max_statistic_p


def best_layers(outputs: Path, made: list[Any]) -> Any:
    family = Family(comparisons(made))
    return family, family.best_layers(grids([withhold(c) for c in family.cells]))


def test_every_contrast_with_a_negative_control_in_a_valid_cell_is_corrected_for_all_of_them(tmp_path: Path) -> None:
    made = [write_cell(tmp_path, layers=(i, 4), rates={"fitted": rate}) for i, rate in enumerate((0.2, 0.3, 0.9))]
    made.append(write_cell(tmp_path, layers=(4, 4), failed_gate="decode"))
    family = Family(comparisons(made))
    assert family.n_contrasts == 3 * len(NEGATIVES)
    exact, found = [], []
    for c in family.cells[:3]:
        scores = item_scores(c.records, ["fitted", *NEGATIVES], ["top1"])
        for name in NEGATIVES:
            differences = scores["fitted"]["top1"][0] - scores[name]["top1"].mean(0)
            exact.append(float(exact_sign_flip_p(differences[:, None], 1 / len(scores[name]["top1"]))))
            found.append(c.contrasts[name]["top1"])
        assert "p_holm" not in c.contrasts["same_model"]["top1"]
    assert [f["p_exact"] for f in found] == pytest.approx(exact, rel=1e-9)
    assert [f["p_holm"] for f in found] == pytest.approx(holm(torch.tensor(exact, dtype=torch.float64)).tolist())
    assert max(f["p_holm"] for f in found) > 0.05 > min(f["p_holm"] for f in found)
    assert "p_holm" not in family.cells[3].contrasts["random"]["top1"]


def test_a_verdict_is_that_of_the_whole_family(tmp_path: Path) -> None:
    rates = {"fitted": 0.4, "shuffled_within": 0.25}
    (alone,) = Family(comparisons([write_cell(tmp_path, rates=rates)])).cells
    assert alone.verdict() == "above every negative control"
    made = [write_cell(tmp_path, layers=(i, 4), rates=rates) for i in range(12)]
    crowd = Family(comparisons(made)).cells
    assert {c.verdict() for c in crowd} == {"not above shuffled_within"}
    assert all(c.contrasts["shuffled_within"]["top1"]["p_exact"] < 0.05 for c in crowd)


def test_the_family_can_reject_however_many_cells_there_are(tmp_path: Path) -> None:
    # 60 flips were drawn in each cell, whose p cannot fall below 1/61; Holm multiplies by up to 200
    made = [write_cell(tmp_path, layers=(i, 40)) for i in range(40)]
    family = Family(comparisons(made))
    assert min(c.contrasts["mean"]["top1"]["p"] for c in family.cells) * family.n_contrasts > 1
    assert {c.verdict() for c in family.cells} == {"above every negative control"}


def test_each_metric_is_a_family_of_its_own(tmp_path: Path) -> None:
    (c,) = Family(comparisons([write_cell(tmp_path)]), ["top1", "logprob_nats"]).cells
    for name in NEGATIVES:
        assert 0 < c.contrasts[name]["logprob_nats"]["p_holm"] < 0.05
        assert "p_holm" not in c.contrasts[name]["mrr"]


def test_the_best_layer_is_a_valid_one_and_its_p_that_of_the_search(tmp_path: Path) -> None:
    rates = (0.3, 0.6, 0.4, 0.9)
    made = [
        write_cell(tmp_path, layers=(i, 4), rates={"fitted": r}, failed_gate="decode" if r == 0.9 else None)
        for i, r in enumerate(rates)
    ]
    family, (best,) = best_layers(tmp_path, made)
    assert (best.cell.data["layers"]["source"], best.n_layers, best.n_off) == (1, 3, 1)
    for name in NEGATIVES:
        columns = []
        for c in family.cells[:3]:
            scores = item_scores(c.records, ["fitted", name], ["top1"])
            columns.append(scores["fitted"]["top1"][0] - scores[name]["top1"].mean(0))
        p = max_statistic_p(torch.stack(columns, -1), 9_999, torch.Generator().manual_seed(0))
        assert best.p[name] == float(p[1]), name
    assert best.p_holm == max(best.p.values())
    assert best.verdict() == "above every negative control"


def test_a_best_layer_must_also_beat_the_best_layer_of_every_draw(tmp_path: Path) -> None:
    made = [write_cell(tmp_path, layers=(i, 4), rates={"fitted": 0.5}) for i in range(2)]
    _, (best,) = best_layers(tmp_path, made)
    assert best.p_draws == dict.fromkeys(("random", "shuffled", "shuffled_within"), 1 / 21)
    made.append(write_cell(tmp_path, layers=(2, 4), rates={"fitted": 0.3, "shuffled": 0.45}))
    _, (best,) = best_layers(tmp_path, made)
    assert best.cell.data["layers"]["source"] < 2
    # at the best layer itself no draw of shuffled comes near
    assert best.cell.contrasts["shuffled"]["top1"]["p_draws"] == pytest.approx(1 / 21)
    assert best.p_draws["shuffled"] > 0.05
    assert best.verdict() == "not above shuffled"


def test_best_layers_are_corrected_for_the_number_of_curves(tmp_path: Path) -> None:
    made = [
        write_cell(tmp_path, layers=(i, 4), n=n, rates={"fitted": 0.43, "shuffled_within": 0.25})
        for i in range(2)
        for n in range(50, 60)
    ]
    _, bests = best_layers(tmp_path, made)
    assert [b.cell.data["n_fit"] for b in bests] == list(range(50, 60))
    p = [max(b.p.values()) for b in bests]
    assert [b.p_holm for b in bests] == holm(torch.tensor(p, dtype=torch.float64)).tolist()
    assert max(p) < 0.05 < min(b.p_holm for b in bests)
    assert {b.verdict() for b in bests} == {"not above shuffled_within"}


def test_a_best_layer_without_a_control_stays_open(tmp_path: Path) -> None:
    some = tuple(c for c in CONTROLS if c != "identity")
    made = [
        write_cell(tmp_path, layers=(1, 4), rates={"fitted": 0.5}),
        write_cell(tmp_path, layers=(2, 4), controls=some),
    ]
    _, (best,) = best_layers(tmp_path, made)
    assert best.verdict() == "open: no score yet for identity"
    # a layer that lacks a control that the best layer has takes no part in that control's search
    made = [
        write_cell(tmp_path, layers=(3, 4)),
        write_cell(tmp_path, layers=(2, 4), controls=some, rates={"fitted": 0.5}),
    ]
    _, (best,) = best_layers(tmp_path, made)
    assert best.verdict() == "above every negative control"
    assert sorted(best.p) == sorted(NEGATIVES)


def test_layers_that_saw_other_weights_or_items_are_not_compared(tmp_path: Path) -> None:
    made = [write_cell(tmp_path, layers=(i, 4)) for i in range(2)]
    made[1].data["inputs"]["items"] = "others"
    _, (best,) = best_layers(tmp_path, made)
    assert best.verdict() == "open: its layers were computed on different weights or items; run them again"
    assert best.p == {}


def test_curves_without_a_valid_fitted_score_have_no_best_layer(tmp_path: Path) -> None:
    made = [
        write_cell(tmp_path, failed_gate="same_model"),
        write_cell(tmp_path, injection={"name": "late_layer"}, controls=("random", "mean")),
        write_cell(tmp_path, injection={"name": "soft_prefix"}, controls=("fitted",)),
    ]
    assert best_layers(tmp_path, made)[1] == []


def test_the_same_controls_fanned_out_give_the_same_family(tmp_path: Path) -> None:
    whole, (best,) = best_layers(tmp_path, [write_cell(tmp_path / "whole", layers=(i, 4)) for i in range(2)])
    parts = [write_cell(tmp_path / "parts", layers=(i, 4), controls=(name,)) for i in range(2) for name in CONTROLS]
    joined, (other,) = best_layers(tmp_path, parts)
    for a, b in zip(whole.cells, joined.cells, strict=True):
        for name in NEGATIVES:
            assert a.contrasts[name]["top1"]["p_holm"] == b.contrasts[name]["top1"]["p_holm"]
    assert (best.p, best.p_draws, best.p_holm) == (other.p, other.p_draws, other.p_holm)
