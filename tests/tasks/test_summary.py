"""Means, intervals and contrasts, by truths that are built in."""

import pytest
import torch
from torch import Tensor

from bridge.tasks.summary import Branch, contrast, summarize


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def branch(top1: Tensor, **more: Tensor) -> Branch:
    return Branch({name: values.double() for name, values in {"top1": top1, **more}.items()})


def coins(rate: float, n_draws: int, m: int, seed: int) -> Tensor:
    return (torch.rand(n_draws, m, generator=generator(seed)) < rate).double()


def everyone(m: int) -> Tensor:
    return torch.ones(m, dtype=torch.bool)


def test_one_draw_gives_the_mean_and_an_interval_over_items() -> None:
    scores = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    found = summarize(branch(scores), everyone(4), branch(torch.ones(1, 4)), 500, generator())["top1"]
    assert found.keys() == {"mean", "low", "high"}
    assert found["mean"] == 0.75
    assert 0.0 <= found["low"] < 0.75 < found["high"] == 1.0


def test_the_interval_over_items_holds_the_truth_about_95_times_in_100() -> None:
    rate, held = 0.4, 0
    for seed in range(200):
        values = coins(rate, 1, 100, seed)
        found = summarize(branch(values), everyone(100), branch(values), 200, generator(seed))["top1"]
        held += found["low"] <= rate <= found["high"]
    assert 180 <= held <= 199


def test_many_draws_give_the_spread_of_the_draws() -> None:
    by_draw = torch.arange(0, 21).double() / 20  # draw means 0.00, 0.05, ..., 1.00
    scores = by_draw[:, None].expand(21, 8).clone()
    found = summarize(branch(scores), everyone(8), branch(torch.ones(1, 8)), 100, generator())
    assert found["top1"] == pytest.approx(
        {"mean": 0.5, "low": 0.025, "high": 0.975, "n_draws": 21, "min": 0.0, "max": 1.0}
    )
    assert found["fraction_of_native"] == pytest.approx(found["top1"])


def test_the_fraction_of_native_is_a_ratio_over_the_same_items() -> None:
    native = coins(0.8, 1, 400, 1)
    half = native * coins(0.5, 1, 400, 2)
    found = summarize(branch(half), everyone(400), branch(native), 1000, generator())["fraction_of_native"]
    assert found["mean"] == pytest.approx(float(half.sum() / native.sum()))
    assert found["low"] < found["mean"] < found["high"]
    itself = summarize(branch(native), everyone(400), branch(native), 200, generator())["fraction_of_native"]
    assert itself == {"mean": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.parametrize("n_draws", [1, 5])
def test_a_native_score_of_zero_gives_no_fraction_and_no_nan(n_draws: int) -> None:
    found = summarize(branch(coins(0.5, n_draws, 10, 0)), everyone(10), branch(torch.zeros(1, 10)), 50, generator())
    assert "fraction_of_native" not in found
    assert all(value == value for value in found["top1"].values())


@pytest.mark.parametrize("n_draws", [1, 5])
def test_a_subset_of_one_item_is_that_item(n_draws: int) -> None:
    scores, mask = torch.zeros(n_draws, 6), torch.zeros(6, dtype=torch.bool)
    scores[:, 4], mask[4] = 1.0, True
    found = summarize(branch(scores), mask, branch(torch.ones(1, 6)), 50, generator())
    for name in ("top1", "fraction_of_native"):
        assert (found[name]["mean"], found[name]["low"], found[name]["high"]) == (1.0, 1.0, 1.0)


def test_only_items_in_the_mask_count() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    mask = torch.tensor([True, True, False, False])
    found = summarize(branch(scores), mask, branch(torch.tensor([[1.0, 0.0, 1.0, 1.0]])), 50, generator())
    assert found["top1"]["mean"] == 1.0
    assert found["fraction_of_native"]["mean"] == 2.0


def test_a_planted_difference_is_found_with_its_size() -> None:
    control = coins(0.3, 1, 600, 3)
    fitted = torch.maximum(control, coins(0.3, 1, 600, 4))
    found = contrast(branch(fitted), branch(control), 1000, generator())["top1"]
    assert found["difference"] == pytest.approx(float((fitted - control).mean()))
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["p"] == pytest.approx(1 / 1001)
    assert "p_draws" not in found


def test_no_difference_gives_p_of_one_and_chance_gives_a_high_p() -> None:
    same = coins(0.5, 1, 50, 5)
    found = contrast(branch(same), branch(same), 200, generator())["top1"]
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0.0, 0.0, 0.0, 1.0)
    p = [
        contrast(branch(coins(0.5, 1, 80, s)), branch(coins(0.5, 1, 80, s + 999)), 100, generator(s))["top1"]["p"]
        for s in range(100)
    ]
    assert sum(value < 0.05 for value in p) <= 12


@pytest.mark.parametrize("n_draws", [2, 20])
def test_the_rank_among_draws_cannot_fall_below_one_over_the_number_of_draws_plus_one(n_draws: int) -> None:
    found = contrast(branch(torch.ones(1, 500)), branch(torch.zeros(n_draws, 500)), 1000, generator())["top1"]
    assert found["p_draws"] == pytest.approx(1 / (1 + n_draws))
    assert found["p"] == pytest.approx(1 / 1001)


def test_one_lucky_draw_in_ten_shows_in_the_rank_though_the_mean_is_beaten() -> None:
    draws = torch.zeros(10, 200)
    draws[3] = 1.0
    found = contrast(branch(torch.ones(1, 200)), branch(draws), 1000, generator())["top1"]
    assert found["difference"] == pytest.approx(0.9)
    assert found["p"] < 0.01
    assert found["p_draws"] == pytest.approx(2 / 11)


def test_a_smaller_divergence_is_better() -> None:
    fitted = branch(torch.ones(1, 30), kl_nats=torch.full((1, 30), 0.1))
    control = branch(torch.zeros(20, 30), kl_nats=torch.full((20, 30), 5.0))
    found = contrast(fitted, control, 100, generator())
    assert found["kl_nats"]["difference"] == pytest.approx(-4.9)
    assert found["kl_nats"]["p_draws"] == found["top1"]["p_draws"] == pytest.approx(1 / 21)


def test_metrics_that_only_one_side_has_are_left_out() -> None:
    fitted = branch(torch.ones(1, 5), kl_nats=torch.ones(1, 5))
    assert contrast(fitted, branch(torch.zeros(1, 5)), 20, generator()).keys() == {"top1"}


def test_the_same_generator_gives_the_same_numbers() -> None:
    scores, native = branch(coins(0.5, 1, 40, 6)), branch(coins(0.9, 1, 40, 7))
    assert summarize(scores, everyone(40), native, 50, generator()) == summarize(
        scores, everyone(40), native, 50, generator()
    )
    assert contrast(scores, native, 50, generator()) == contrast(scores, native, 50, generator())
