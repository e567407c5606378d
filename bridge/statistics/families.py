"""Many p values, or many ranks among draws, corrected together. In numpy: tables and exports need it without torch."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bridge.errors import FitError
from bridge.statistics.levels import (
    ALPHA,
    ENOUGH_DRAWS,
    FEW_UNITS,
    LEAST_UNITS,
    SMALLEST_P,
    draws_needed,
    least_p,
)

Floats = NDArray[np.float64]


def holm(p: ArrayLike) -> Floats:
    """Holm's correction: reject where the result is at most alpha, and no true hypothesis of the family is rejected
    with probability above alpha, however the p values depend on each other.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", jstor 4615733.

    Args:
        p: (m,) p values of one family.

    Returns:
        (m,) adjusted p values in the order of `p`, each at least `p` and at most 1.

    Raises:
        FitError: values outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, np.float64)
    if values.ndim != 1 or not ((values >= 0.0) & (values <= 1.0)).all():
        raise FitError(
            f"p values have shape {values.shape} or lie outside 0 to 1; wanted (m,) p values: give one for each test"
        )
    order = values.argsort(kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


def draw_rank_p(fitted: ArrayLike, draws: ArrayLike) -> Floats:
    """One-sided p that a fitted score is one more draw of a control.

    p = (1 + number of draws at least as large as the fitted score) / (1 + n_draws): with 20 draws the
    smallest possible p is 1/21.

    Args:
        fitted: (c,) scores, larger is better.
        draws: (p, c) the same scores for p draws of the control.

    Returns:
        p (c,) in (0, 1].

    Raises:
        FitError: shapes that do not match, or values that are not finite.

    Example:
        >>> draw_rank_p([0.9, 0.1], [[0.1, 0.2], [0.2, 0.1], [0.3, 0.0]]).tolist()
        [0.25, 0.75]
    """
    ours, theirs = _checked(fitted, draws)
    return (1.0 + (theirs >= ours).sum(0)) / (1.0 + len(theirs))


def draw_family_p(fitted: ArrayLike, draws: ArrayLike) -> Floats:
    """Rank p of each of many cells' fitted scores, corrected for all cells together.

    For each draw the largest lead over all cells is computed, where a lead is a score minus the mean over the draws and
    the fitted map of its cell; p = (1 + number of draws whose largest lead is at least the fitted map's lead) / (1 +
    n_draws). If the fitted map is one more draw in every cell (the null hypothesis), the probability that any cell has
    p <= alpha is at most alpha. That holds if draw b is the same permutation or rotation in every cell, and if cells
    are independent; cells that share part of their rows lie between these two cases. More cells need no more draws.
    Leads are in the unit of the scores and not standardised, so a cell of few items, whose draws vary much, makes all
    others harder to tell from draws.

    Source: Westfall and Young (1993), "Resampling-based multiple testing", the single-step maxT procedure.

    Args:
        fitted: (c,) scores, one a cell, larger is better.
        draws: (p, c) the same scores for p draws of the control.

    Returns:
        p (c,) in (0, 1], never below `draw_rank_p`.

    Raises:
        FitError: shapes that do not match, or values that are not finite.

    Example:
        >>> draw_family_p([0.9, 0.15], [[0.1, 0.2], [0.6, 0.1], [0.3, 0.0]]).tolist()
        [0.25, 0.75]
    """
    ours, theirs = _checked(fitted, draws)
    scores = np.concatenate([ours[None], theirs])
    leads = scores - scores.mean(0)
    hits = (leads[1:].max(1, keepdims=True) >= leads[0] - 1e-12).sum(0)
    return (1.0 + hits) / (1.0 + len(theirs))


def _checked(fitted: ArrayLike, draws: ArrayLike) -> tuple[Floats, Floats]:
    ours, theirs = np.asarray(fitted, np.float64), np.asarray(draws, np.float64)
    if theirs.ndim != 2 or ours.shape != theirs.shape[1:] or len(theirs) == 0:
        raise FitError(
            f"fitted scores have shape {ours.shape} and draws {theirs.shape}; wanted (c,) and (p, c) with at least "
            "one draw: give the scores of the same cells"
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise FitError("fitted scores or draws hold NaN or infinite values; wanted finite scores: leave those out")
    return ours, theirs


__all__ = [
    "ALPHA",
    "ENOUGH_DRAWS",
    "FEW_UNITS",
    "LEAST_UNITS",
    "SMALLEST_P",
    "draw_family_p",
    "draw_rank_p",
    "draws_needed",
    "holm",
    "least_p",
]
