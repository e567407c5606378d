"""Rotations between matched rows: the Procrustes fit, many at once, and the rotations of its controls."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.carry.draws import haar_rows
from bridge.permutations import permutations
from bridge.seeds import seeded
from bridge.svd import svd

# Singular values below this share of the largest determine no direction.
RANK_TOLERANCE = 1e-13
# The rotations that stand beside a fit, in the order of tables.
NULLS = ("random", "shuffled", "shuffled_within", "spectrum")


def fit_rotations(X: Tensor, Y: Tensor, seed: int = 0) -> Tensor:
    """The orthogonal matrices that take rows closest to rows: orthogonal Procrustes, for a whole batch in one call.

    Minimises ||X R - Y||_F subject to R'R = I, reflections included. Rows should be centered. Directions that X'Y does
    not determine are mapped onto each other by a Haar-random map, so that they say nothing of either model.

    Source: Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem", doi:10.1007/BF02289451.

    Args:
        X: (..., n, d) float64.
        Y: (..., n, d) float64, row by row of the same items.
        seed: of the undetermined directions.

    Returns:
        (..., d, d).

    Example:
        >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
        >>> turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
        >>> fit_rotations(X, X @ turn).round(decimals=9) + 0.0
        tensor([[ 0.,  1.],
                [-1.,  0.]], dtype=torch.float64)
    """
    return polar(X.mT @ Y, seed)


def polar(products: Tensor, seed: int = 0) -> Tensor:
    """The orthogonal matrices R (..., d, d) that maximise tr(R'M) for products M = X'Y (..., d, d)."""
    U, values, Vh = svd(products)
    ranks = (values > RANK_TOLERANCE * values[..., :1]).sum(-1)
    d = products.shape[-1]
    for at in (ranks < d).nonzero().tolist():
        own, rank = U[tuple(at)], int(ranks[tuple(at)])
        own[:, rank:] = own[:, rank:] @ haar_rows(d - rank, d - rank, seeded(seed, "undetermined")).to(U)
    return U @ Vh


@dataclass(frozen=True)
class MatchedRows:
    """Centered states of both models, row by row of the same tokens.

    Attributes:
        X: (n, d) float64 of the source.
        Y: (n, d) float64 of the target.
        labels: (n,) integers; rows of `shuffled_within` stay among those of their label.
    """

    X: Tensor
    Y: Tensor
    labels: Tensor


def null_rotations(name: str, rows: MatchedRows, n_draws: int, seed: int) -> Tensor:
    """Rotations (n_draws, d, d) of a control.

    - *random*: Haar draws.
    - *shuffled*: fits between rows and freely permuted rows.
    - *shuffled_within*: fits between rows and rows permuted among those of the same label.
    - *spectrum*: the principal axes of the source onto those of the target in the order of their variance, with random
      signs. Such a rotation matches both covariances as well as any can, and uses no pairing of rows.

    Args:
        name: one of `NULLS`.
        rows: those of the fit.
        n_draws: how many.
        seed: with the name it seeds the draws, whatever other controls there are.
    """
    generator = seeded(seed, name)
    X, Y = rows.X, rows.Y
    d = X.shape[1]
    if name == "random":
        return torch.stack([haar_rows(d, d, generator) for _ in range(n_draws)]).to(X)
    if name == "spectrum":
        signs = torch.randint(0, 2, (n_draws, d), generator=generator).to(X) * 2 - 1
        return (axes(X) * signs[:, None]) @ axes(Y).T
    labels = rows.labels if name == "shuffled_within" else None
    orders = permutations(len(X), n_draws, generator, labels)
    return polar(torch.stack([X.T @ Y[order.to(Y.device)] for order in orders]), seed)


def axes(X: Tensor) -> Tensor:
    """The principal axes of centered rows X (n, d) as columns (d, d), that of the largest variance first."""
    return torch.linalg.eigh(X.T @ X).eigenvectors.flip(1)
