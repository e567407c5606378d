import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

import bridge.statistics.flips
from bridge.errors import FitError
from bridge.statistics import (
    SMALLEST_P,
    bootstrap_interval,
    draw_rank_p,
    exact_sign_flip_p,
    holm,
    max_statistic_p,
    paired_permutation_p,
)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_interval_agrees_with_scipy_on_many_resamples():
    values = gaussian(60, 2).exp()
    low, high = bootstrap_interval(values, 20_000, seeded(), level=0.9)
    for column in range(2):
        expected = scipy.stats.bootstrap(
            (values[:, column].numpy(),),
            np.mean,
            n_resamples=20_000,
            confidence_level=0.9,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        width = expected.high - expected.low
        assert low[column].item() == pytest.approx(expected.low, abs=0.03 * width)
        assert high[column].item() == pytest.approx(expected.high, abs=0.03 * width)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(gaussian(40, 1, seed=seed), 400, seeded(seed), level=0.8)
        covered += bool(low < 0.0) and bool(high > 0.0)
    # four standard deviations of 200 trials at 0.8
    assert 0.8 - 0.115 < covered / 200 < 0.8 + 0.115


def test_all_columns_share_their_resamples():
    values = gaussian(30, 1)
    low, high = bootstrap_interval(torch.cat([values, 2 * values, values + 1], dim=1), 500, seeded())
    assert low[1].item() == pytest.approx(2 * low[0].item())
    assert high[2].item() == pytest.approx(high[0].item() + 1)


def test_a_constant_score_has_an_interval_without_width():
    low, high = bootstrap_interval(torch.full((9, 1), 0.3), 100, seeded())
    assert low.item() == high.item() == pytest.approx(0.3, abs=1e-7)


def test_the_mean_of_groups_of_unequal_size_is_still_the_mean_of_items():
    values, groups = torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.tensor([7, 7, 7, -2])
    low, high = bootstrap_interval(values, 2000, seeded(), groups=groups)
    # the draws are (7, 7), (7, -2) and (-2, -2): means 0, 1/4 and 1
    assert (low.item(), high.item()) == (0.0, 1.0)
    inner_low, inner_high = bootstrap_interval(values, 2000, seeded(), level=0.4, groups=groups)
    assert (inner_low.item(), inner_high.item()) == (0.25, 0.25)


def test_copies_of_an_item_in_one_group_do_not_narrow_the_interval():
    values = gaussian(20, 1)
    copies, groups = values.repeat_interleave(25, dim=0), torch.arange(20).repeat_interleave(25)
    low, high = bootstrap_interval(values, 4000, seeded())
    grouped_low, grouped_high = bootstrap_interval(copies, 4000, seeded(), groups=groups)
    blind_low, blind_high = bootstrap_interval(copies, 4000, seeded())
    torch.testing.assert_close(grouped_high - grouped_low, high - low)
    assert (blind_high - blind_low).item() < 0.3 * (high - low).item()


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


def test_a_draw_rank_p_counts_ties_as_draws_that_reach_the_fit():
    draws = torch.arange(19.0).unsqueeze(1).repeat(1, 3)
    assert draw_rank_p(torch.tensor([18.5, 18.0, -1.0]), draws).tolist() == [1 / 20, 2 / 20, 1.0]


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
        (
            lambda: paired_permutation_p(torch.zeros(3, 2), 9, seeded(), groups=torch.zeros(2)),
            r"groups have shape \(2,\); wanted \(3,\), one label an item",
        ),
        (
            lambda: draw_rank_p(torch.zeros(2), torch.zeros(0, 2)),
            r"draws \(0, 2\); wanted \(c,\) and \(p, c\)",
        ),
        (
            lambda: draw_rank_p(torch.zeros(2), torch.full((3, 2), float("nan"))),
            "draws hold NaN or infinite values",
        ),
    ],
)
def test_scores_that_cannot_be_compared_are_refused_in_one_line(call, text):
    with pytest.raises(FitError, match=text) as refused:
        call()
    assert "\n" not in str(refused.value)


def over_all_flips(differences):
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=len(differences))), dtype=torch.float64)
    return ((signs @ differences).abs() >= differences.sum(0).abs() - 1e-9).double().mean(0)


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
    with pytest.raises(FitError, match=r"^step is 0.0; wanted a positive number, or None$"):
        exact_sign_flip_p(torch.ones(3, 1), step=0.0)


def test_holm_is_the_step_down_procedure():
    p = torch.rand(30, dtype=torch.float64, generator=seeded()).square()
    order = p.argsort().tolist()
    highest, expected = 0.0, [0.0] * 30
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (30 - rank) * p[i].item()))
        expected[i] = highest
    assert holm(p).tolist() == pytest.approx(expected)
    assert holm(p[:0]).tolist() == []
    assert holm(p[:1]).tolist() == p[:1].tolist()
    with pytest.raises(FitError, match=r"wanted \(m,\) p values"):
        holm(torch.tensor([1.5]))


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


def test_columns_without_any_difference_are_never_best():
    differences = torch.cat([torch.zeros(20, 1), torch.ones(20, 1)], 1)
    assert max_statistic_p(differences, 99, seeded()).tolist() == [1.0, 0.01]
