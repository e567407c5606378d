"""Intervals of means over items that come in units."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from noise import clustered, gaussian, seeded

from bridge.errors import FitError
from bridge.statistics import (
    bootstrap_interval,
    difference_interval,
    expanded_interval,
    is_rare,
    resampled_means,
    share_interval,
)


def test_resampled_means_agree_with_the_bootstrap_of_scipy():
    values = gaussian(60, 2).exp()
    means = resampled_means(values, 20_000, seeded())
    assert means.shape == (20_000, 2)
    for column in range(2):
        expected = scipy.stats.bootstrap(
            (values[:, column].numpy(),),
            np.mean,
            n_resamples=20_000,
            confidence_level=0.9,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        low, high = np.quantile(means[:, column], [0.05, 0.95])
        assert low == pytest.approx(expected.low, abs=0.03 * (expected.high - expected.low))
        assert high == pytest.approx(expected.high, abs=0.03 * (expected.high - expected.low))


@pytest.mark.parametrize("n", [4, 10, 75])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_normal_resamples_give_the_interval_of_student(n, level):
    # A bootstrap of n values of standard deviation 1 has this spread.
    spread = math.sqrt((n - 1) / n) / math.sqrt(n)
    grid = torch.linspace(0, 1, 1_000_001, dtype=torch.float64)[1:-1]
    resampled = (5.0 + spread * torch.special.ndtri(grid))[:, None]
    low, high = expanded_interval(resampled, n, level)
    reach = scipy.stats.t.ppf((1 + level) / 2, n - 1) / math.sqrt(n)
    assert (low.item(), high.item()) == pytest.approx((5.0 - reach, 5.0 + reach), rel=1e-3)


def test_one_effective_unit_gives_all_that_was_resampled():
    low, high = expanded_interval(torch.tensor([[3.0], [1.0], [2.0]]), 1.0)
    assert (low.item(), high.item()) == (1.0, 3.0)


@pytest.mark.parametrize(("n_units", "size"), [(8, 1), (40, 4)])
def test_an_interval_covers_the_true_mean_as_often_as_it_says_and_a_blind_one_does_not(n_units, size):
    covered, blind = 0, 0
    for seed in range(400):
        values, groups = clustered(n_units, size, 1, seed=seed)
        low, high = bootstrap_interval(values, 400, seeded(seed), groups=groups)
        covered += bool(low < 0.0) and bool(high > 0.0)
        # As if all items were units, and percentiles those of a normal interval.
        means = resampled_means(values, 400, seeded(seed)).sort(0).values
        blind += bool(means[10] < 0.0) and bool(means[389] > 0.0)
    # four standard deviations of 400 trials at 0.95
    assert 0.95 - 0.044 < covered / 400 < 0.95 + 0.044
    assert blind / 400 < 0.92


def test_all_columns_share_their_resamples():
    values = gaussian(30, 1)
    low, high = bootstrap_interval(torch.cat([values, 2 * values, values + 1], dim=1), 500, seeded())
    assert low[1].item() == pytest.approx(2 * low[0].item())
    assert high[2].item() == pytest.approx(high[0].item() + 1)


def test_a_constant_score_has_a_bootstrap_without_width():
    low, high = bootstrap_interval(torch.full((9, 1), 0.3), 100, seeded())
    assert low.item() == high.item() == pytest.approx(0.3, abs=1e-7)


def test_the_mean_of_units_of_unequal_size_is_still_the_mean_of_items():
    values, groups = torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.tensor([7, 7, 7, -2])
    means = resampled_means(values, 2000, seeded(), groups=groups)
    # the draws are (7, 7), (7, -2) and (-2, -2), the second twice as often
    shares = [(means == mean).double().mean().item() for mean in (0.0, 0.25, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_copies_of_an_item_in_one_unit_do_not_narrow_the_interval():
    values = gaussian(20, 1)
    copies, groups = values.repeat_interleave(25, dim=0), torch.arange(20).repeat_interleave(25)
    low, high = bootstrap_interval(values, 4000, seeded())
    grouped_low, grouped_high = bootstrap_interval(copies, 4000, seeded(), groups=groups)
    blind_low, blind_high = bootstrap_interval(copies, 4000, seeded())
    torch.testing.assert_close(torch.cat([grouped_low, grouped_high]), torch.cat([low, high]))
    assert (blind_high - blind_low).item() < 0.3 * (high - low).item()


@pytest.mark.parametrize(("k", "n"), [(0, 58), (1, 20), (7, 20), (20, 20)])
def test_an_exact_interval_ends_where_the_binomial_tail_is_half_of_what_may_be_outside(k, n):
    low, high = share_interval(k / n, n, level=0.9)
    assert (low == 0.0) == (k == 0)
    assert (high == 1.0) == (k == n)
    if k > 0:
        assert scipy.stats.binom.sf(k - 1, n, low) == pytest.approx(0.05)
    if k < n:
        assert scipy.stats.binom.cdf(k, n, high) == pytest.approx(0.05)


def test_none_of_58_may_be_six_in_a_hundred_and_more_where_items_come_in_units():
    assert share_interval(0.0, 58) == pytest.approx((0.0, 0.0616), abs=1e-4)
    assert share_interval(0.0, 14.5)[1] == pytest.approx(1.0 - 0.025 ** (1 / 14.5))


def test_an_exact_interval_covers_every_share_at_least_as_often_as_it_says():
    n = 30
    bounds = [share_interval(k / n, n) for k in range(n + 1)]
    for share in np.linspace(0.001, 0.999, 333):
        inside = [low <= share <= high for low, high in bounds]
        assert scipy.stats.binom.pmf(np.arange(n + 1)[inside], n, share).sum() >= 0.95


def test_successes_or_failures_in_fewer_than_ten_units_are_rare():
    groups = torch.arange(120) // 4
    values = torch.zeros(120)
    values[: 4 * 9] = 1.0
    assert is_rare(values, groups)
    assert is_rare(1.0 - values, groups)
    assert not is_rare(values, None)
    values[4 * 9] = 1.0
    assert not is_rare(values, groups)
    assert not is_rare(1.0 - values, groups)


def test_differences_that_are_all_zero_have_width_on_both_sides():
    low, high = difference_interval(torch.zeros(40), 20.0)
    assert (low, high) == pytest.approx((-share_interval(0.0, 20.0)[1], share_interval(0.0, 20.0)[1]))
    assert low < -0.1 < 0.1 < high


def test_an_interval_of_rare_differences_turns_with_their_sign_and_covers_the_truth():
    draws = torch.rand(600, 60, generator=seeded())
    values = (draws < 0.06).double() - (draws > 0.98).double()
    covered = 0
    for row in values:
        low, high = difference_interval(row, 60)
        covered += low <= 0.04 <= high
        assert (-high, -low) == pytest.approx(difference_interval(-row, 60))
    assert covered / 600 >= 0.95


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: bootstrap_interval(torch.zeros(0, 2), 10, seeded()),
            r"scores have shape \(0, 2\); wanted \(n, c\)",
        ),
        (
            lambda: bootstrap_interval(torch.tensor([[1.0], [float("nan")]]), 10, seeded()),
            "1 of 2 items have NaN or infinite scores; wanted finite ones: leave those items out",
        ),
        (
            lambda: bootstrap_interval(torch.zeros(3, 2), 0, seeded()),
            "number of resamples is 0; wanted at least 1",
        ),
        (
            lambda: bootstrap_interval(torch.zeros(3, 2), 9, seeded(), level=95),
            "level of the interval is 95; wanted",
        ),
    ],
)
def test_scores_that_have_no_interval_are_refused_in_one_line(call, text):
    with pytest.raises(FitError, match=text) as refused:
        call()
    assert "\n" not in str(refused.value)
