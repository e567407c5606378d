"""Best layers that were searched for: above every negative control after the search, or not."""

from pathlib import Path

import pytest
import torch
from declared import NEGATIVES
from synthetic_families import best_layers, cell, differences, family_of
from synthetic_records import NO_RELATIONS

from bridge.controls.names import CONTROLS
from bridge.results.best import Best
from bridge.results.curves import grids
from bridge.statistics.families import holm
from bridge.statistics.flips import max_statistic_p

DRAWN = ("random", "shuffled", "shuffled_within")


def test_the_best_layer_is_a_valid_one_and_its_p_that_of_the_search_over_units(tmp_path: Path) -> None:
    rates = (0.3, 0.6, 0.4, 0.9)
    made = [
        cell(tmp_path, layers=(i, 4), rates={"fitted": r}, failed_gate="states" if r == 0.9 else None)
        for i, r in enumerate(rates)
    ]
    family, (best,) = best_layers(made)
    assert (best.cell.data["layers"]["source"], best.n_searched, best.n_off) == (1, 3, 1)
    for name in NEGATIVES:
        columns = [differences(c, name) for c in family.cells[:3]]
        searched = torch.stack([scores for scores, _ in columns], -1)
        p = max_statistic_p(searched, 9_999, torch.Generator().manual_seed(0), columns[0][1])
        assert best.p[name] == float(p[1]), name
    assert best.p_holm == max(best.p.values())
    assert best.verdict() == "above every negative control"


def test_a_best_layer_of_few_units_has_a_larger_p(tmp_path: Path) -> None:
    made = {n: [cell(tmp_path / str(n), layers=(i, 4), n_units=n) for i in range(2)] for n in (60, 7)}
    p = {n: best_layers(cells)[1][0].p["mean"] for n, cells in made.items()}
    assert p[60] == pytest.approx(1e-4)
    assert p[7] >= 0.9 * 2 / 2**7


def test_a_best_layer_must_also_beat_the_best_layer_of_every_draw(tmp_path: Path) -> None:
    made = [cell(tmp_path, layers=(i, 4), rates={"fitted": 0.5}) for i in range(2)]
    _, (best,) = best_layers(made)
    assert best.p_draws == pytest.approx(dict.fromkeys(DRAWN, 1 / 21))
    assert best.verdict() == "above every negative control"


def test_the_rank_of_a_best_layer_is_that_among_the_largest_leads_of_all_cells(tmp_path: Path) -> None:
    rates = ({"fitted": 0.33, "shuffled": 0.25}, {"fitted": 0.3, "shuffled": 0.5})
    _, (best,) = best_layers([cell(tmp_path, layers=(i, 4), rates=r, new_rates=r) for i, r in enumerate(rates)])
    own = best.cell.contrasts["shuffled"]["top1"]
    assert own["p_draws"] <= 0.05 < own["p_draws_family"] == best.p_draws["shuffled"]
    assert "shuffled" in best.not_beaten()


def test_a_best_layer_is_not_above_a_control_whose_draws_lead_as_much_at_another_layer(tmp_path: Path) -> None:
    (c,) = family_of([cell(tmp_path)]).cells
    best = Best(grids([c])[0], c, (c, c), 0, dict.fromkeys(NEGATIVES, 0.001), {"shuffled": 2 / 21}, p_holm=0.001)
    assert best.verdict() == "not above shuffled"
    assert best.not_beaten() == ["shuffled"]
    at_the_level = Best(grids([c])[0], c, (c, c), 0, dict.fromkeys(NEGATIVES, 0.05), {"shuffled": 0.05}, p_holm=0.05)
    assert at_the_level.verdict() == "above every negative control"


def test_a_best_layer_below_a_control_is_not_above_it_however_sure_that_is(tmp_path: Path) -> None:
    made = [cell(tmp_path, layers=(i, 4), rates={"identity": 0.98}) for i in range(2)]
    _, (best,) = best_layers(made)
    assert best.p["identity"] < 0.001
    assert best.verdict() == "not above identity"


def test_best_layers_are_corrected_for_the_number_of_curves(tmp_path: Path) -> None:
    made = [
        cell(tmp_path, layers=(i, 4), n=n, rates={"fitted": 0.34, "shuffled_within": 0.2})
        for i in range(2)
        for n in range(50, 70)
    ]
    _, bests = best_layers(made)
    assert [b.cell.axes["n_fit"] for b in bests] == list(range(50, 70))
    p = [max(b.p.values()) for b in bests]
    assert [b.p_holm for b in bests] == holm(p).tolist()
    assert max(p) < 0.05 < min(b.p_holm for b in bests)
    assert {b.verdict() for b in bests} == {"not above shuffled_within"}


def test_so_many_flips_are_drawn_that_the_best_layers_of_any_number_of_curves_can_be_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.results.best.N_FLIPS", 19)
    _, bests = best_layers([cell(tmp_path, layers=(1, 4), n=n) for n in (50, 51, 52)])
    assert [best.p["mean"] for best in bests] == pytest.approx([1 / (1 + 3 * 50)] * 3)
    assert max(best.p_holm for best in bests) <= 0.05
    # Of one layer nothing was searched, so the cell's own verdict stands.
    assert [best.verdict() for best in bests] == [str(best.cell.finding()) for best in bests]


def test_a_best_layer_without_a_control_stays_open_unless_that_means_nothing_here(tmp_path: Path) -> None:
    some = tuple(c for c in CONTROLS if c != "identity")
    made = [
        cell(tmp_path, layers=(1, 4), rates={"fitted": 0.5}),
        cell(tmp_path, layers=(2, 4), controls=some),
    ]
    _, (best,) = best_layers(made)
    assert best.verdict() == "open: no score yet for identity"
    # a layer that lacks a control that the best layer has takes no part in that control's search
    made = [
        cell(tmp_path, layers=(3, 4)),
        cell(tmp_path, layers=(2, 4), controls=some, rates={"fitted": 0.5}),
    ]
    _, (best,) = best_layers(made)
    assert best.verdict() == "above every negative control"
    assert sorted(best.p) == sorted(NEGATIVES)
    absent = {"shuffled_within": NO_RELATIONS}
    _, (best,) = best_layers([cell(tmp_path / "absent", layers=(i, 4), absent=absent) for i in range(2)])
    assert best.verdict() == "above every negative control"
    assert sorted(best.p) == sorted(set(NEGATIVES) - {"shuffled_within"})


def test_layers_that_saw_other_weights_or_items_are_not_compared(tmp_path: Path) -> None:
    made = [cell(tmp_path, layers=(i, 4)) for i in range(2)]
    made[1].data["inputs"]["items"] = "others"
    _, (best,) = best_layers(made)
    assert best.verdict() == "open: its cells were computed on different weights or items; run them again"
    assert best.p == {}


def test_curves_without_a_valid_fitted_score_have_no_best_layer(tmp_path: Path) -> None:
    made = [
        cell(tmp_path, failed_gate="alive"),
        cell(tmp_path, injection={"name": "late_layer"}, controls=("random", "mean")),
        cell(tmp_path, injection={"name": "soft_prefix"}, controls=("fitted",)),
    ]
    assert best_layers(made)[1] == []
