"""Means, intervals and contrasts over units, by truths that are built in."""

from typing import Any

import pytest
import torch
from declared import KINDS, METRICS
from torch import Tensor

from bridge.results.scores import Branch, Part, contrast, summarize
from bridge.statistics.intervals import acceleration, expanded_interval
from bridge.statistics.resampling import Resampling
from bridge.statistics.shares import (
    exact_number,
    rare_difference_interval,
    rare_difference_p,
    share_interval,
)


def branch(top1: Tensor, **more: Tensor) -> Branch:
    return Branch({name: values.double() for name, values in {"top1": top1, **more}.items()})


def coins(rate: float, n_draws: int, m: int, seed: int) -> Tensor:
    return (torch.rand(n_draws, m, generator=torch.Generator().manual_seed(seed)) < rate).double()


def part(units: Tensor | int, *, token: Tensor | None = None, whole: Tensor | None = None, **changes: Any) -> Part:
    """All items, each a unit of its own where only their number is given."""
    units = torch.arange(units) if isinstance(units, int) else units
    every = torch.ones(len(units), dtype=torch.bool)
    token, whole = (every if mask is None else mask for mask in (token, whole))
    masks = {("items", "token"): token, ("items", "whole"): whole}
    return Part({"items": units}, masks, **{"n_resamples": 500, "seed": 0, **changes})


def scored(scores: Branch, native: Branch, some: Part) -> dict[str, Any]:
    return summarize(scores, native, some, METRICS)


def compared(fitted: Branch, control: Branch, some: Part, ranked: bool = False) -> dict[str, dict[str, Any]]:
    return contrast(fitted, control, some, METRICS, KINDS["random" if ranked else "native_target"])


def width(score: dict[str, float]) -> float:
    return score["high"] - score["low"]


def test_one_draw_gives_the_mean_and_an_interval() -> None:
    scores = coins(0.6, 1, 60, 0)
    score = scored(branch(scores), branch(torch.ones(1, 60)), part(60))["top1"]
    assert score.keys() == {"mean", "low", "high"}
    assert score["mean"] == pytest.approx(float(scores.mean()))
    assert 0.0 < score["low"] < score["mean"] < score["high"] < 1.0


def test_items_that_go_together_give_wider_intervals_and_larger_p_by_unit() -> None:
    units = torch.arange(30).repeat_interleave(4)
    fitted, control = (coins(rate, 1, 30, seed)[:, units] for rate, seed in ((0.55, 1), (0.35, 2)))
    score = [scored(branch(fitted), branch(fitted), p)["top1"] for p in (part(units), part(120))]
    lead = [compared(branch(fitted), branch(control), p)["top1"] for p in (part(units), part(120))]
    for by_unit, by_item in (score, lead):
        assert by_unit.get("mean") == by_item.get("mean")
        assert 1.7 < width(by_unit) / width(by_item) < 2.5
    assert lead[1]["p"] < 0.01 < 0.05 < lead[0]["p"]


@pytest.mark.parametrize("rate", [0.4, 0.03])
def test_the_interval_holds_the_truth_about_95_times_in_100_where_items_come_in_units(rate: float) -> None:
    units, held = torch.arange(40).repeat_interleave(3), 0
    for seed in range(200):
        values = coins(rate, 1, 40, seed)[:, units]
        score = scored(branch(values), branch(values), part(units, n_resamples=300, seed=seed))["top1"]
        held += score["low"] <= rate <= score["high"]
    assert held >= 180


def test_none_of_58_is_not_shown_as_certain() -> None:
    nothing, native = branch(torch.zeros(1, 58)), branch(torch.ones(1, 58))
    score = scored(nothing, native, part(58))
    assert score["top1"] == pytest.approx({"mean": 0.0, "low": 0.0, "high": 0.0616}, abs=1e-4)
    assert score["fraction_of_native"] == pytest.approx(score["top1"])
    by_unit = scored(nothing, native, part(torch.arange(58) // 4))["top1"]
    assert by_unit["high"] > 0.2
    all_of_them = scored(native, native, part(58))["top1"]
    assert all_of_them == pytest.approx({"mean": 1.0, "low": 1.0 - 0.0616, "high": 1.0}, abs=1e-4)


def test_what_is_resampled_is_the_mean_over_items() -> None:
    units = torch.arange(40).repeat_interleave(torch.tensor([1, 9]).repeat(20))
    scores = (units % 2 == 0).double()[None]
    score = scored(branch(scores), branch(torch.ones(1, 200)), part(units))["top1"]
    assert score["mean"] == 0.1
    assert 0.0 < score["low"] < 0.1 < score["high"] < 0.25


def test_rare_successes_get_the_exact_interval_of_the_effective_number_of_units_and_so_does_their_share() -> None:
    units = torch.arange(30).repeat_interleave(torch.tensor([1, 2, 3]).repeat(10))
    scores, native = torch.zeros(1, 60), coins(0.8, 1, 60, 3)
    scores[0, units == 2] = 1.0
    summary = scored(branch(scores), branch(native), part(units))
    exact = share_interval(3 / 60, exact_number(scores[0], units))
    assert (summary["top1"]["low"], summary["top1"]["high"]) == pytest.approx(exact)
    own = float(native.mean())
    share = summary["fraction_of_native"]
    assert (share["low"], share["high"]) == pytest.approx((exact[0] / own, exact[1] / own))


def test_whole_answers_that_are_never_right_have_an_interval_with_width() -> None:
    zeros = torch.zeros(1, 40)
    summary = scored(branch(zeros, token_f1=zeros), branch(zeros, token_f1=zeros), part(40))
    assert summary["token_f1"]["low"] == 0.0
    assert summary["token_f1"]["high"] == pytest.approx(share_interval(0.0, 40)[1])


def test_the_target_has_all_of_its_own_score_however_rarely_it_is_right() -> None:
    native = torch.zeros(1, 40)
    native[0, :3] = 1.0
    share = scored(branch(native), branch(native), part(40))["fraction_of_native"]
    assert (share["low"], share["high"]) == (1.0, 1.0)


def test_a_fraction_of_native_is_resampled_where_failures_alone_are_rare() -> None:
    native, fitted = torch.ones(1, 60), torch.ones(1, 60)
    native[0, :2], fitted[0, :4] = 0.0, 0.0
    share = scored(branch(fitted), branch(native), part(60))["fraction_of_native"]
    assert 0.85 < share["low"] < share["mean"] < share["high"] <= 1.0


def test_scores_that_are_no_shares_keep_their_bootstrap_however_rare_a_difference_is() -> None:
    mrr = torch.zeros(1, 40)
    mrr[0, 3] = 0.5
    summary = scored(branch(torch.zeros(1, 40), mrr=mrr), branch(torch.ones(1, 40)), part(40))
    assert summary["mrr"]["low"] == 0.0 < summary["mrr"]["mean"] < summary["mrr"]["high"] < 0.07


def test_many_draws_give_the_lowest_and_the_highest_of_them() -> None:
    by_draw = torch.arange(0, 21).double() / 20  # draw means 0.00, 0.05, ..., 1.00
    scores = by_draw[:, None].expand(21, 8).clone()
    summary = scored(branch(scores), branch(torch.full((1, 8), 1.0)), part(8))
    assert summary["top1"].pop("draws") == pytest.approx(by_draw.tolist())
    assert summary["top1"] == pytest.approx({"mean": 0.5, "low": 0.0, "high": 1.0, "n_draws": 21})
    half = scored(branch(scores), branch(torch.tensor([[1.0, 0.0] * 4])), part(8))["fraction_of_native"]
    assert half.pop("draws") == pytest.approx((2 * by_draw).tolist())
    assert half == pytest.approx({"mean": 1.0, "low": 0.0, "high": 2.0, "n_draws": 21})


def test_the_fraction_of_native_is_a_ratio_over_the_same_items() -> None:
    native = coins(0.8, 1, 400, 1)
    half = native * coins(0.5, 1, 400, 2)
    share = scored(branch(half), branch(native), part(400))["fraction_of_native"]
    assert share["mean"] == pytest.approx(float(half.sum() / native.sum()))
    assert share["low"] < share["mean"] < share["high"]
    itself = scored(branch(native), branch(native), part(400))["fraction_of_native"]
    assert itself == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_the_interval_of_a_share_of_native_is_moved_by_the_skewness_of_that_share() -> None:
    units = torch.arange(50).repeat_interleave(2)
    native = coins(0.5, 1, 100, 1)
    native[0, 80:] = 0.0
    half = torch.maximum(native * coins(0.5, 1, 100, 2), coins(0.1, 1, 100, 3))
    share = scored(branch(half), branch(native), part(units))["fraction_of_native"]
    resampling, values, over = Resampling(units, 500, 0), half.T, native.T
    ratios = resampling.means(values) / resampling.means(over)
    low, high = expanded_interval(ratios, 50.0, skew=acceleration(values, units, over))
    assert (share["low"], share["high"]) == pytest.approx((low.item(), high.item()))


@pytest.mark.parametrize("n_draws", [1, 5])
def test_a_native_score_of_zero_gives_no_fraction_and_no_nan(n_draws: int) -> None:
    summary = scored(branch(coins(0.5, n_draws, 10, 0)), branch(torch.zeros(1, 10)), part(10))
    assert "fraction_of_native" not in summary
    assert all(summary["top1"][key] == summary["top1"][key] for key in ("mean", "low", "high"))


@pytest.mark.parametrize("n_draws", [1, 3])
def test_a_share_of_native_is_over_the_targets_own_score_on_the_same_items(n_draws: int) -> None:
    item = torch.arange(40)
    known = item >= 24
    native = (known | (item % 4 == 0)).double()[None]
    half = (item % 2 == 0).double().expand(n_draws, -1)
    share = scored(branch(half), branch(native), part(40, token=known))["fraction_of_native"]
    assert share["mean"] == pytest.approx(0.5)


def test_a_resample_in_which_the_target_knew_nothing_gives_no_nan() -> None:
    native = torch.zeros(1, 12)
    native[0, 0] = 1.0
    share = scored(branch(native), branch(native), part(12))["fraction_of_native"]
    assert all(value == value for value in share.values())


def test_scores_of_tokens_go_by_the_token_and_those_of_whole_answers_by_the_whole_answer() -> None:
    token, whole = torch.arange(40) < 16, torch.arange(40) < 24
    masked = part(torch.arange(40) // 2, token=token, whole=whole)
    top1, f1 = (torch.arange(40) < 8).double()[None], (torch.arange(40) < 12).double()[None]
    native = branch(torch.ones(1, 40), token_f1=torch.ones(1, 40))
    summary = scored(branch(top1, token_f1=f1), native, masked)
    assert (summary["top1"]["mean"], summary["token_f1"]["mean"]) == (0.5, 0.5)
    assert (summary["fraction_of_native"]["mean"], summary["fraction_of_native_f1"]["mean"]) == (0.5, 0.5)
    zero = branch(torch.zeros(1, 40), token_f1=torch.zeros(1, 40))
    lead = compared(branch(top1, token_f1=f1), zero, masked, ranked=True)
    assert (lead["top1"]["difference"], lead["token_f1"]["difference"]) == (0.5, 0.5)
    assert masked.sizes(METRICS["top1"]) == {"n": 16, "n_units": 8}
    # 4 of 8 units against 6 of 12: all flips that are no worse
    assert lead["top1"]["p"] > lead["token_f1"]["p"]


def test_a_part_is_scored_where_both_masks_hold_two_units() -> None:
    one, two = torch.arange(6) < 2, torch.arange(6) < 4
    units = torch.arange(6) // 2
    assert part(units, token=two, whole=two).is_scored
    assert not part(units, token=one, whole=two).is_scored
    assert not part(units, token=two, whole=one).is_scored
    assert not part(units, token=torch.zeros(6, dtype=torch.bool)).is_scored
    assert part(units, token=torch.zeros(6, dtype=torch.bool)).sizes(METRICS["top1"]) == {"n": 0, "n_units": 0}


@pytest.mark.parametrize("n_draws", [1, 5])
def test_one_unit_has_a_mean_and_no_p(n_draws: int) -> None:
    alone = part(torch.zeros(6, dtype=torch.long))
    scores = branch(coins(0.5, n_draws, 6, 1))
    assert scored(scores, branch(torch.ones(1, 6)), alone)["top1"]["mean"] == pytest.approx(scores.mean("top1"))
    lead = compared(branch(torch.ones(1, 6)), scores, alone, ranked=True)["top1"]
    assert lead["p"] is None
    assert lead["p_draws"] == pytest.approx(1 / (1 + n_draws))


def test_below_six_units_no_p_is_given() -> None:
    fitted, control = branch(torch.ones(1, 60)), branch(torch.zeros(1, 60))
    p = [compared(fitted, control, part(torch.arange(60) % n))["top1"]["p"] for n in (5, 6)]
    assert p[0] is None
    assert p[1] == pytest.approx(2 / 64, abs=0.03)


def test_a_planted_difference_is_found_with_its_size() -> None:
    control = coins(0.3, 1, 600, 3)
    fitted = torch.maximum(control, coins(0.3, 1, 600, 4))
    lead = compared(branch(fitted), branch(control), part(600, n_resamples=1000))["top1"]
    assert lead["difference"] == pytest.approx(float((fitted - control).mean()))
    assert 0 < lead["low"] < lead["difference"] < lead["high"]
    assert lead["p"] == pytest.approx(1 / 1001)
    assert "p_draws" not in lead


def test_no_difference_gives_p_of_one_and_an_interval_with_width() -> None:
    same = coins(0.5, 1, 50, 5)
    lead = compared(branch(same, mrr=same), branch(same, mrr=same), part(torch.arange(50) // 2))
    assert (lead["top1"]["difference"], lead["top1"]["p"]) == (0.0, 1.0)
    upper = share_interval(0.0, 25.0)[1]
    assert (lead["top1"]["low"], lead["top1"]["high"]) == pytest.approx((-upper, upper))
    assert upper > 0.1
    assert (lead["mrr"]["low"], lead["mrr"]["high"]) == (0.0, 0.0)


@pytest.mark.parametrize("n_draws", [18, 19, 20])
def test_nineteen_draws_can_be_beaten_and_fewer_never(n_draws: int) -> None:
    lead = compared(branch(torch.ones(1, 500)), branch(torch.zeros(n_draws, 500)), part(500), ranked=True)["top1"]
    assert lead["p_draws"] == pytest.approx(1 / (1 + n_draws))
    assert (lead["p_draws"] <= 0.05) == (n_draws >= 19)
    assert lead["p"] < 0.01


def test_one_lucky_draw_in_ten_shows_in_the_rank_though_the_mean_is_beaten() -> None:
    draws = torch.zeros(10, 200)
    draws[3] = 1.0
    lead = compared(branch(torch.ones(1, 200)), branch(draws), part(200), ranked=True)["top1"]
    assert lead["difference"] == pytest.approx(0.9)
    assert lead["p"] < 0.01
    assert lead["p_draws"] == pytest.approx(2 / 11)


def test_draws_that_the_fitted_map_could_not_be_one_of_give_no_rank() -> None:
    assert "p_draws" not in compared(branch(torch.ones(1, 30)), branch(torch.zeros(5, 30)), part(30))["top1"]


def test_a_smaller_divergence_is_better() -> None:
    fitted = branch(torch.ones(1, 30), kl_nats=torch.full((1, 30), 0.1))
    control = branch(torch.zeros(20, 30), kl_nats=torch.full((20, 30), 5.0))
    lead = compared(fitted, control, part(30), ranked=True)
    assert lead["kl_nats"]["difference"] == pytest.approx(-4.9)
    assert lead["kl_nats"]["p_draws"] == lead["top1"]["p_draws"] == pytest.approx(1 / 21)


def test_metrics_that_only_one_side_has_are_left_out() -> None:
    fitted = branch(torch.ones(1, 5), kl_nats=torch.ones(1, 5))
    assert compared(fitted, branch(torch.zeros(1, 5)), part(5)).keys() == {"top1"}


def test_a_score_has_the_same_numbers_whatever_stands_beside_it() -> None:
    scores, native = coins(0.5, 1, 40, 6), coins(0.9, 1, 40, 7)
    more, units = {"mrr": coins(0.3, 1, 40, 8), "token_f1": coins(0.3, 1, 40, 9)}, torch.arange(40) // 2
    alone = scored(branch(scores), branch(native), part(units))
    beside = scored(branch(scores, **more), branch(native, **more), part(units))
    assert beside["top1"] == pytest.approx(alone["top1"], rel=1e-12)
    assert beside["fraction_of_native"] == pytest.approx(alone["fraction_of_native"], rel=1e-12)
    leads = [compared(branch(scores, **a), branch(native, **a), part(units))["top1"] for a in ({}, more)]
    assert leads[0] == pytest.approx(leads[1], rel=1e-12)
    other = scored(branch(scores), branch(native), part(units, seed=1))
    assert other["top1"]["mean"] == alone["top1"]["mean"]
    assert other["top1"] != alone["top1"]


def test_a_rare_score_beside_averaged_draws_has_an_exact_interval_and_its_p() -> None:
    """Averaged draws differ from it by a little everywhere, so differences are not few."""
    fitted, draws = torch.zeros(1, 80), coins(0.02, 20, 80, 5)
    row = compared(branch(fitted), branch(draws), part(80))["top1"]
    interval = rare_difference_interval(fitted[0], draws.mean(0), torch.arange(80))
    assert (row["low"], row["high"]) == pytest.approx(interval)
    assert row["low"] < 0.0 < row["high"]
    assert row["p"] == pytest.approx(rare_difference_p(fitted[0], draws.mean(0), torch.arange(80)))
    assert row["p"] > 0.05
