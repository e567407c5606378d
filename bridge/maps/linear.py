"""Unconstrained linear maps: minimum-norm least squares and ridge regression."""

from abc import abstractmethod

from torch import Tensor

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.solvers import thin_svd


class LeastSquares(Map):
    """W = V f(S) U^T Y, where X = U S V^T and f(s) is a filter of the singular values.

    Linear in Y, so that permuting the rows of Y needs one factorization for all permutations.
    """

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        U, s, V = self._factors(X)
        self.basis_ = V
        self.weights_ = self._filter(s, X).unsqueeze(1) * (U.T @ Y)

    def _transform(self, X: Tensor) -> Tensor:
        return (X @ self.basis_) @ self.weights_

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        U, s, V = self._factors(X)
        hat = ((X_new @ V) * self._filter(s, X)) @ U.T
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        for draw, permutation in zip(draws, permutations, strict=True):
            draw.copy_(hat @ Y[permutation])
        return draws

    def _factors(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        U, s, V, self.solver_ = thin_svd(X)
        self.rank_ = len(s)
        if not len(s):
            raise FitError(f"all {len(X)} rows of X are zero; wanted rows that differ: fit on more items")
        return U, s, V

    @abstractmethod
    def _filter(self, s: Tensor, X: Tensor) -> Tensor: ...

    def matrix(self) -> Tensor:
        """Return W (d_source, d_target) with transform(X) = X @ W; it has no intercept."""
        if not hasattr(self, "weights_"):
            raise FitError(f"{type(self).__name__} is not fitted; wanted a fitted map: call fit(X, Y) first")
        return self.basis_ @ self.weights_


class Linear(LeastSquares):
    """Least squares of minimum norm.

    Minimises ||X W - Y||_F, and among the minimisers ||W||_F: a direction that no row of X has is mapped to
    0. There is no intercept: center first (`bridge.normalize.Normalize`). With n < d it fits the rows
    exactly, which says nothing about new ones.

    Source: Penrose (1956), "On best approximate solutions of linear matrix equations",
    doi:10.1017/S0305004100030929.

    Example:
        >>> import torch
        >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
        >>> Y = X @ torch.tensor([[2.0], [3.0]])
        >>> Linear().fit(X, Y).transform(torch.tensor([[1.0, 1.0]])).round(decimals=9)
        tensor([[5.]], dtype=torch.float64)
    """

    def _filter(self, s: Tensor, X: Tensor) -> Tensor:
        return 1.0 / s


class Ridge(LeastSquares):
    """Ridge regression with a penalty that does not depend on the scale of the states.

    Minimises ||X W - Y||_F^2 + a ||W||_F^2 with a = penalty * ||X||_F^2 / min(n, d_source): the penalty is
    relative to the mean squared singular value of X, so that 1.0 halves a direction of average size. There is
    no intercept: center first. When n < d_source the work is done in the span of the rows.

    Source: Hoerl and Kennard (1970), "Ridge regression: biased estimation for nonorthogonal problems",
    doi:10.1080/00401706.1970.10488634.

    Args:
        penalty: above 0; `Linear` is the limit at 0.

    Example:
        >>> import torch
        >>> X = torch.eye(2)
        >>> Ridge(penalty=1.0).fit(X, 4 * X).transform(X).round(decimals=9)
        tensor([[2., 0.],
                [0., 2.]], dtype=torch.float64)
    """

    def __init__(self, penalty: float = 0.01) -> None:
        self.penalty = penalty

    def _filter(self, s: Tensor, X: Tensor) -> Tensor:
        if not self.penalty > 0:
            raise FitError(f"ridge penalty is {self.penalty}; wanted a number above 0: map=linear has none")
        absolute = self.penalty * X.square().sum() / min(X.shape)
        return s / (s.square() + absolute)
