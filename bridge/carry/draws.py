"""What random controls are drawn from: rotations and permutations."""

import torch
from torch import Tensor


def haar_rows(basis_rank: int, width: int, generator: torch.Generator) -> Tensor:
    """`basis_rank` rows of a Haar-random rotation of `width` dimensions.

    The image of an orthonormal set under a Haar rotation is uniform on the Stiefel manifold, so drawing only
    these rows is exact and costs ``width * basis_rank**2`` instead of ``width**3``.

    Source: Mezzadri 2007, arXiv math-ph/0609050 (QR with the signs of R's diagonal).

    Returns:
        (basis_rank, width) float64 with orthonormal rows, on the CPU.
    """
    gauss = torch.randn(width, basis_rank, dtype=torch.float64, generator=generator)
    q, r = torch.linalg.qr(gauss)
    return (q * torch.sign(torch.diagonal(r))).T


def haar_rotated(X: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """The rows of `X` (n, d) under a Haar-random rotation into `width` dimensions.

    Unequal widths take a random semi-orthogonal matrix: a rotation of max(d, width) dimensions between
    zero-padding and truncation.

    Returns:
        (n, width) float64. Inner products are kept when ``width >= d``.
    """
    n, d = X.shape
    full = max(d, width)
    if n < d:
        r = torch.linalg.qr(X.double().T, mode="r").R
        return (r.T @ haar_rows(min(n, d), full, generator).to(X.device))[:, :width]
    return X.double() @ haar_rows(d, full, generator).to(X.device)[:, :width]


NOT_RULED_OUT = "it is not ruled out that only the kind of answer carries over"


def within(relations: Tensor) -> tuple[Tensor | None, str]:
    """The labels for a stratified permutation, or None and the reason why there are none.

    Rows that are alone in their relation, or without one, are permuted among themselves.

    Args:
        relations: (n,) integer relation of each fit row, -1 where it has none.
    """
    named = relations[relations >= 0]
    if len(named) == 0:
        return None, f"{NOT_RULED_OUT}: the items name no relation to permute inside"
    if len(named) == len(relations) and bool((relations == relations[0]).all()):
        return None, "all items are of one relation, so shuffled is the same"
    counts = torch.bincount(named)
    alone = (relations < 0) | (counts[relations.clamp_min(0)] == 1)
    if bool(alone.all()):
        return None, f"{NOT_RULED_OUT}: no two fit rows share a relation"
    return torch.where(alone, len(counts), relations), ""
