"""Sign-flip tests of differences that come in units: random, exact, and corrected for a search."""

import itertools

import pytest
import scipy.stats
import torch
from noise import clustered, gaussian, over_all_flips, seeded

import bridge.statistics.flips
from bridge.errors import FitError
from bridge.statistics.flips import exact_sign_flip_p, max_statistic_p, paired_permutation_p
from bridge.statistics.intervals import bootstrap_interval
from bridge.statistics.levels import SMALLEST_P
from bridge.statistics.skewness import skewness_p, transformed


def test_a_permutation_p_agrees_with_all_flips_counted_one_by_one():
    differences = torch.tensor([[0.3, 1.0], [-0.1, 0.0], [0.4, 1.0], [0.2, 0.0], [0.5, -1.0], [0.1, 1.0]]).double()
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64)
    reached = (signs @ differences).abs() >= differences.sum(0).abs() - 1e-12
    p = paired_permutation_p(differences, 40_000, seeded())
    torch.testing.assert_close(p, reached.double().mean(0), rtol=0.0, atol=0.01)


def test_a_permutation_p_is_uniform_when_there_is_no_difference():
    p = paired_permutation_p(gaussian(25, 300), 9999, seeded())
    assert scipy.stats.kstest(p.numpy(), "uniform").pvalue > 0.01


def test_a_permutation_p_is_never_zero_and_is_one_without_any_difference():
    p = paired_permutation_p(torch.tensor([[1.0, 0.0]]).repeat(50, 1), 99, seeded())
    assert p.tolist() == [0.01, 1.0]


def test_ties_between_scores_of_zero_and_one_are_hits_whatever_the_rounding():
    differences = torch.tensor([[0.1], [0.1], [0.1], [-0.1]]).repeat(1, 3).double() * torch.tensor([1.0, 3.0, 1 / 3])
    # of the 16 flips, those with one or fewer rows against the rest reach |0.2|: 1 + 4 + 4 + 1
    p = paired_permutation_p(differences, 20_000, seeded())
    torch.testing.assert_close(p, torch.full((3,), 10 / 16, dtype=torch.float64), rtol=0.0, atol=0.015)
    assert p[0] == p[1] == p[2]


def test_groups_are_flipped_whole():
    differences = torch.ones(40, 1)
    assert paired_permutation_p(differences, 999, seeded()).item() == 0.001
    two_groups = paired_permutation_p(differences, 999, seeded(), groups=torch.arange(40) // 20).item()
    assert two_groups == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("test", [bootstrap_interval, paired_permutation_p])
def test_the_same_seed_gives_the_same_numbers_and_memory_is_bounded_by_chunks(test, monkeypatch):
    values = gaussian(30, 3)
    first, again, other = (torch.stack([*test(values, 1000, seeded(seed))]) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    drawn = []
    randint = torch.randint
    monkeypatch.setattr(bridge.statistics.flips, "CHUNK_WEIGHTS", 30 * 7)
    monkeypatch.setattr(torch, "randint", lambda high, size, **kw: drawn.append(size) or randint(high, size, **kw))
    test(values, 1000, seeded())
    assert set(drawn) == {(7, 30), (1000 % 7, 30)}
    assert sum(size[0] for size in drawn) == 1000


@pytest.mark.parametrize("n_draws", [1, 20])
def test_the_exact_p_is_that_of_all_flips_of_shares_of_draws(n_draws):
    hits = (torch.rand(13, n_draws, 30, generator=seeded()) < 0.4).double().mean(1)
    differences = (torch.rand(13, 30, generator=seeded(1)) < torch.linspace(0, 1, 30)).double() - hits
    p = exact_sign_flip_p(differences, step=1 / n_draws)
    assert torch.allclose(p, over_all_flips(differences), rtol=0, atol=1e-12)
    assert p.min() < 0.01 < 0.9 < p.max()


def test_the_exact_p_of_any_numbers_is_that_of_all_flips_but_for_the_rounding():
    differences = gaussian(14, 40) + torch.linspace(0, 2, 40)
    assert torch.allclose(exact_sign_flip_p(differences), over_all_flips(differences), rtol=0.25, atol=0.01)
    rounded = (differences / (differences.abs().amax(0) / 60)).round()
    assert torch.allclose(exact_sign_flip_p(differences), over_all_flips(rounded), rtol=0, atol=1e-12)


def test_the_exact_p_reaches_far_below_any_number_of_flips():
    wins = [(40, 10), (90, 20), (200, 60)]
    for won, lost in wins:
        differences = torch.tensor([1.0] * won + [-1.0] * lost + [0.0] * 200)[:, None]
        expected = scipy.stats.binomtest(won, won + lost).pvalue
        assert exact_sign_flip_p(differences, step=1.0).item() == pytest.approx(max(expected, SMALLEST_P), rel=1e-3)
    assert exact_sign_flip_p(torch.ones(5_000, 1)).item() == SMALLEST_P
    assert exact_sign_flip_p(torch.zeros(5, 2)).tolist() == [1.0, 1.0]


def test_the_exact_p_does_not_depend_on_the_other_columns_or_on_chunks(monkeypatch):
    differences = gaussian(50, 9) + 0.2
    whole = exact_sign_flip_p(differences)
    monkeypatch.setattr(bridge.statistics.flips, "CHUNK_WEIGHTS", 1)
    assert torch.allclose(exact_sign_flip_p(differences), whole, rtol=0, atol=1e-14)
    for i in range(9):
        assert torch.allclose(exact_sign_flip_p(differences[:, i : i + 1]), whole[i], rtol=0, atol=1e-14)


def test_a_step_that_is_not_positive_is_refused():
    with pytest.raises(FitError, match=r"^step is 0.0; wanted a positive number: give one, or None$"):
        exact_sign_flip_p(torch.ones(3, 1), step=0.0)


def test_the_p_of_one_candidate_is_that_of_the_sign_flip_test():
    differences = gaussian(40, 1) + 0.3
    searched = max_statistic_p(differences, 999, seeded())
    assert searched.tolist() == paired_permutation_p(differences, 999, seeded()).tolist()


def test_searching_costs_what_the_candidates_differ_by():
    one = gaussian(60, 1) + 0.55
    alone = max_statistic_p(one, 4_999, seeded()).item()
    copies = max_statistic_p(one.repeat(1, 30) * torch.linspace(0.1, 9, 30), 4_999, seeded())
    others = max_statistic_p(torch.cat([one, gaussian(60, 29, seed=1)], 1), 4_999, seeded())[0].item()
    assert copies.tolist() == [alone] * 30
    assert 5 * alone < others < 60 * alone


def test_the_best_of_many_nulls_is_called_significant_no_more_often_than_it_says():
    found = 0
    for seed in range(300):
        noise = gaussian(30, 12, seed=seed) @ gaussian(12, 12, seed=1)
        found += bool(max_statistic_p(noise, 199, seeded(seed)).min() <= 0.1)
    # four standard deviations of 300 trials at 0.1
    assert 0.1 - 0.07 < found / 300 < 0.1 + 0.07


def test_several_searches_at_once_share_nothing_but_the_flips():
    differences = gaussian(40, 6, 3) + 0.2
    together = max_statistic_p(differences, 499, seeded())
    assert together.shape == (6, 3)
    for i in range(3):
        assert together[:, i].tolist() == max_statistic_p(differences[:, :, i], 499, seeded()).tolist()


@pytest.mark.parametrize("n_alike", [0, 1, 2, 3])
def test_ties_in_a_search_are_hits_whatever_the_rounding(n_alike):
    differences = torch.tensor([1.0] * 8 + [-1.0] * 3 + [0.0] * n_alike).double()
    # of 2**11 flips, those with three or fewer against the rest reach |5|
    wanted = torch.tensor([2 * (1 + 11 + 55 + 165) / 2**11]).double()
    for scale in (1.0, 0.1, 1 / 3):
        p = max_statistic_p(scale * differences[:, None], 20_000, seeded())
        torch.testing.assert_close(p, wanted, rtol=0.0, atol=0.015)


@pytest.mark.parametrize("n", [2, 8, 40])
def test_the_t_test_beside_the_flips_is_students_where_nothing_is_skewed(n):
    half = gaussian(n // 2, 5)
    differences = torch.cat([half, -half]) + torch.linspace(0, 1, 5)
    wanted = scipy.stats.ttest_1samp(differences.numpy(), 0.0).pvalue
    assert skewness_p(differences).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)


def test_columns_without_any_difference_are_never_best():
    differences = torch.cat([torch.zeros(20, 1), torch.ones(20, 1)], 1)
    assert max_statistic_p(differences, 99, seeded()).tolist() == [1.0, 0.01]


def test_a_flip_p_of_units_is_that_of_all_their_flips():
    groups = torch.tensor([3, 3, -1, 5, 5, 5, 9, 11, 12, 12, 14])
    differences = gaussian(11, 20) + torch.linspace(0, 1.5, 20)
    wanted = over_all_flips(differences, groups)
    p = paired_permutation_p(differences, 40_000, seeded(), groups=groups)
    torch.testing.assert_close(p, wanted, rtol=0.0, atol=0.012)
    assert not torch.allclose(wanted, over_all_flips(differences), rtol=0.0, atol=0.05)


@pytest.mark.parametrize("n_draws", [1, 20])
def test_the_exact_p_of_units_is_that_of_all_their_flips(n_draws):
    groups = torch.randint(12, (40,), generator=seeded(2)) * 5 - 7
    hits = (torch.rand(40, n_draws, 30, generator=seeded()) < 0.3).double().mean(1)
    differences = (torch.rand(40, 30, generator=seeded(1)) < torch.linspace(0, 1, 30)).double() - hits
    # With unequal units some sums are more than 120 steps and are rounded to coarser ones.
    p, wanted = exact_sign_flip_p(differences, 1 / n_draws, groups), over_all_flips(differences, groups)
    assert torch.allclose(p, wanted, rtol=0, atol=1e-12 if n_draws == 1 else 0.02)
    assert p.min() < 0.01 < 0.9 < p.max()


def test_the_exact_p_of_six_units_can_reach_five_in_a_hundred_and_that_of_five_cannot():
    for n_units, wanted in ((6, 2 / 64), (5, 2 / 32)):
        groups = torch.arange(60) % n_units
        assert exact_sign_flip_p(torch.ones(60, 1), 1.0, groups).item() == pytest.approx(wanted)


@pytest.mark.parametrize("test", ["random", "exact", "search"])
def test_clustered_nulls_are_rejected_as_often_as_said_by_units_and_far_too_often_by_items(test):
    values, groups = clustered(40, 4, 2000, seed=0)
    rejected = []
    for labels in (groups, None):
        if test == "search":
            p = max_statistic_p(values.view(160, 5, 400), 499, seeded(), labels).amin(0)
        else:
            p = (
                paired_permutation_p(values, 499, seeded(), labels)
                if test == "random"
                else exact_sign_flip_p(values, groups=labels)
            )
        rejected.append(float((p <= 0.05).double().mean()))
    # four standard deviations of as many trials at 0.05
    assert abs(rejected[0] - 0.05) < 4 * (0.05 * 0.95 / len(p)) ** 0.5
    assert rejected[1] > 0.15


def test_a_search_flips_a_unit_alike_in_all_candidates():
    values, groups = clustered(9, 3, 4, seed=3)
    values += 0.4
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=9)), dtype=torch.float64)
    sums = values.view(9, 3, 4).sum(1)
    means, cubes = signs @ sums / 9, signs @ sums.pow(3) / 9
    statistics = transformed(means, sums.square().mean(0), cubes, 9).abs()
    wanted = (statistics.amax(1)[:, None] >= statistics[0] - 1e-9).double().mean(0)
    p = max_statistic_p(values, 20_000, seeded(), groups)
    torch.testing.assert_close(p, wanted, rtol=0.0, atol=0.015)


def test_a_search_does_not_depend_on_the_size_of_the_scores():
    differences = gaussian(30, 6)
    p = max_statistic_p(differences.double(), 199, seeded())
    # Cubes of so small scores are below what a float can hold.
    assert max_statistic_p(differences.double() * 1e-120, 199, seeded()).tolist() == p.tolist()
