"""Canonical correlations: SVCCA and PWCCA."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.scorer import Options, Scorer
from bridge.similarity.states import LayerStates


def canonical_correlations(X: Tensor, Y: Tensor) -> Tensor:
    """Canonical correlations: of the pairs of directions that correlate most, each uncorrelated with the other pairs.

    They are the singular values of U_x^T U_y, U being orthonormal bases of the centered columns. With ranks r_x and
    r_y, at least r_x + r_y - (n-1) of them are exactly 1 *whatever the data*: two such subspaces of n-1 dimensions
    intersect. The same under every invertible affine map of either side.

    Source: Hotelling (1936), doi:10.1093/biomet/28.3-4.321; Bjorck and Golub (1973),
        doi:10.1090/S0025-5718-1973-0348991-3, for the computation.

    Args:
        X: (n, d_source).
        Y: (n, d_target).

    Returns:
        (min(r_x, r_y),) correlations in [0, 1], largest first.

    Raises:
        FitError: fewer than four rows, rows that are all the same, or not finite.
    """
    (U, _, _), (V, _, _) = LayerStates(X, "X").svd, LayerStates(Y, "Y").svd
    return torch.linalg.svdvals(U.T @ V).clamp(0.0, 1.0)


def svcca(X: Tensor, Y: Tensor, variance: float = 0.99, n_components: int | None = None) -> float:
    """Mean canonical correlation of the leading principal components.

    Each side keeps as many components as hold `variance` of its variance, or `n_components`; the mean is over the
    smaller number. The same under rotation, reflection, shift and isotropic scale; under other linear maps only as far
    as they leave the kept subspace alone (all of them with variance=1). Near 1 for unrelated data where n is not large
    against the number of kept components.

    Source: Raghu, Gilmer, Yosinski, Sohl-Dickstein (2017), arXiv:1706.05806.

    Args:
        X: (n, d_source).
        Y: (n, d_target).
        variance: share that is kept, in (0, 1].
        n_components: number that is kept on both sides in place of it, at most the rank of either.

    Returns:
        A mean correlation in [0, 1].

    Raises:
        FitError: fewer than four rows, unequal numbers of rows, rows that are all the same, or not finite.

    Example:
        >>> X = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
        >>> round(svcca(X, 2 * X.flip(1) - 3), 9)
        1.0
    """
    return Svcca.of(X, Y, Options(variance=variance, n_components=n_components)).score()


def pwcca(X: Tensor, Y: Tensor) -> float:
    """Canonical correlations weighted by how much of the states each direction accounts for.

    sum_i w_i rho_i / sum_i w_i with w_i = sum_j |<h_i, x_j>|, h_i the canonical variates and x_j the centered columns
    of the side of smaller rank, of X where ranks are equal. So it is not symmetric. It is the same under every
    invertible affine map of the other side. Of the weighted side it is the same under shift and isotropic scale alone:
    the weights add up absolute values feature by feature, and *a rotation changes them*.

    With ranks r + s > n - 1 at least r + s - (n-1) correlations are 1 whatever the data, and the paper leaves open
    which variates belong to equal ones. Here they are the principal axes of the weighted side among them, so that the
    order of the rows decides nothing; but the value says little.

    Source: Morcos, Raghu, Bengio (2018), arXiv:1806.05759, section 3.

    Args:
        X: (n, d_source).
        Y: (n, d_target).

    Returns:
        A weighted mean correlation in [0, 1].

    Raises:
        FitError: fewer than four rows, unequal numbers of rows, rows that are all the same, or not finite.
    """
    return Pwcca.of(X, Y).score()


class Svcca(Scorer):
    """`svcca`."""

    measures = ("svcca",)

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        self._source, self._target = (
            [leading(layer, self.options.variance, self.options.n_components) for layer in side]
            for side in (source, target)
        )

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        permuted = [V[permutation] for V in self._target]
        rows = [[total_correlation(U.T @ V) / min(U.shape[1], V.shape[1]) for V in permuted] for U in self._source]
        return torch.tensor(rows, dtype=torch.float64)[None]


class Pwcca(Scorer):
    """`pwcca`."""

    measures = ("pwcca",)

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        # Basis of the columns (n, r), and the columns in that basis (r, d).
        self._source, self._target = (
            [(x.svd[0], x.svd[1][:, None] * x.svd[2]) for x in side] for side in (source, target)
        )

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        permuted = [(V[permutation], columns) for V, columns in self._target]
        rows = [[self._score(U, x, V, y) for V, y in permuted] for U, x in self._source]
        return torch.tensor(rows, dtype=torch.float64)[None]

    def _score(self, U: Tensor, x: Tensor, V: Tensor, y: Tensor) -> float:
        M, columns = (U.T @ V, x) if U.shape[1] <= V.shape[1] else (V.T @ U, y)
        # Squared correlations, ascending, and the variates in the basis of the smaller side.
        squares, H = torch.linalg.eigh(M @ M.T)
        held = H.T @ columns
        n_free = len(M) - max(0, sum(M.shape) - (self.n - 1))
        if 0 < n_free < len(M):
            forced = held[n_free:]
            held[n_free:] = torch.linalg.eigh(forced @ forced.T).eigenvectors.T @ forced
        weights = held.abs().sum(1)
        return float((weights * squares.clamp(0.0, 1.0).sqrt()).sum() / weights.sum())


def leading(layer: LayerStates, variance: float, n_components: int | None = None) -> Tensor:
    """Orthonormal basis (n, r) of the fewest principal components that hold `variance` of the variance, or of r.

    Raises:
        FitError: fewer than one component, or more than the rank of the layer.
    """
    U, s, _ = layer.svd
    if n_components is not None:
        if not 1 <= n_components <= len(s):
            raise FitError(
                f"svcca n_components is {n_components}; wanted 1 to {len(s)}, the rank of {layer.name}: change it"
            )
        return U[:, :n_components]
    held = s.square().cumsum(0) / s.square().sum()
    return U[:, : int((held < variance - 1e-12).sum()) + 1]


def total_correlation(M: Tensor) -> float:
    """Sum of the singular values of M, a product of two orthonormal bases.

    Computed from the eigenvalues of the smaller Gram matrix, in half the time of a singular value decomposition of M.
    With a largest singular value of at most 1 the loss of accuracy is small: a zero comes out as 1e-8 at most.
    """
    gram = M @ M.T if M.shape[0] <= M.shape[1] else M.T @ M
    return float(torch.linalg.eigvalsh(gram).clamp(0.0, 1.0).sqrt().sum())
