"""Prediction through canonical correlations."""

import math
from dataclasses import dataclass

from torch import Tensor

from bridge.errors import FitError
from bridge.maps.factored import Factored
from bridge.maps.least_squares import Design, design_of_products, design_of_rows
from bridge.maps.moments import Moments
from bridge.svd import svd


class CCA(Factored):
    """Predict the target from its canonical correlations with the source.

    With X = U S V^T, Y = P T Q^T and relative penalties a, b as in `Ridge`, the canonical correlations are the
    singular values of K = S (S^2 + a)^{-1/2} U^T P (T^2 + b)^{-1/2} T = L diag(rho) M^T. The map whitens x, keeps
    the k most correlated pairs, shrinks each by its correlation, and colours the result as the target is:
    x V (S^2 + a)^{-1/2} L_k diag(rho_k) M_k^T (T^2 + b)^{1/2} Q^T. With all pairs this is ridge regression, so
    that what CCA adds is the choice of pairs. There is no intercept: center first. `inverse` is the
    pseudo-inverse.

    Source: Hotelling (1936), "Relations between two sets of variates", doi:10.1093/biomet/28.3-4.321; with
    penalties, Vinod (1976), "Canonical ridge and econometrics of joint production",
    doi:10.1016/0304-4076(76)90010-5; for prediction, Breiman and Friedman (1997), "Predicting multivariate
    responses in multiple linear regression", doi:10.1111/1467-9868.00054.

    Args:
        n_components: k, from 1 to the number of directions that the rows of both sides hold; None for all.
        penalty: at least 0, for both sides.

    Attributes:
        correlations_: (k,) in [0, 1], descending.

    Example:
        >>> import torch
        >>> X = torch.tensor([[1.0, 2.0], [-1.0, 1.0], [0.0, -3.0]])
        >>> CCA(n_components=2, penalty=0.0).fit(X, X.flip(1)).transform(X[:1]).round(decimals=9)
        tensor([[2., 1.]], dtype=torch.float64)
    """

    streams = True
    correlations_: Tensor

    def __init__(self, n_components: int | None = 32, penalty: float = 0.01) -> None:
        self.n_components = n_components
        self.penalty = penalty
        self.can_rotate = n_components is None and penalty == 0

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        source, target = self._sides(X, Y)
        self.solver_ = source.design.solver
        self._keep(source, target, source.design.coordinates(target.rows))

    def _fit_moments(self, moments: Moments) -> None:
        self._check()
        source, target = (
            self._side(design_of_products(gram, moments.n, moments.center, eps))
            for gram, eps in (
                (moments.gram_source, moments.eps_source),
                (moments.gram_target, moments.eps_target),
            )
        )
        self._check_rank(source, target)
        cross = source.design.V.T @ moments.cross @ target.design.V
        self.solver_ = "moments"
        self._keep(source, target, cross / source.design.s.unsqueeze(1) / target.design.s)

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        source, target = self._sides(X, Y)
        located = X_new @ source.design.V
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        for draw, permutation in zip(draws, permutations, strict=True):
            left, right, _ = self._factors(source, target, source.design.coordinates(target.rows[permutation]))
            draw.copy_(((located @ left) @ right) @ target.design.V.T)
        return draws

    def _keep(self, source: "_Side", target: "_Side", overlap: Tensor) -> None:
        left, right, self.correlations_ = self._factors(source, target, overlap)
        self.rank_ = len(self.correlations_)
        self.left_, self.right_ = source.design.V @ left, right @ target.design.V.T

    def _factors(self, source: "_Side", target: "_Side", overlap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        K = source.shrink.unsqueeze(1) * overlap * target.shrink
        L, rho, Mh = svd(K)
        k = self._n_kept(source, target)
        return L[:, :k] * rho[:k] / source.root.unsqueeze(1), Mh[:k] * target.root, rho[:k]

    def _sides(self, X: Tensor, Y: Tensor) -> tuple["_Side", "_Side"]:
        self._check()
        source, target = (
            self._side(design_of_rows(rows, name, eps)) for rows, name, eps in zip((X, Y), "XY", self._eps, strict=True)
        )
        self._check_rank(source, target)
        return source, target

    def _side(self, design: Design) -> "_Side":
        root = (design.s.square() + design.absolute(self.penalty)).sqrt()
        return _Side(design, root, design.s / root)

    def _n_kept(self, source: "_Side", target: "_Side") -> int:
        most = min(len(source.root), len(target.root))
        return most if self.n_components is None else self.n_components

    def _check(self) -> None:
        if not (self.penalty >= 0 and math.isfinite(self.penalty)):
            raise FitError(f"CCA penalty is {self.penalty}; wanted a number that is at least 0: change map.penalty")

    def _check_rank(self, source: "_Side", target: "_Side") -> None:
        most = min(len(source.root), len(target.root))
        if not 1 <= self._n_kept(source, target) <= most:
            raise FitError(
                f"CCA n_components is {self.n_components}; wanted 1 to {most}, "
                "the number of directions that the rows of both sides hold: choose fewer or fit on more items"
            )

    def _n_parameters(self) -> int:
        return self.rank_ * (self.width_source_ + self.width_target_ - self.rank_)


@dataclass(frozen=True)
class _Side:
    """One side's factorization, the square roots of its penalised variances, and what whitening leaves of it."""

    design: Design
    root: Tensor
    shrink: Tensor

    @property
    def rows(self) -> Tensor:
        assert self.design.U is not None
        return self.design.U
