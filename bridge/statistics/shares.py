"""Exact intervals of shares, where successes or failures are too rare for a bootstrap."""

import math

import scipy.special
from torch import Tensor

from bridge.statistics.intervals import LEVEL
from bridge.statistics.units import Units, effective_units, n_units, unit_sums

# With fewer units that have a success, or a failure, a bootstrap interval is too narrow.
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

    Returns:
        low and high, in [0, 1].

    Example:
        >>> [round(bound, 3) for bound in share_interval(0.0, 58)]
        [0.0, 0.062]
    """
    tail, successes, failures = (1.0 - level) / 2.0, share * n_effective, (1.0 - share) * n_effective
    low = 0.0 if share <= 0.0 else float(scipy.special.betaincinv(successes, failures + 1.0, tail))
    high = 1.0 if share >= 1.0 else float(scipy.special.betaincinv(successes + 1.0, failures, 1.0 - tail))
    return low, high


def effective_number(values: Tensor, groups: Tensor | Units) -> float:
    """Effective sample size of a share: the number of items divided by the design effect.

    The design effect is the variance between units over the variance of independent items. Where all items have the
    same score it cannot be estimated, and the items of a unit count as perfectly correlated. Where each item is a unit,
    the effective sample size is n.

    Source: Korn and Graubard (1998), "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data", Survey Methodology 24.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) unit of each item.

    Returns:
        A number in [1, n].

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


def exact_number(values: Tensor, groups: Tensor | Units, level: float = LEVEL) -> float:
    """Effective sample size for an exact interval of a share, reduced because it is itself an estimate.

    `effective_number` is multiplied by the squared ratio of two quantiles of Student's t: with a degree of freedom for
    each item, over that with one for each unit. A few successes, such as one or two in different units, look
    independent however correlated items are, so the design effect cannot be estimated from them: with 40 units of 10
    items, a share of 2 % and a correlation of 0.5, an interval from the estimate covered the truth 88 % of the time.
    Where the share `is_scarce`, the items of a unit count as perfectly correlated.

    Source: Korn and Graubard (1998), for the ratio of quantiles.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) unit of each item.
        level: of the interval that the number is for.

    Returns:
        A number in [1, n]; where the share is scarce at most `effective_units`.
    """
    units, all_alike = n_units(groups), effective_units(groups)
    if units < 2 or bool((values == values[0]).all()):
        return all_alike
    of_items, of_units = (scipy.special.stdtrit(k - 1.0, (1.0 + level) / 2.0) for k in (len(values), units))
    number = max(1.0, effective_number(values, groups) * float(of_items / of_units) ** 2)
    return min(all_alike, number) if is_scarce(values, groups) else number


def is_rare(values: Tensor, groups: Tensor | Units | None) -> bool:
    """Whether too few units have a success, or too few have a failure, for a bootstrap.

    Where all of a few units have both, a bootstrap that is widened for their number is good enough.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) long unit of each item; None where each item is a unit.
    """
    n_with, n_units = _rarer(values, groups)
    return n_with < min(RARE_UNITS, n_units)


def is_scarce(values: Tensor, groups: Tensor | Units | None) -> bool:
    """Whether fewer than `RARE_UNITS` units, and fewer than one in four, have a success, or a failure.

    Args:
        values: (n,) scores in [0, 1].
        groups: (n,) long unit of each item; None where each item is a unit.
    """
    n_with, n_units = _rarer(values, groups)
    return n_with < min(RARE_UNITS, n_units / 4)


def is_seldom(values: Tensor, groups: Tensor | Units | None) -> bool:
    """Whether fewer than `RARE_UNITS` units, and fewer than one in two, have any value but 0.

    Args:
        values: (n,) scores or differences.
        groups: (n,) long unit of each item; None where each item is a unit.
    """
    sums, _ = unit_sums(values.abs()[:, None], groups)
    return int((sums > 0.0).sum()) < min(RARE_UNITS, len(sums) / 2)


def _rarer(values: Tensor, groups: Tensor | Units | None) -> tuple[int, int]:
    """How many units have a success, or a failure, whichever are fewer; and how many units there are."""
    sums, sizes = unit_sums(values[:, None], groups)
    return min(int((sums > 0.0).sum()), int((sums < sizes).sum())), len(sums)


def difference_interval(values: Tensor, groups: Tensor | Units, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a mean difference of two shares where few units differ, from the exact bounds of both its sides.

    A difference in [-1, 1] is its positive part minus its negative part, each a share with an exact interval. The
    distances of these bounds from the estimates are added in squares, as both are seldom at their bounds together.

    Source: Newcombe (1998), doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I; Zou and Donner
    (2008), "Construction of confidence limits about effect measures", doi:10.1002/sim.3095.

    Args:
        values: (n,) differences in [-1, 1], one an item.
        groups: (n,) unit of each item.
        level: nominal share of true differences inside, in (0, 1).

    Returns:
        low and high, in [-1, 1].

    Example:
        >>> import torch
        >>> [round(bound, 3) for bound in difference_interval(torch.zeros(58), torch.arange(58))]
        [-0.062, 0.062]
    """
    parts = [part.clamp_min(0.0).double() for part in (values, -values)]
    gained, lost = (
        (float(part.mean()), share_interval(float(part.mean()), exact_number(part, groups, level), level))
        for part in parts
    )
    return _of_difference(*gained, *lost)


def _of_difference(
    first: float, of_first: tuple[float, float], second: float, of_second: tuple[float, float]
) -> tuple[float, float]:
    """Interval of first - second from the interval of each, with the distances of the bounds squared and added."""
    return (
        first - second - math.hypot(first - of_first[0], of_second[1] - second),
        first - second + math.hypot(of_first[1] - first, second - of_second[0]),
    )


def rare_difference_interval(
    rare: Tensor, averaged: Tensor, groups: Tensor | Units, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of a rare share minus the mean of scores averaged over draws, which vary little from item to item.

    Most differences of such scores are small and of one sign, and a few are large and of the other: too skewed for a
    bootstrap and for sign flips, which reject 14 % at a nominal 5 % for 40 items with a share of 5 %. The share has its
    exact interval. The averaged scores have Student's interval over units, or an exact one where few units are above 0.
    The distances of the bounds from the estimates are added in squares.

    Source: Zou and Donner (2008), "Construction of confidence limits about effect measures", doi:10.1002/sim.3095.

    Args:
        rare: (n,) scores in [0, 1] that are `is_scarce`.
        averaged: (n,) scores in [0, 1] of the same items, each a mean over draws.
        groups: (n,) unit of each item.
        level: nominal share of true differences inside, in (0, 1).

    Returns:
        low and high, in [-1, 1].

    Example:
        >>> import torch
        >>> low, high = rare_difference_interval(torch.zeros(58), torch.full((58,), 0.01), torch.arange(58))
        >>> round(low, 3), round(high, 3)
        (-0.01, 0.052)
    """
    share, mean = float(rare.double().mean()), float(averaged.double().mean())
    exact = share_interval(share, exact_number(rare, groups, level), level)
    return _of_difference(share, exact, mean, _mean_interval(averaged.double(), groups, level))


def _mean_interval(values: Tensor, groups: Tensor | Units, level: float) -> tuple[float, float]:
    """Interval of the mean of scores in [0, 1]: exact where few units have any, Student's elsewhere."""
    mean, units = float(values.mean()), n_units(groups)
    if is_seldom(values, groups):
        return share_interval(mean, exact_number(values, groups, level), level)
    sums, sizes = unit_sums(values[:, None], groups)
    spread = float((sums - mean * sizes).square().sum()) * units / max(units - 1, 1)
    reach = math.sqrt(spread) / len(values) * float(scipy.special.stdtrit(max(units - 1.0, 1.0), (1.0 + level) / 2.0))
    return mean - reach, mean + reach


def rare_difference_p(rare: Tensor, averaged: Tensor, groups: Tensor | Units) -> float:
    """Two-sided p that a rare share equals the mean of averaged scores: 1 - level of the interval that ends at zero.

    Args:
        rare: (n,) scores, as `rare_difference_interval` takes them.
        averaged: (n,) scores of the same items.
        groups: (n,) unit of each item.

    Returns:
        p in [1e-12, 1].
    """
    # Takes a fifth of a second to load, and few cells come here.
    from scipy.optimize import brentq

    side = 0 if float(rare.double().mean()) >= float(averaged.double().mean()) else 1

    def beyond_zero(log_p: float) -> float:
        bound = rare_difference_interval(rare, averaged, groups, 1.0 - math.exp(log_p))[side]
        return bound if side == 0 else -bound

    least, most = math.log(1e-12), math.log(0.999)
    if beyond_zero(most) <= 0.0:
        return 1.0
    return math.exp(least if beyond_zero(least) > 0.0 else brentq(beyond_zero, least, most, xtol=1e-6))
