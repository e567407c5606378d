"""A rotation between the leading principal subspaces."""

from torch import Tensor

from bridge.errors import FitError
from bridge.maps.factored import Factored
from bridge.maps.least_squares import design_of_products, design_of_rows
from bridge.maps.moments import Moments
from bridge.svd import svd


class PCAOrthogonal(Factored):
    """Orthogonal Procrustes between the top principal subspaces of both sides.

    With V (d_source, k) and U (d_target, k) the leading right singular vectors of X and of Y, maximises
    tr(R^T (X V)^T (Y U)) subject to R^T R = I (k x k), and maps x to x V R U^T. Directions of little variance,
    in which two models agree least, are dropped: they are mapped to 0. Nothing is centered: do that first.
    `inverse` is the transpose: exact on the kept subspace.

    Source: Smith, Turban, Hamblin and Hammerla (2017), "Offline bilingual word vectors, orthogonal
    transformations and the inverted softmax", arXiv 1702.03859 (dimensionality reduction).

    Args:
        n_components: k, from 1 to the number of directions that the rows of both sides hold.

    Example:
        >>> import torch
        >>> X = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
        >>> PCAOrthogonal(n_components=1).fit(X, X.flip(1)).transform(X).round(decimals=9).abs()
        tensor([[0., 3.],
                [0., 0.],
                [0., 3.]], dtype=torch.float64)
    """

    streams = True

    def __init__(self, n_components: int = 32) -> None:
        self.n_components = n_components

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        V, U = self._frames(X, Y)
        self.solver_ = "pca"
        self._keep(V, U, (X @ V).T @ (Y @ U))

    def _fit_moments(self, moments: Moments) -> None:
        V, U = (
            self._leading(design_of_products(gram, moments.n, moments.center, eps).V, side)
            for gram, eps, side in (
                (moments.gram_source, moments.eps_source, "source"),
                (moments.gram_target, moments.eps_target, "target"),
            )
        )
        self.solver_ = "moments"
        self._keep(V, U, V.T @ moments.cross @ U)

    def _keep(self, V: Tensor, U: Tensor, core: Tensor) -> None:
        self.rank_ = self.n_components
        self.left_, self.right_ = V @ _polar(core), U.T

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        V, U = self._frames(X, Y)
        source, target, located = (X @ V).T, Y @ U, X_new @ V
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        for draw, permutation in zip(draws, permutations, strict=True):
            draw.copy_(located @ _polar(source @ target[permutation]) @ U.T)
        return draws

    def _inverse(self, Y: Tensor) -> Tensor:
        assert self.left_ is not None
        return (Y @ self.right_.T) @ self.left_.T

    def _n_parameters(self) -> int:
        """Two k-frames, up to the k x k rotation that they share."""
        k = self.n_components
        return k * (self.width_source_ + self.width_target_) - k * (k + 1) - k * (k - 1) // 2

    def _frames(self, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
        V, U = design_of_rows(X, eps=self._eps[0]).V, design_of_rows(Y, "Y", self._eps[1]).V
        return self._leading(V, "source"), self._leading(U, "target")

    def _leading(self, V: Tensor, side: str) -> Tensor:
        if not 1 <= self.n_components <= V.shape[1]:
            raise FitError(
                f"PCAOrthogonal n_components is {self.n_components}; wanted 1 to {V.shape[1]}, "
                f"the number of directions that the {side} rows hold: choose fewer or fit on more items"
            )
        return V[:, : self.n_components]


def _polar(core: Tensor) -> Tensor:
    U, _, Vh = svd(core, full_matrices=True)
    return U @ Vh
