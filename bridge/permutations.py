"""Permutations of rows, free or inside their labels."""

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
        raise FitError(f"n_permutations is {n_draws}; wanted at least 1, such as 100")
    if at_once:
        draws = torch.rand(n_draws, n, dtype=torch.float64, generator=generator).argsort(1)
    else:
        draws = torch.stack([torch.randperm(n, generator=generator) for _ in range(n_draws)])
    if labels is None:
        return draws
    # Sorted by label and then at random; the places themselves are sorted by label.
    home = labels.argsort(stable=True)
    within = torch.empty_like(draws)
    within[:, home] = draws.gather(1, labels[draws].argsort(dim=1, stable=True))
    return within
