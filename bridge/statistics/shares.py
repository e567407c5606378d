"""Exact intervals of shares, where successes or failures are too rare for a bootstrap."""

import math

import scipy.special
from torch import Tensor

from bridge.statistics.intervals import LEVEL
from bridge.statistics.units import effective_units, n_units, unit_sums

# With fewer units that have a success, or a failure, a bootstrap of 0 and 1 is too narrow.
RARE_UNITS = 10


def share_interval(share: float, n_effective: float, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a share of successes among a number of units, which need not be whole.

    Source: Clopper and Pearson (1934), doi:10.1093/biomet/26.4.404; Korn and Graubard (1998), "Confidence intervals
    for proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24,
    for the effective number in place of the number of items.

    Args:
        share: of successes, in [0, 1].
        n_effective: effective number of items, `effective_number`.
        level: least share of true shares inside, in (0, 1).

    Example:
        >>> [round(bound, 3) for bound in share_interval(0.0, 58)]
        [0.0, 0.062]
    """
    tail, successes, failures = (1.0 - level) / 2.0, share * n_effective, (1.0 - share) * n_effective
    low = 0.0 if share <= 0.0 else float(scipy.special.betaincinv(successes, failures + 1.0, tail))
    high = 1.0 if share >= 1.0 else float(scipy.special.betaincinv(successes + 1.0, failures, 1.0 - tail))
    return low, high


def effective_number(values: Tensor, groups: Tensor) -> float:
    """How many independent items a share is worth: its variance were items independent, over that between units.

    Where nothing varies there is no variance to go by, and the items of a unit count as all alike. Where
    each item is a unit, it is n.

    Source: Korn and Graubard (1998), "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data", Survey Methodology 24.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) unit of each item.

    Example:
        >>> import torch
        >>> effective_number(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 1]))
        2.0
    """
    sums, sizes = unit_sums(values.double()[:, None], groups)
    share, n = float(sums.sum() / sizes.sum()), float(sizes.sum())
    spread = float((sums - share * sizes).square().sum())
    if spread < 1e-12:
        return effective_units(groups)
    return min(n, max(1.0, share * (1.0 - share) * n**2 / spread))


def exact_number(values: Tensor, groups: Tensor, level: float = LEVEL) -> float:
    """`effective_number`, less what is lost because the variance between few units is itself a guess.

    Source: Korn and Graubard (1998): times the squared ratio of Student's quantiles, with a degree of freedom for each
    item in place of one for each unit.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) unit of each item.
        level: of the interval that the number is for.
    """
    n, units = len(values), n_units(groups)
    number = effective_number(values, groups)
    if units < 2 or bool((values == values[0]).all()):
        return number
    of_items, of_units = (scipy.special.stdtrit(k - 1.0, (1.0 + level) / 2.0) for k in (n, units))
    return max(1.0, number * float(of_items / of_units) ** 2)


def is_rare(values: Tensor, groups: Tensor | None) -> bool:
    """Whether too few units have anything but failures, or anything but successes, for a bootstrap.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) long unit of each item; None where each item is a unit.
    """
    sums, sizes = unit_sums(values[:, None], groups)
    n_with = min(int((sums > 0.0).sum()), int((sums < sizes).sum()))
    return n_with < RARE_UNITS


def difference_interval(values: Tensor, groups: Tensor, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a mean difference of two shares where few units differ, from the exact bounds of both its sides.

    A difference in [-1, 1] is its positive part less its negative part, each a share with an exact interval. The
    distances of these bounds are squared and added, as both sides are seldom at their bounds at once.

    Source: Newcombe (1998), doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I; Zou and Donner
    (2008), "Construction of confidence limits about effect measures", doi:10.1002/sim.3095.

    Args:
        values: (n,) differences in [-1, 1], one an item.
        groups: (n,) unit of each item.
        level: nominal share of true differences inside, in (0, 1).

    Example:
        >>> import torch
        >>> [round(bound, 3) for bound in difference_interval(torch.zeros(58), torch.arange(58))]
        [-0.062, 0.062]
    """
    parts = [part.clamp_min(0.0).double() for part in (values, -values)]
    gained, lost = (float(part.mean()) for part in parts)
    (low_gained, high_gained), (low_lost, high_lost) = (
        share_interval(float(part.mean()), exact_number(part, groups, level), level) for part in parts
    )
    difference = gained - lost
    return (
        difference - math.hypot(gained - low_gained, high_lost - lost),
        difference + math.hypot(high_gained - gained, lost - low_lost),
    )
