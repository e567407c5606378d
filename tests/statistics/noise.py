"""Noise of known kind: single items, and items that come in units."""

import itertools

import torch
from torch import Tensor


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clustered(n_units: int, size: int, n_columns: int, *, seed: int, icc: float = 0.7) -> tuple[Tensor, Tensor]:
    """Scores of mean zero and variance one, correlated by `icc` within a unit, and the unit of each item."""
    own = gaussian(n_units, size, n_columns, seed=seed)
    shared = gaussian(n_units, 1, n_columns, seed=seed + 100_000)
    values = icc**0.5 * shared + (1.0 - icc) ** 0.5 * own
    return values.flatten(0, 1), torch.arange(n_units).repeat_interleave(size)


def over_all_flips(differences: Tensor, groups: Tensor | None = None) -> Tensor:
    """The share of all sign flips of units whose sum is at least as far from zero as the observed one."""
    labels = list(range(len(differences))) if groups is None else groups.tolist()
    names = sorted(set(labels))
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=len(names))), dtype=torch.float64)
    signs = signs[:, [names.index(label) for label in labels]]
    return ((signs @ differences).abs() >= differences.sum(0).abs() - 1e-9).double().mean(0)
