"""Holm's correction, and ranks among the draws of a control, alone and over many cells."""

import numpy as np
import pytest
import torch
from noise import gaussian, seeded
from torch import Tensor

from bridge.errors import FitError
from bridge.statistics.families import draw_family_p, draw_rank_p, holm
from bridge.statistics.levels import (
    ALPHA,
    ENOUGH_DRAWS,
    draws_needed,
    least_p,
)


def one_by_one(fitted: Tensor, draws: Tensor) -> list[float]:
    """`draw_family_p` in plain loops."""
    p, (n_draws, n_cells) = [], draws.shape
    means = [(fitted[c] + draws[:, c].sum()) / (1 + n_draws) for c in range(n_cells)]
    for c in range(n_cells):
        hits = sum(
            any(draws[d, k] - means[k] >= fitted[c] - means[c] - 1e-12 for k in range(n_cells)) for d in range(n_draws)
        )
        p.append((1 + hits) / (1 + n_draws))
    return p


def test_a_rank_counts_ties_as_draws_that_reach_the_fit():
    draws = torch.arange(19.0).unsqueeze(1).repeat(1, 3)
    assert draw_rank_p(torch.tensor([18.5, 18.0, -1.0]), draws).tolist() == [1 / 20, 2 / 20, 1.0]
    assert draw_family_p(torch.tensor([18.5, 18.0, -1.0]), draws)[2].item() == 1.0
    assert draw_family_p(torch.tensor([18.0]), draws[:, :1]).item() == 2 / 20


@pytest.mark.parametrize(("alpha", "n"), [(0.05, 19), (0.1, 9), (0.01, 99), (1 / 3, 2), (0.3, 3)])
def test_the_draws_needed_are_the_fewest_that_can_reach_alpha(alpha, n):
    assert draws_needed(alpha) == n
    assert least_p(n) <= alpha + 1e-12
    assert least_p(n - 1) > alpha


@pytest.mark.parametrize("n_cells", [1, 10, 200])
def test_nineteen_draws_are_enough_for_a_family_of_any_size_and_eighteen_never(n_cells):
    fitted = torch.ones(n_cells)
    assert draw_family_p(fitted, torch.zeros(19, n_cells)).max().item() <= ALPHA
    assert draw_family_p(fitted, torch.zeros(18, n_cells)).min().item() > ALPHA
    assert draws_needed(ALPHA) <= ENOUGH_DRAWS


def test_the_rank_over_a_family_is_that_of_the_largest_lead_draw_by_draw():
    scores = gaussian(24, 7) * torch.linspace(0.5, 2, 7) + torch.arange(7.0)
    fitted, draws = scores[0] + 1.0, scores[1:]
    p = draw_family_p(fitted, draws)
    assert p.tolist() == pytest.approx(one_by_one(fitted, draws))
    assert (p >= draw_rank_p(fitted, draws)).all()
    assert 1 / 24 < p.min() < 0.5 < p.max()
    assert draw_family_p(fitted[:1], draws[:, :1]).tolist() == draw_rank_p(fitted[:1], draws[:, :1]).tolist()


def test_a_cell_whose_scores_are_all_higher_does_not_hide_the_others():
    draws = gaussian(19, 2) * 0.01
    fitted = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert draw_family_p(fitted + torch.tensor([0.0, 9.0]), draws + torch.tensor([0.0, 9.0])).tolist() == [0.05, 0.05]


@pytest.mark.parametrize("shared", [0.0, 0.8], ids=["independent cells", "cells that share their permutations"])
def test_ten_cells_without_any_effect_are_called_above_no_more_often_than_one(shared):
    n_trials, n_draws, n_cells = 2000, 19, 10
    once = gaussian(n_trials, n_draws + 1, 1, seed=1)
    scores = shared**0.5 * once + (1 - shared) ** 0.5 * gaussian(n_trials, n_draws + 1, n_cells)
    alone = sum(bool((draw_rank_p(s[0], s[1:]) <= ALPHA).any()) for s in scores) / n_trials
    family = sum(bool((draw_family_p(s[0], s[1:]) <= ALPHA).any()) for s in scores) / n_trials
    # four standard deviations of 2000 trials at 0.05
    assert 0.05 - 0.02 < family < 0.05 + 0.02
    assert alone > 2 * family


@pytest.mark.parametrize("rank", [draw_rank_p, draw_family_p])
def test_scores_that_have_no_rank_are_refused_in_one_line(rank):
    with pytest.raises(FitError, match=r"draws \(0, 2\); wanted \(c,\) and \(p, c\) with at least one draw: "):
        rank(torch.zeros(2), torch.zeros(0, 2))
    with pytest.raises(FitError, match=r"fitted scores have shape \(3,\) and draws \(4, 2\)"):
        rank(torch.zeros(3), torch.zeros(4, 2))
    with pytest.raises(FitError, match=r"^fitted scores or draws hold NaN or infinite values; wanted finite scores"):
        rank(torch.zeros(2), torch.full((3, 2), float("nan")))


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sequences_arrays_and_tensors_give_the_same_p(dtype):
    scores = (gaussian(20, 4) * 4).round().to(dtype) / 4
    lists = [row.tolist() for row in scores]
    for rank in (draw_rank_p, draw_family_p):
        p = rank(scores[0], scores[1:])
        assert p.dtype == np.float64
        assert p.tolist() == rank(lists[0], lists[1:]).tolist() == rank(scores[0].numpy(), scores[1:].numpy()).tolist()
    assert holm([0.5, 0.01]).tolist() == holm(torch.tensor([0.5, 0.01], dtype=torch.float64)).tolist() == [0.5, 0.02]
