"""A t test of mean differences corrected for skewness, which sign-flip tests assume to be absent."""

import math

import scipy.special
import torch
from torch import Tensor

from bridge.statistics.units import Units, unit_sums


def skewness_p(differences: Tensor, groups: Tensor | Units | None = None) -> Tensor:
    """Two-sided p that the units' mean is zero, from a t statistic corrected for skewness.

    Sign flips assume that a difference is as likely as its negative. Where differences are skewed they reject too often
    on one side, most of all at the small p that a family of many cells needs. A verdict takes the larger p of both.

    Source: Hall (1992), "On the removal of skewness by transformation", doi:10.1111/j.2517-6161.1992.tb01872.x, the
    cubic transformation.

    Args:
        differences: (n, c) differences of two scores, one row an item.
        groups: (n,) long unit of each item, any labels; None where each item is a unit.

    Returns:
        p (c,) float64 in [0, 1]; 1 where all differences are zero, 0 where all units have one and the same other sum.

    Raises:
        FitError: no rows, or values that are not finite.

    Example:
        >>> differences = torch.randn(40, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> skewness_p(differences).item() > 0.05 > skewness_p(differences + 1.0).item()
        True
    """
    sums, _ = unit_sums(differences, groups)
    n = len(sums)
    mean, squares, cubes = sums.mean(0), sums.square().mean(0), sums.pow(3).mean(0)
    statistic = transformed(mean, squares, cubes, n)
    p = 2.0 * scipy.special.stdtr(max(n - 1, 1), -statistic.abs().cpu().numpy())
    return torch.where(squares == 0.0, 1.0, torch.from_numpy(p).to(sums))


def transformed(mean: Tensor, squares: Tensor, cubes: Tensor, n: int) -> Tensor:
    """Hall's statistic of n units from the means of their sums, squares and cubes; elementwise."""
    variance = torch.maximum(squares - mean.square(), 1e-12 * squares)
    variance = torch.where(variance > 0.0, variance, 1.0)
    t = math.sqrt(max(n - 1, 1)) * mean / variance.sqrt()
    a = (cubes - 3.0 * mean * squares + 2.0 * mean.pow(3)) / variance.pow(1.5) / math.sqrt(n)
    # Where nearly all units are one value the skewness has no meaning beyond its largest possible size.
    a = a.clamp(-1.0, 1.0)
    return t + a * t.square() / 3.0 + a.square() * t.pow(3) / 27.0 + a / 6.0
