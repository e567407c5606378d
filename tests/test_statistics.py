import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

import bridge.statistics
from bridge.errors import FitError
from bridge.statistics import bootstrap_interval, draw_rank_p, paired_permutation_p


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
    monkeypatch.setattr(bridge.statistics, "CHUNK_WEIGHTS", 30 * 7)
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
