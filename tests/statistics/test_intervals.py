"""Intervals of means over items that come in units."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from noise import clustered, gaussian, seeded

from bridge.errors import FitError
from bridge.statistics.intervals import (
    acceleration,
    bootstrap_interval,
    expanded_interval,
    resampled_means,
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


def test_the_acceleration_is_that_of_scipy_for_single_items():
    values = gaussian(30, 1).exp()
    influences = (values - values.mean(0))[:, 0]
    expected = influences.pow(3).sum() / (6 * influences.square().sum() ** 1.5)
    assert acceleration(values).item() == pytest.approx(expected.item())
    assert acceleration(-values).item() == pytest.approx(-expected.item())
    assert acceleration(torch.full((9, 1), 0.3)).item() == 0.0


def test_the_acceleration_of_a_ratio_is_that_of_its_units():
    values, over, groups = torch.tensor([[1.0], [2], [3], [9]]), torch.tensor([[1.0], [2], [1], [1]]), [0, 0, 1, 2]
    sums, parts = np.array([3.0, 3.0, 9.0]), np.array([3.0, 1.0, 1.0])
    influences = sums - sums.sum() / parts.sum() * parts
    expected = (influences**3).sum() / (6 * (influences**2).sum() ** 1.5)
    assert acceleration(values, torch.tensor(groups), over).item() == pytest.approx(expected)


def test_skewed_units_move_both_ends_of_an_interval_to_their_side_and_mend_its_coverage():
    values = torch.zeros(40, 1)
    values[0] = 9.0
    means = resampled_means(values + gaussian(40, 1), 2000, seeded())
    skew = acceleration(values + gaussian(40, 1))
    plain, moved = (torch.cat(expanded_interval(means, 40.0, skew=a)) for a in (None, skew))
    assert (moved > plain + 0.01).all()
    covered = {"plain": 0, "moved": 0}
    for seed in range(800):
        sample = gaussian(20, 1, seed=seed).mul(1.2).exp()
        means = resampled_means(sample, 400, seeded(seed))
        for name, a in (("plain", None), ("moved", acceleration(sample))):
            low, high = expanded_interval(means, 20.0, skew=a)
            covered[name] += bool(low <= math.exp(0.72) <= high)
    assert covered["moved"] > covered["plain"] + 8


def test_an_interval_of_skewed_scores_is_moved_by_their_units():
    values, groups = clustered(25, 3, 1, seed=0)
    values = values.exp()
    interval = torch.cat(bootstrap_interval(values, 400, seeded(), groups=groups))
    means = resampled_means(values, 400, seeded(), groups)
    assert torch.equal(interval, torch.cat(expanded_interval(means, 25.0, skew=acceleration(values, groups))))
    assert not torch.equal(interval, torch.cat(expanded_interval(means, 25.0)))


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
