"""Permutations of rows: free, or stratified, where rows move only among those of their own label.

Source: Winkler, Webster, Vidaurre, Nichols and Smith (2015), "Multi-level block permutation", NeuroImage 123,
doi:10.1016/j.neuroimage.2015.05.092, for permutation within blocks of exchangeable rows.
"""

import torch
from torch import Tensor

from bridge.errors import FitError


def permutations(
    n: int, n_draws: int, generator: torch.Generator, labels: Tensor | None = None, at_once: bool = False
) -> Tensor:
    """Permutations of n rows, drawn uniformly; with labels (n,) rows move only among those of their own label.

    Args:
        n: rows.
        n_draws: how many, at least 1.
        generator: seeded, on the CPU; its state advances.
        labels: (n,) integers, or None.
        at_once: sort one table of random numbers, which is faster for many draws. It gives other draws, and fewer or
            more of them then change the later ones.

    Returns:
        (n_draws, n) long.

    Raises:
        FitError: fewer than one draw.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> permutations(4, 1, g, torch.tensor([0, 0, 1, 1])).tolist()[0][:2] in ([0, 1], [1, 0])
        True
    """
    if n_draws < 1:
        raise FitError(f"n_permutations is {n_draws}; wanted at least 1: give 100, for example")
    if at_once:
        draws = torch.rand(n_draws, n, dtype=torch.float64, generator=generator).argsort(1)
    else:
        draws = torch.stack([torch.randperm(n, generator=generator) for _ in range(n_draws)])
    if labels is None:
        return draws
    return stratified(draws, labels)


def stratified(permutations: Tensor, labels: Tensor) -> Tensor:
    """Turn permutations of all rows into permutations within labels.

    The rows of one label come in the order in which `permutations` has them, so uniform draws stay uniform.

    Args:
        permutations: (p, n) long, each row a permutation of 0..n-1.
        labels: (n,) integer label of each row, such as its relation.

    Returns:
        (p, n) long; labels[result[i]] equals labels for every i.

    Example:
        >>> stratified(torch.tensor([[3, 1, 0, 2]]), torch.tensor([0, 0, 1, 1])).tolist()
        [[1, 0, 3, 2]]
    """
    places = labels.argsort(stable=True)
    by_label = permutations.gather(1, labels[permutations].argsort(dim=1, stable=True))
    result = torch.empty_like(permutations)
    result[:, places] = by_label
    return result
