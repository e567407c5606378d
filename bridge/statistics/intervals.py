"""Intervals of mean scores: a bootstrap over units, and exact ones where successes or failures are rare."""

import math
from collections.abc import Iterator

import scipy.special
import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.statistics.flips import chunks
from bridge.statistics.units import check_resamples, effective_units, unit_sums

LEVEL = 0.95
# With fewer units that have a success, or a failure, a bootstrap of 0 and 1 is too narrow.
RARE_UNITS = 10


def resampled_means(
    values: Tensor, n_resamples: int, generator: torch.Generator, groups: Tensor | None = None
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


def expanded_interval(resampled: Tensor, n_effective: float, level: float = LEVEL) -> tuple[Tensor, Tensor]:
    """Percentile interval of resampled means, widened for the small number of units.

    The percentiles are those at which a normal interval would be as wide as Student's: a plain percentile interval
    is too narrow by the factor sqrt((n-1)/n), and knows nothing of the estimated variance.

    Source: Hesterberg (2015), "What teachers should know about the bootstrap", section 3.3 (expanded percentile
    interval), doi:10.1080/00031305.2015.1089789.

    Args:
        resampled: (r, c) resampled means.
        n_effective: effective number of units, `effective_units`.
        level: nominal share of true means inside, in (0, 1).

    Returns:
        low (c,) and high (c,), float64.

    Raises:
        FitError: a level out of range.
    """
    if not 0.0 < level < 1.0:
        raise FitError(f"level of the interval is {level}; wanted a number between 0 and 1, such as 0.95")
    tail = 0.0
    if n_effective > 1.0:
        student = scipy.special.stdtrit(n_effective - 1.0, (1.0 - level) / 2.0)
        tail = float(scipy.special.ndtr(student * math.sqrt(n_effective / (n_effective - 1.0))))
    ordered = resampled.sort(dim=0).values
    return _quantile(ordered, tail), _quantile(ordered, 1.0 - tail)


def bootstrap_interval(
    values: Tensor,
    n_resamples: int,
    generator: torch.Generator,
    level: float = LEVEL,
    groups: Tensor | None = None,
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
    return expanded_interval(resampled_means(values, n_resamples, generator, groups), n_effective, level)


def share_interval(share: float, n_effective: float, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a share of successes among a number of units, which need not be whole.

    Source: Clopper and Pearson (1934), doi:10.1093/biomet/26.4.404; Korn and Graubard (1998), "Confidence intervals
    for proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24,
    for the effective number in place of the number of items.

    Args:
        share: of successes, in [0, 1].
        n_effective: effective number of units, `effective_units`.
        level: least share of true shares inside, in (0, 1).

    Example:
        >>> [round(bound, 3) for bound in share_interval(0.0, 58)]
        [0.0, 0.062]
    """
    tail, successes, failures = (1.0 - level) / 2.0, share * n_effective, (1.0 - share) * n_effective
    low = 0.0 if share <= 0.0 else float(scipy.special.betaincinv(successes, failures + 1.0, tail))
    high = 1.0 if share >= 1.0 else float(scipy.special.betaincinv(successes + 1.0, failures, 1.0 - tail))
    return low, high


def is_rare(values: Tensor, groups: Tensor | None) -> bool:
    """Whether too few units have anything but failures, or anything but successes, for a bootstrap.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) long unit of each item; None where each item is a unit.
    """
    sums, sizes = unit_sums(values[:, None], groups)
    n_with = min(int((sums > 0.0).sum()), int((sums < sizes).sum()))
    return n_with < RARE_UNITS


def difference_interval(values: Tensor, n_effective: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a mean difference of two shares where few units differ, from exact bounds on either side.

    A difference in [-1, 1] is its positive part less its negative part, each a share.

    Args:
        values: (n,) differences in [-1, 1], one an item.
        n_effective: effective number of units, `effective_units`.
        level: least share of true differences inside, in (0, 1).

    Example:
        >>> [round(bound, 3) for bound in difference_interval(torch.zeros(58), 58)]
        [-0.062, 0.062]
    """
    gained, lost = (float(part.clamp_min(0.0).mean()) for part in (values.double(), -values.double()))
    low_gained, high_gained = share_interval(gained, n_effective, level)
    low_lost, high_lost = share_interval(lost, n_effective, level)
    return low_gained - high_lost, high_gained - low_lost


def _quantile(ordered: Tensor, q: float) -> Tensor:
    """Interpolate linearly between the ordered rows; `torch.quantile` refuses more than 16 million values."""
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], position - below)
