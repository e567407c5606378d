"""How far a rotation is from I, how many directions rows vary in, and how well fits of two halves of them agree."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.rotations.fits import RANK_TOLERANCE, fit_rotations

# A direction is stable where the fits of two halves of the strings map it to within this cosine.
STABLE_COSINE = 0.9


def distance(R: Tensor) -> float:
    """||R - I||_F. Haar draws have a mean near sqrt(2d) and a standard deviation near 1 / sqrt(2d)."""
    return float((R - torch.eye(len(R), dtype=R.dtype, device=R.device)).norm())


def rank(X: Tensor) -> int:
    """How many directions the centered rows X (n, d) vary in."""
    values = torch.linalg.eigvalsh(X.T @ X)
    return int((values > RANK_TOLERANCE * values[-1]).sum())


@dataclass(frozen=True)
class SplitHalf:
    """How well the fits of two halves of the strings agree.

    Attributes:
        distance: ||R1 - R2||_F over sqrt(2d); 0 for the same, about 1 for two unrelated rotations.
        n_stable: how many principal axes of the source both map to within a cosine of 0.9; only those that the rows
            vary in can be.
    """

    distance: float
    n_stable: int


def split_half(X: Tensor, Y: Tensor, half: Tensor, axes: Tensor, seed: int) -> SplitHalf:
    """Compare the rotations that are fitted on two halves of the rows.

    Args:
        X: (n, d) centered states of the source.
        Y: (n, d) of the target.
        half: (n,) whether a row belongs to the first half.
        axes: (d, d) principal axes of the source as columns.
        seed: of undetermined directions; each half has its own.
    """
    first = fit_rotations(X[half], Y[half], seed)
    second = fit_rotations(X[~half], Y[~half], seed + 1)
    there = axes[:, : rank(X)].T
    cosines = ((there @ first) * (there @ second)).sum(1)
    return SplitHalf(float((first - second).norm() / (2 * len(first)) ** 0.5), int((cosines > STABLE_COSINE).sum()))
