"""Procrustes similarity: how near two sets of states come to each other under the best rotation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bridge.maps.solvers import row_basis
from bridge.similarity.scorer import Scorer, check_rows
from bridge.similarity.states import LayerStates


def procrustes_similarity(X: Tensor, Y: Tensor) -> float:
    """Cosine between X and Y, as vectors of n d numbers, under the best rotation of one of them.

    max over orthogonal R of <X R, Y> / (|X| |Y|) = |X^T Y|_* / (|X| |Y|), both centered, the narrower one padded with
    zeros. The same under rotation, reflection, shift and isotropic scale of either side.

    Two distances follow from this cosine c: acos(c), the angular shape metric of Williams et al., and 2 - 2c, the
    squared Procrustes distance of Ding et al. between states scaled to length 1.

    Source: Williams, Kunz, Kornblith, Linderman (2021), "Generalized shape metrics on neural representations",
        arXiv:2110.14739; Ding, Denain, Steinhardt (2021), "Grounding representation similarity through statistical
        testing", arXiv:2108.01661.

    Args:
        X: (n, d_source).
        Y: (n, d_target).

    Returns:
        A cosine in [0, 1].

    Raises:
        FitError: fewer than four rows, unequal numbers of rows, rows that are all the same, or not finite.

    Example:
        >>> X = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
        >>> round(procrustes_similarity(X, 2 * X.flip(1) - 3), 9)
        1.0
    """
    source, target = LayerStates(X, "X"), LayerStates(Y, "Y")
    n = check_rows([source, target])
    # X = L Q with orthonormal rows Q: the norm of L_x^T L_y is that of X^T Y, and no side is larger than n.
    sides = []
    for layer in (source, target):
        rows = layer.rows
        basis = row_basis(rows.double(), layer.eps).L.to(rows.dtype) if n < rows.shape[1] else rows
        sides.append(basis)
    if sides[0].dtype != sides[1].dtype:
        sides = [side.double() for side in sides]
    size = float(torch.linalg.matrix_norm(source.rows)) * float(torch.linalg.matrix_norm(target.rows))
    return float(torch.linalg.svdvals(sides[0].T @ sides[1]).sum(dtype=torch.float64)) / size


class Procrustes(Scorer):
    """`procrustes_similarity`."""

    measures = ("procrustes",)

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        # Coordinates in the principal axes (n, r): a rotation, so that the norm is that of r x r and not d x d.
        self._source, self._target = (
            [(x.svd[0] * x.svd[1]) / x.svd[1].norm() for x in side] for side in (source, target)
        )

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        permuted = [Y[permutation] for Y in self._target]
        # Singular values span many orders here, so that eigenvalues of a Gram matrix would not be accurate enough.
        rows = [[float(torch.linalg.svdvals(X.T @ Y).sum()) for Y in permuted] for X in self._source]
        return torch.tensor(rows, dtype=torch.float64)[None]
