"""Exact intervals of rare successes, and of differences where few units differ."""

import numpy as np
import pytest
import scipy.stats
import torch
from noise import seeded

from bridge.statistics.shares import (
    difference_interval,
    effective_number,
    exact_number,
    is_rare,
    is_scarce,
    is_seldom,
    rare_difference_interval,
    rare_difference_p,
    share_interval,
)
from bridge.statistics.units import effective_units


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
    low, high = difference_interval(torch.zeros(40), torch.arange(40) // 2)
    assert (low, high) == pytest.approx((-share_interval(0.0, 20.0)[1], share_interval(0.0, 20.0)[1]))
    assert low < -0.1 < 0.1 < high


def test_an_interval_of_rare_differences_turns_with_their_sign_and_covers_the_truth():
    draws = torch.rand(600, 60, generator=seeded())
    values = (draws < 0.06).double() - (draws > 0.98).double()
    covered = 0
    for row in values:
        low, high = difference_interval(row, torch.arange(60))
        covered += low <= 0.04 <= high
        assert (-high, -low) == pytest.approx(difference_interval(-row, torch.arange(60)))
    assert covered / 600 >= 0.95


def test_items_of_a_unit_that_are_all_alike_count_once_and_independent_ones_each():
    groups = torch.arange(4000) // 4
    alike = (torch.rand(1000, generator=seeded()) < 0.1).double().repeat_interleave(4)
    independent = (torch.rand(4000, generator=seeded()) < 0.1).double()
    assert effective_number(alike, groups) == pytest.approx(1000, rel=0.01)
    assert effective_number(independent, groups) == pytest.approx(4000, rel=0.1)
    assert effective_number(1.0 - alike, groups) == pytest.approx(effective_number(alike, groups))


def test_where_nothing_varies_the_items_of_a_unit_count_as_alike_and_no_number_exceeds_that_of_the_items():
    groups = torch.tensor([0, 0, 0, 1])
    for same in (0.0, 1.0):
        assert effective_number(torch.full((4,), same), groups) == effective_units(groups) == 1.6
    pairs = torch.arange(20) // 2
    opposite = torch.tensor([1.0, 0.0]).repeat(10)
    opposite[0] = 0.0
    assert effective_number(opposite, pairs) == 20.0
    assert effective_number(opposite, torch.arange(20)) == pytest.approx(20.0)


def test_both_sides_of_a_difference_are_not_at_their_bounds_at_once():
    values = torch.zeros(80)
    values[:4], values[4:6] = 1.0, -1.0
    gained, lost = share_interval(4 / 80, 80), share_interval(2 / 80, 80)
    low, high = difference_interval(values, torch.arange(80))
    assert gained[0] - lost[1] < low < 2 / 80 < high < gained[1] - lost[0]
    assert (high - 0.025) ** 2 == pytest.approx((gained[1] - 0.05) ** 2 + (0.025 - lost[0]) ** 2)


def test_one_more_success_never_lowers_a_bound():
    groups = torch.arange(40).repeat_interleave(torch.arange(40) % 7 + 1)
    values, bounds = torch.zeros(len(groups)), []
    for i in range(9):
        bounds.append(share_interval(float(values.mean()), exact_number(values, groups)))
        values[groups.tolist().index(4 * i)] = 1.0
    assert bounds == sorted(bounds)
    assert [high for _, high in bounds] == sorted(high for _, high in bounds)


def test_an_interval_of_a_rare_share_of_dependent_items_covers_it():
    """40 units of 10 items, a share of 2 %, a correlation of 0.5 within units."""
    groups, covered = torch.arange(40).repeat_interleave(10), 0
    rates = np.random.default_rng(0).beta(0.02, 0.98, size=(600, 40))
    draws = np.random.default_rng(1).random((600, 40, 10)) < rates[:, :, None]
    for row in torch.from_numpy(draws).reshape(600, 400).double():
        assert is_rare(row, groups)
        low, high = share_interval(float(row.mean()), exact_number(row, groups))
        covered += low <= 0.02 <= high
    assert covered / 600 >= 0.95


def test_the_number_for_an_exact_interval_loses_what_students_quantile_does():
    groups, values = torch.arange(40) // 4, torch.zeros(40)
    values[:8] = 1.0
    for level in (0.8, 0.95):
        of_items, of_units = (scipy.stats.t.ppf((1 + level) / 2, n - 1) for n in (40, 10))
        assert exact_number(values, groups, level) == pytest.approx(10 * (of_items / of_units) ** 2)


def test_the_number_for_an_exact_interval_is_at_most_that_of_units_of_equal_size():
    groups, values = torch.tensor([0] * 8 + [*range(1, 13)]), torch.zeros(20)
    assert exact_number(values, groups) == pytest.approx(400 / 76)
    values[-1] = 1.0
    assert effective_number(values, groups) > 13
    assert exact_number(values, groups) == pytest.approx(400 / 76)


def test_a_difference_has_the_level_that_is_asked_for_on_both_sides():
    values, groups = torch.zeros(40), torch.arange(40)
    upper = share_interval(0.0, 40.0, 0.8)[1]
    assert difference_interval(values, groups, 0.8) == pytest.approx((-upper, upper))
    assert upper < share_interval(0.0, 40.0)[1]


def test_differences_are_seldom_where_few_units_have_any_of_either_sign():
    groups, values = torch.arange(60) // 3, torch.ones(60)
    assert not is_seldom(values, groups)
    values[27:] = 0.0
    assert is_seldom(values, groups)
    assert is_seldom(-values, groups)
    values[27] = -1.0
    assert not is_seldom(values, groups)


def test_few_units_that_all_have_something_are_no_rare_event():
    groups = torch.arange(40) // 5
    values = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0]).repeat(8)
    assert not is_rare(values, groups)
    values[:5] = 0.0
    assert is_rare(values, groups)


@pytest.mark.parametrize(("share", "n_units", "n_each"), [(0.05, 40, 1), (0.95, 40, 1), (0.05, 40, 10)])
def test_a_rare_share_beside_averaged_draws_keeps_its_level(share, n_units, n_each):
    """Flips of the differences reject 14 % at 5 % here, and their bootstrap covers 85 %."""
    spread, groups = np.random.default_rng(0), torch.arange(n_units).repeat_interleave(n_each)
    n = n_units * n_each
    rejected = covered = 0
    for _ in range(300):
        chances = spread.beta(share, 1.0 - share, n_units).repeat(n_each) if n_each > 1 else share
        rare = torch.from_numpy(spread.random(n) < chances).double()
        averaged = torch.from_numpy(spread.random((20, n)) < share).double().mean(0)
        low, high = rare_difference_interval(rare, averaged, groups)
        covered += low <= 0.0 <= high
        p = rare_difference_p(rare, averaged, groups)
        rejected += p <= 0.05
        assert (p <= 0.05) == (not low <= 0.0 <= high)
    assert covered >= 0.95 * 300
    assert rejected <= 0.05 * 300


def test_a_rare_share_that_is_far_above_averaged_draws_is_seen():
    rare, averaged = torch.zeros(300), torch.full((300,), 0.001)
    rare[:9] = 1.0
    low, high = rare_difference_interval(rare, averaged, torch.arange(300))
    assert 0.0 < low < 0.029 < high
    assert 1e-12 < rare_difference_p(rare, averaged, torch.arange(300)) < 1e-4
    assert rare_difference_p(torch.zeros(300), averaged, torch.arange(300)) == 1.0


def test_draws_that_are_never_right_do_not_make_one_success_significant():
    rare = torch.zeros(60)
    rare[:2] = 1.0
    low, high = rare_difference_interval(rare, torch.zeros(60), torch.arange(60))
    assert low < 0.0 < 2 / 60 < high
    assert rare_difference_p(rare, torch.zeros(60), torch.arange(60)) > 0.1


def test_among_few_units_a_share_is_scarce_only_where_three_in_four_have_none():
    groups = torch.arange(40) // 4
    for n_with, scarce, seldom in ((2, True, True), (3, False, True), (5, False, False)):
        values = (groups < n_with).double()
        assert (is_scarce(values, groups), is_seldom(values, groups)) == (scarce, seldom)
        assert is_scarce(1.0 - values, groups) == scarce
