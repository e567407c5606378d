"""Checks of states and permutations before a fit."""

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.normalize import check_finite


def check_rows(X: Tensor, Y: Tensor) -> None:
    """Check that X and Y are matrices with the same number of rows.

    Raises:
        FitError: not (n, d_source) and (n, d_target).
    """
    for states, name in ((X, "X"), (Y, "Y")):
        if states.ndim != 2:
            raise FitError(
                f"{name} has shape {tuple(states.shape)}; wanted (n, d): pass one state a row, one row an item"
            )
    if len(X) != len(Y):
        raise FitError(f"X has {len(X)} rows and Y has {len(Y)}; wanted as many: row i of both must be the same item")


def check_width(states: Tensor, wanted: int, side: str) -> None:
    """Refuse states of another width than those of the fit.

    Raises:
        FitError: another width.
    """
    if states.shape[-1] != wanted:
        raise FitError(
            f"the states to map have width {states.shape[-1]}; wanted {wanted}, "
            f"the width of the fit: pass states of the {side} model"
        )


def check_equal_widths(name: str, d_source: int, d_target: int) -> None:
    """Refuse widths that differ, for a map that is defined only where they are equal.

    Raises:
        FitError: they differ.
    """
    if d_source != d_target:
        raise FitError(
            f"{name} got states of width {d_source} (source) and {d_target} (target); wanted equal widths: "
            "choose a map that takes unequal ones, such as map=orthogonal"
        )


def check_finite_rows(X: Tensor, Y: Tensor) -> None:
    """Refuse rows that are not finite, or no rows at all."""
    check_finite(X, "X")
    check_finite(Y, "Y")


def checked_permutations(permutations: Tensor, n: int) -> Tensor:
    """The permutations; each row must be a permutation of 0..n-1.

    Raises:
        FitError: another shape, or a row that is no permutation.
    """
    in_order = torch.arange(n, device=permutations.device)
    if permutations.ndim != 2 or not torch.equal(
        permutations.sort(dim=1).values, in_order.expand(len(permutations), n)
    ):
        raise FitError(
            f"permutations has shape {tuple(permutations.shape)}; wanted (p, {n}): give permutations of 0..{n - 1}"
        )
    return permutations


def checked_groups(groups: Tensor | None, n: int) -> Tensor | None:
    """The labels on the CPU, or None if every row is a group of its own.

    Raises:
        FitError: not one label for each of n rows.
    """
    if groups is None:
        return None
    if groups.shape != (n,):
        raise FitError(f"groups has shape {tuple(groups.shape)}; wanted ({n},): one label a row")
    return groups.cpu()
