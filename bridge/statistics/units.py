"""Units of inference: items of one unit depend on each other, different units do not."""

import torch
from torch import Tensor

from bridge.errors import FitError


class Units:
    """The unit of each of n items, sorted out once for all scores of these items.

    Args:
        groups: (n,) the unit of each item, any labels.

    Attributes:
        index: (n,) number of the unit of each item, from 0 on.
        sizes: (g, 1) float64 items of each unit.
        effective: `effective_units`.
    """

    def __init__(self, groups: Tensor) -> None:
        labels, self.index = groups.unique(return_inverse=True)
        ones = torch.ones(len(groups), 1, dtype=torch.float64, device=groups.device)
        self.sizes = ones.new_zeros(len(labels), 1).index_add_(0, self.index, ones)
        self.effective = effective_units(groups)

    def __len__(self) -> int:
        return len(self.sizes)


def n_units(groups: Tensor | Units) -> int:
    """How many units the items are from.

    Args:
        groups: (n,) the unit of each item, any labels.
    """
    return len(groups) if isinstance(groups, Units) else len(groups.unique())


def effective_units(groups: Tensor | Units) -> float:
    """Effective number of units: (sum of sizes)**2 / sum of squared sizes.

    This many units of equal size would give a mean of the same variance, if the items of a unit are perfectly
    correlated.

    Source: Kish (1965), "Survey Sampling", section 5.4.

    Args:
        groups: (n,) the unit of each item, any labels.

    Example:
        >>> effective_units(torch.tensor([0, 0, 1, 1])), effective_units(torch.tensor([0, 0, 0, 1]))
        (2.0, 1.6)
    """
    if isinstance(groups, Units):
        return groups.effective
    sizes = groups.unique(return_counts=True)[1].double()
    return float(sizes.sum().square() / sizes.square().sum())


def unit_sums(values: Tensor, groups: Tensor | Units | None) -> tuple[Tensor, Tensor]:
    """Sum the values of each unit (g, c) and count its items (g, 1); without groups each item is a unit.

    Raises:
        FitError: no rows, values that are not finite, or a number of labels other than that of the rows.
    """
    check_scores(values)
    values = values.to(torch.float64)
    if groups is None:
        return values, values.new_ones(len(values), 1)
    shape = groups.index.shape if isinstance(groups, Units) else groups.shape
    if shape != values.shape[:1]:
        raise FitError(f"groups have shape {tuple(shape)}; wanted ({len(values)},): give one label an item")
    units = groups if isinstance(groups, Units) else Units(groups)
    index, sizes = units.index.to(values.device), units.sizes.to(values.device)
    return values.new_zeros(len(units), values.shape[1]).index_add_(0, index, values), sizes


def check_scores(values: Tensor) -> None:
    """Check that scores are a finite matrix with a row for each item.

    Raises:
        FitError: another shape, no row, or values that are not finite.
    """
    if values.ndim != 2 or len(values) == 0:
        raise FitError(f"scores have shape {tuple(values.shape)}; wanted (n, c): give at least one item")
    if not torch.isfinite(values).all():
        n_bad = int((~torch.isfinite(values)).any(dim=1).sum())
        raise FitError(
            f"{n_bad} of {len(values)} items have NaN or infinite scores; wanted finite ones: "
            "leave those items out of every side of the comparison"
        )


def check_resamples(n_resamples: int) -> None:
    """Check that the number of resamples is at least 1.

    Raises:
        FitError: it is not.
    """
    if n_resamples < 1:
        raise FitError(f"number of resamples is {n_resamples}; wanted at least 1: give 1000 or more")
