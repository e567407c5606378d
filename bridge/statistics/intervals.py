"""Intervals of mean scores by a bootstrap over units."""

import math
from collections.abc import Iterator

import scipy.special
import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.statistics.flips import chunks
from bridge.statistics.units import Units, check_resamples, effective_units, unit_sums

LEVEL = 0.95


def resampled_means(
    values: Tensor, n_resamples: int, generator: torch.Generator, groups: Tensor | Units | None = None
) -> Tensor:
    """Means over items of resamples in which whole units are drawn with replacement.

    All columns share each resample, so that intervals of several metrics or controls refer to the same draws.

    Source: Efron (1979), "Bootstrap methods: another look at the jackknife", doi:10.1214/aos/1176344552; Davison and
    Hinkley (1997), "Bootstrap Methods and their Application", section 3.8, for resampling clusters whole.

    Args:
        values: (n, c) scores, one row an item.
        n_resamples: number of resamples, at least 1.
        generator: source of randomness; its state advances.
        groups: (n,) long unit of each item, any labels; None where each item is a unit.

    Returns:
        (n_resamples, c) float64, in the unit of `values`.

    Raises:
        FitError: no rows, values that are not finite, or no resamples.
    """
    check_resamples(n_resamples)
    sums, sizes = unit_sums(values, groups)
    every = (counts.to(sums.device) for counts in resamples(len(sums), n_resamples, generator))
    return torch.cat([(counts @ sums) / (counts @ sizes) for counts in every])


def resamples(n_units: int, n_resamples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """How often each unit is drawn (r, n_units), in `n_resamples` rows altogether, a bounded number at a time."""
    for n_draws in chunks(n_resamples, n_units):
        drawn = torch.randint(n_units, (n_draws, n_units), generator=generator, device=generator.device)
        counts = torch.zeros(n_draws, n_units, dtype=torch.float64, device=drawn.device)
        yield counts.scatter_add_(1, drawn, torch.ones_like(counts))


def expanded_interval(
    resampled: Tensor, n_effective: float, level: float = LEVEL, skew: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Percentile interval of resampled means, widened for the small number of units and moved for their skewness.

    The percentiles are those at which a normal interval would be as wide as Student's: a plain percentile interval is
    too narrow by the factor sqrt((n-1)/n) and ignores that the variance is estimated. Where a few units lie far on one
    side, the resampled means do not reach far enough to that side. Both percentiles then move to it, by the
    acceleration of the BCa interval, which is also the bias of a mean's percentiles.

    Source: Hesterberg (2015), "What teachers should know about the bootstrap", section 3.3 (expanded percentile
    interval), doi:10.1080/00031305.2015.1089789; Efron (1987), "Better bootstrap confidence intervals",
    doi:10.1080/01621459.1987.10478410, for the acceleration.

    Args:
        resampled: (r, c) resampled means.
        n_effective: effective number of units, `effective_units`.
        level: nominal share of true means inside, in (0, 1).
        skew: (c,) acceleration, `acceleration`; none when None.

    Returns:
        low (c,) and high (c,), float64.

    Raises:
        FitError: a level out of range.
    """
    if not 0.0 < level < 1.0:
        raise FitError(f"level of the interval is {level}; wanted a number between 0 and 1: give one such as 0.95")
    ordered = resampled.sort(dim=0).values
    if n_effective <= 1.0:
        return ordered[0], ordered[-1]
    reach = scipy.special.stdtrit(n_effective - 1.0, (1.0 + level) / 2.0) * math.sqrt(n_effective / (n_effective - 1.0))
    a = ordered.new_zeros(ordered.shape[1]) if skew is None else skew
    low, high = (torch.special.ndtr(a + (a + z) / (1.0 - a * (a + z)).clamp_min(0.1)) for z in (-reach, reach))
    return _quantile(ordered, low), _quantile(ordered, high)


def acceleration(values: Tensor, groups: Tensor | Units | None = None, over: Tensor | None = None) -> Tensor:
    """Acceleration of a mean over items: a sixth of the skewness of its units' influences, over sqrt(units).

    Source: Efron (1987), doi:10.1080/01621459.1987.10478410, equation 7.3, with the influences of whole units.

    Args:
        values: (n, c) scores, one row an item.
        groups: (n,) long unit of each item; None where each item is a unit.
        over: (n, c) scores whose mean the mean of `values` is divided by; None for the mean itself.

    Returns:
        (c,) float64, 0 where all units are alike.
    """
    sums, sizes = unit_sums(values, groups)
    parts = sizes if over is None else unit_sums(over, groups)[0]
    influences = sums - sums.sum(0) / parts.sum(0) * parts
    cubes, squares = influences.pow(3).sum(0), influences.square().sum(0)
    return torch.where(squares > 1e-24 * sums.square().sum(0), cubes / (6.0 * squares.pow(1.5)).clamp_min(1e-300), 0.0)


def bootstrap_interval(
    values: Tensor,
    n_resamples: int,
    generator: torch.Generator,
    level: float = LEVEL,
    groups: Tensor | Units | None = None,
) -> tuple[Tensor, Tensor]:
    """Bootstrap interval of the mean over items; see `resampled_means` and `expanded_interval`.

    Args:
        values: (n, c) scores, one row an item.
        n_resamples: number of resamples, at least 1.
        generator: source of randomness; its state advances.
        level: nominal share of true means inside, in (0, 1).
        groups: (n,) long unit of each item, any labels; None where each item is a unit.

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
    n_effective = float(len(values)) if groups is None else effective_units(groups)
    means = resampled_means(values, n_resamples, generator, groups)
    return expanded_interval(means, n_effective, level, acceleration(values, groups))


def _quantile(ordered: Tensor, q: Tensor) -> Tensor:
    """Interpolate linearly between the ordered rows (r, c) at the shares q (c,)."""
    position = q * (len(ordered) - 1)
    below = position.long().clamp(max=max(0, len(ordered) - 2))
    above = (below + 1).clamp(max=len(ordered) - 1)
    lower, upper = (ordered.gather(0, at[None])[0] for at in (below, above))
    return torch.lerp(lower, upper, position - below)
