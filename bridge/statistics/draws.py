"""Ranks of a fitted score among the draws of a control, alone and over a family of cells."""

import math

import torch
from torch import Tensor

from bridge.errors import FitError

# The level of every verdict.
ALPHA = 0.05
# One more than are needed for p <= ALPHA.
ENOUGH_DRAWS = 20


def least_p(n_draws: int) -> float:
    """The smallest p that a rank among so many draws can have.

    Example:
        >>> least_p(19), least_p(5) > 0.05
        (0.05, True)
    """
    return 1.0 / (1.0 + n_draws)


def draws_needed(alpha: float) -> int:
    """The fewest draws whose rank can have p <= alpha, in a family of any size (see `draw_family_p`).

    Example:
        >>> draws_needed(0.05)
        19
    """
    return math.ceil(1.0 / alpha - 1e-9) - 1


def draw_rank_p(fitted: Tensor, draws: Tensor) -> Tensor:
    """One-sided p that a fitted score is one more draw of a control.

    p = (1 + number of draws at least as large as the fitted score) / (1 + n_draws): with 20 draws the
    smallest possible p is 1/21.

    Args:
        fitted: (c,) scores, larger is better.
        draws: (p, c) the same scores for p draws of the control.

    Returns:
        p (c,) float64 in (0, 1].

    Raises:
        FitError: shapes that do not match, or values that are not finite.

    Example:
        >>> draw_rank_p(torch.tensor([0.9, 0.1]), torch.tensor([[0.1, 0.2], [0.2, 0.1], [0.3, 0.0]])).tolist()
        [0.25, 0.75]
    """
    _checked(fitted, draws)
    hits = (draws.to(torch.float64) >= fitted.to(torch.float64)).sum(dim=0)
    return (1.0 + hits.to(torch.float64)) / (1.0 + len(draws))


def draw_family_p(fitted: Tensor, draws: Tensor) -> Tensor:
    """Rank p of each of many cells' fitted scores, corrected for all cells together.

    Draw by draw the largest lead over all cells is taken, where a lead is a score less the mean over the draws and
    the fitted map of its cell; p = (1 + number of draws whose largest lead is at least the fitted map's lead) /
    (1 + n_draws). If in no cell the fitted map is anything but one more draw, the chance that any cell has p <= alpha
    is at most alpha: the fitted map's leads over the cells are then one more draw of them all. That holds where draw b
    is the same permutation or rotation in every cell, and where cells are independent; cells that share part of
    their rows lie between. No number of cells asks for more draws. Leads are in the unit of the scores and not
    standardised, so a cell of few items, whose draws vary much, makes all others harder to tell from draws.

    Source: Westfall and Young (1993), "Resampling-based multiple testing", the single-step maxT procedure.

    Args:
        fitted: (c,) scores, one a cell, larger is better.
        draws: (p, c) the same scores for p draws of the control.

    Returns:
        p (c,) float64 in (0, 1], never below `draw_rank_p`.

    Raises:
        FitError: shapes that do not match, or values that are not finite.

    Example:
        >>> fitted, draws = torch.tensor([0.9, 0.15]), torch.tensor([[0.1, 0.2], [0.6, 0.1], [0.3, 0.0]])
        >>> draw_family_p(fitted, draws).tolist()
        [0.25, 0.75]
    """
    _checked(fitted, draws)
    scores = torch.cat([fitted.double()[None], draws.double()])
    leads = scores - scores.mean(0)
    hits = (leads[1:].amax(1, keepdim=True) >= leads[0] - 1e-12).sum(0)
    return (1.0 + hits.double()) / (1.0 + len(draws))


def _checked(fitted: Tensor, draws: Tensor) -> None:
    if draws.ndim != 2 or fitted.shape != draws.shape[1:] or len(draws) == 0:
        raise FitError(
            f"fitted scores have shape {tuple(fitted.shape)} and draws {tuple(draws.shape)}; wanted (c,) "
            "and (p, c) with at least one draw"
        )
    if not (torch.isfinite(fitted).all() and torch.isfinite(draws).all()):
        raise FitError("fitted scores or draws hold NaN or infinite values; wanted finite scores: leave those out")
