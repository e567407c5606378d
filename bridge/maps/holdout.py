"""Validation rows: fit rows that are held out to choose options by, and share no group with the rows fitted on."""

import torch
from torch import Tensor

from bridge.errors import FitError


def grouped(n: int, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Number the groups of n rows from 0 on.

    Args:
        n: number of rows.
        groups: (n,) integer label of each row, or None where each row is a group of its own.

    Returns:
        The number of each row's group (n,), and the number of rows of each group.

    Raises:
        FitError: fewer than two groups, so that none can be left out.
    """
    labels = torch.arange(n) if groups is None else groups
    _, members, sizes = labels.unique(return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        what = "fit rows" if groups is None else f"groups among {n} fit rows"
        raise FitError(f"got {len(sizes)} {what}; wanted at least 2, one of them to hold back: fit on more items")
    return members, sizes


def hold_back(n: int, fraction: float, seed: int, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Draw validation rows: whole groups, about a fraction of n rows.

    Groups are considered in random order; each is held out if that brings the number of rows nearer to the fraction. At
    least one group is held out and at least one is not.

    Args:
        n: number of rows.
        fraction: share of validation rows, between 0 and 1.
        seed: of the order.
        groups: (n,) integer label of each row; None: each row is a group of its own.

    Returns:
        The rows to fit on and the validation rows, as indices into 0..n-1.

    Raises:
        FitError: fewer than two groups.

    Example:
        >>> kept, held = hold_back(6, 0.4, seed=0, groups=torch.tensor([7, 7, 8, 8, 9, 9]))
        >>> len(kept), len(held), bool(held[0] // 2 == held[1] // 2)
        (4, 2, True)
    """
    members, sizes = grouped(n, groups)
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
    n_rows, n_held, wanted = sizes.tolist(), 0, fraction * n
    chosen = []
    for group in order.tolist():
        if abs(n_held + n_rows[group] - wanted) < abs(n_held - wanted):
            chosen.append(group)
            n_held += n_rows[group]
    if len(chosen) == len(order):
        chosen.pop()
    held = torch.zeros(len(order), dtype=torch.bool)
    held[chosen or int(order[sizes[order].argmin()])] = True
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    rows = rank[members].argsort(stable=True)
    is_held = held[members[rows]]
    return rows[~is_held], rows[is_held]
