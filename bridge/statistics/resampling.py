"""Resamples and sign flips of units, drawn once and shared by all scores of the same items."""

from functools import cached_property

import torch
from torch import Tensor

from bridge.seeds import seeded
from bridge.statistics.flips import flips
from bridge.statistics.intervals import LEVEL, acceleration, expanded_interval, resamples
from bridge.statistics.skewness import skewness_p
from bridge.statistics.units import Units, check_resamples, unit_sums


class Resampling:
    """Intervals and p values of scores of the same items.

    Args:
        groups: (n,) unit of each item, any labels.
        n_resamples: resamples, and sign flips.
        seed: of both.

    Attributes:
        n_units: how many units there are.
        n_effective: see `units.effective_units`.

    Example:
        >>> resampling = Resampling(torch.arange(40) // 2, 999, seed=0)
        >>> resampling.n_units, resampling.flip_p(torch.ones(40, 1)).item()
        (20, 0.001)
    """

    def __init__(self, groups: Tensor, n_resamples: int, seed: int) -> None:
        check_resamples(n_resamples)
        self.groups = Units(groups)
        self.n_resamples = n_resamples
        self.seed = seed
        self.n_units = len(self.groups)
        self.n_effective = self.groups.effective

    @cached_property
    def _counts(self) -> Tensor:
        return torch.cat([*resamples(self.n_units, self.n_resamples, seeded(self.seed, "resamples"))])

    @cached_property
    def _signs(self) -> Tensor:
        return torch.cat([*flips(self.n_units, self.n_resamples, seeded(self.seed, "flips"))])

    def means(self, values: Tensor) -> Tensor:
        """Means over items (n_resamples, c) of scores (n, c); see `intervals.resampled_means`."""
        sums, sizes = unit_sums(values, self.groups)
        return (self._counts @ sums) / (self._counts @ sizes)

    def interval(
        self, means: Tensor, values: Tensor, over: Tensor | None = None, level: float = LEVEL
    ) -> tuple[Tensor, Tensor]:
        """Low (c,) and high (c,) of resampled means (n_resamples, c); see `intervals.expanded_interval`.

        Args:
            means: of `values`, or their ratios to those of `over`.
            values: (n, c) scores.
            over: (n, c) scores that they are shares of; None for means.
            level: nominal share of true means inside, in (0, 1).
        """
        return expanded_interval(means, self.n_effective, level, acceleration(values, self.groups, over))

    def p(self, differences: Tensor) -> Tensor:
        """Two-sided p (c,) of differences (n, c): the larger of `flip_p` and `skewness.skewness_p`."""
        return torch.maximum(self.flip_p(differences), skewness_p(differences, self.groups))

    def flip_p(self, differences: Tensor) -> Tensor:
        """Sign-flip p (c,) of differences (n, c); see `flips.paired_permutation_p`."""
        sums, _ = unit_sums(differences, self.groups)
        observed = sums.sum(dim=0).abs() - 1e-12 * sums.abs().sum(dim=0)
        hits = ((self._signs @ sums).abs() >= observed).sum(dim=0)
        return (1.0 + hits.double()) / (1.0 + self.n_resamples)
