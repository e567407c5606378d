"""Intervals and p values for scores that are paired item by item."""

import torch
from torch import Tensor

from bridge.errors import FitError

# resamples x items held in memory at once
CHUNK_WEIGHTS = 2**22


def bootstrap_interval(
    values: Tensor,
    n_resamples: int,
    generator: torch.Generator,
    level: float = 0.95,
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Percentile bootstrap interval of the mean over rows.

    All columns share each resample, so that intervals of several metrics or controls refer to the same draws.
    With `groups` whole groups are drawn with replacement, because items of one group are not independent.

    Source: Efron (1979), "Bootstrap methods: another look at the jackknife", doi:10.1214/aos/1176344552.

    Args:
        values: (n, c) scores, one row an item.
        n_resamples: number of resamples, at least 1.
        generator: source of randomness; its state advances.
        level: share of the resampled means inside the interval, in (0, 1).
        groups: (n,) long group of each item, any labels, or None.

    Returns:
        low (c,) and high (c,), float64, in the unit of `values`.

    Raises:
        FitError: no rows, values that are not finite, or numbers out of range.

    Example:
        >>> values = torch.tensor([[0.0, 7.0], [1.0, 7.0], [1.0, 7.0], [0.0, 7.0]])
        >>> low, high = bootstrap_interval(values, 1000, torch.Generator().manual_seed(0))
        >>> low.tolist(), high.tolist()
        ([0.0, 7.0], [1.0, 7.0])
    """
    if not 0.0 < level < 1.0:
        raise FitError(f"level of the interval is {level}; wanted a number between 0 and 1, such as 0.95")
    sums, sizes = _group_sums(values, n_resamples, groups)
    n_groups = len(sums)
    means = []
    for n_draws in _chunks(n_resamples, n_groups):
        drawn = torch.randint(n_groups, (n_draws, n_groups), generator=generator, device=generator.device)
        counts = torch.zeros(n_draws, n_groups, dtype=torch.float64, device=drawn.device)
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        counts = counts.to(sums.device)
        means.append((counts @ sums) / (counts @ sizes))
    ordered = torch.cat(means).sort(dim=0).values
    tail = (1.0 - level) / 2.0
    return _quantile(ordered, tail), _quantile(ordered, 1.0 - tail)


def paired_permutation_p(
    differences: Tensor,
    n_resamples: int,
    generator: torch.Generator,
    groups: Tensor | None = None,
) -> Tensor:
    """Two-sided sign-flip test that paired differences have mean zero.

    Under the null hypothesis each difference, or with `groups` all differences of a group together, is as
    likely as its negative. p = (1 + hits) / (1 + n_resamples), where a hit is a flipped mean at least as far
    from zero as the observed one; so p is never 0. All columns share the flips.

    Source: Phipson and Smyth (2010), "Permutation p-values should never be zero", doi:10.2202/1544-6115.1585.

    Args:
        differences: (n, c) differences of two scores, one row an item.
        n_resamples: number of random flips, at least 1.
        generator: source of randomness; its state advances.
        groups: (n,) long group of each item, any labels, or None.

    Returns:
        p (c,) float64 in (0, 1].

    Raises:
        FitError: no rows, values that are not finite, or numbers out of range.

    Example:
        >>> differences = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).repeat(20, 1)
        >>> paired_permutation_p(differences, 999, torch.Generator().manual_seed(0)).tolist()
        [0.001, 1.0]
    """
    sums, _ = _group_sums(differences, n_resamples, groups)
    # in scores of 0 and 1 ties are common; rounding must not break them
    observed = sums.sum(dim=0).abs() - 1e-12 * sums.abs().sum(dim=0)
    hits = torch.zeros_like(observed)
    for n_draws in _chunks(n_resamples, len(sums)):
        flips = torch.randint(2, (n_draws, len(sums)), generator=generator, device=generator.device, dtype=torch.int8)
        signs = flips.to(sums.device, torch.float64).mul_(2.0).sub_(1.0)
        hits += ((signs @ sums).abs() >= observed).sum(dim=0)
    return (1.0 + hits) / (1.0 + n_resamples)


def draw_rank_p(fitted: Tensor, draws: Tensor) -> Tensor:
    """One-sided p that a fitted score is one more draw of a control.

    p = (1 + number of draws at least as large as the fitted score) / (1 + p_draws): with 20 draws the
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
    if draws.ndim != 2 or fitted.shape != draws.shape[1:] or len(draws) == 0:
        raise FitError(
            f"fitted scores have shape {tuple(fitted.shape)} and draws {tuple(draws.shape)}; wanted (c,) "
            "and (p, c) with at least one draw"
        )
    if not (torch.isfinite(fitted).all() and torch.isfinite(draws).all()):
        raise FitError("fitted scores or draws hold NaN or infinite values; wanted finite scores: leave those out")
    hits = (draws.to(torch.float64) >= fitted.to(torch.float64)).sum(dim=0)
    return (1.0 + hits.to(torch.float64)) / (1.0 + len(draws))


def _group_sums(values: Tensor, n_resamples: int, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum the values of each group (g, c) and count its items (g, 1); without groups each item is one."""
    if values.ndim != 2 or len(values) == 0:
        raise FitError(f"scores have shape {tuple(values.shape)}; wanted (n, c) with at least one item")
    n_bad = int((~torch.isfinite(values)).any(dim=1).sum())
    if n_bad:
        raise FitError(
            f"{n_bad} of {len(values)} items have NaN or infinite scores; wanted finite ones: "
            "leave those items out of every side of the comparison"
        )
    if n_resamples < 1:
        raise FitError(f"number of resamples is {n_resamples}; wanted at least 1, better 1000 or more")
    values = values.to(torch.float64)
    if groups is None:
        return values, values.new_ones(len(values), 1)
    if groups.shape != values.shape[:1]:
        raise FitError(f"groups have shape {tuple(groups.shape)}; wanted ({len(values)},), one label an item")
    labels, index = groups.to(values.device).unique(return_inverse=True)
    sums = values.new_zeros(len(labels), values.shape[1]).index_add_(0, index, values)
    sizes = values.new_zeros(len(labels), 1).index_add_(0, index, values.new_ones(len(values), 1))
    return sums, sizes


def _chunks(n_resamples: int, n_groups: int) -> list[int]:
    """Split the resamples so that memory stays bounded; the split depends on nothing but the two numbers."""
    at_once = max(1, CHUNK_WEIGHTS // n_groups)
    return [min(at_once, n_resamples - done) for done in range(0, n_resamples, at_once)]


def _quantile(ordered: Tensor, q: float) -> Tensor:
    """Interpolate linearly between the ordered rows; `torch.quantile` refuses more than 16 million values."""
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], position - below)
