"""The factorization of the source rows that all least-squares maps share."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.factored import Factored
from bridge.maps.moments import Moments
from bridge.maps.normal_equations import SINGLE_FROM, solve
from bridge.maps.solvers import EPS, fit_width, is_centered, of_products, thin_svd


@dataclass(frozen=True)
class Design:
    """X = U diag(s) V^T of rank r, from the rows or from their products.

    Attributes:
        s: (r,) singular values, descending.
        V: (d_source, r) directions that the rows hold.
        U: (n, r), or None if only products were given.
        n: number of rows.
        centered: whether the rows add up to 0, so that their mean was fitted too.
        solver: how s and V were computed.
        eps: resolution of the precision in which the rows were given.
    """

    s: Tensor
    V: Tensor
    U: Tensor | None
    n: int
    centered: bool
    solver: str
    eps: float = EPS

    def absolute(self, penalty: float) -> float:
        """Turn a penalty relative to the mean squared singular value into one for ||W||^2."""
        return penalty * float(self.s.square().sum()) / min(self.n, len(self.V))

    def coordinates(self, Y: Tensor) -> Tensor:
        """U^T Y (r, d_target) for rows Y."""
        assert self.U is not None
        return self.U.T @ Y


def design_of_rows(X: Tensor, name: str = "X", eps: float = EPS) -> Design:
    """Factor the rows X (n, d), given in a precision `eps`."""
    U, s, V, solver = thin_svd(X, eps)
    if not len(s):
        raise FitError(f"all {len(X)} rows of {name} are zero; wanted rows that differ: fit on more items")
    return Design(s, V, U, len(X), is_centered(X, eps), solver, eps)


def design_of_products(XX: Tensor, n: int, centered: bool, eps: float = EPS) -> Design:
    """Factor X^T X; directions below 1e-7 of the largest are lost in rounding, and are left out.

    So are those below the rounding of rows given in a precision `eps`.
    """
    squares, V = (part.flip(-1) for part in torch.linalg.eigh(XX))
    rank = int((squares > squares[0] * of_products(eps, max(n, len(XX)))).sum())
    if not rank:
        raise FitError(f"all {n} rows of X are the same; wanted rows that differ: fit on more items")
    return Design(squares[:rank].sqrt(), V[:, :rank], None, n, centered, "moments", eps)


class LeastSquares(Factored):
    """W = V g(S, U^T Y), where X = U S V^T and each map has its own g.

    The factorization of X is the same for every order of Y's rows.
    """

    streams = True
    # the means of both sides are fitted, too
    centers = False
    # the map is an update of the state itself
    updates = False
    # for a fit of ||X W - Y||^2 + a ||W||^2 alone, which needs no singular values
    relative_penalty: float | None = None

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        means = self._means(X, Y)
        if self.centers:
            X, Y = X - means[0], Y - means[1]
        rows = self._wanted(X, Y)
        self._check(None, Y.shape[1])
        solved = None if self.relative_penalty is None else solve(X, rows, self.relative_penalty, self._eps[0])
        if solved:
            self.left_, self.right_, self.rank_, self.solver_ = solved
            self._keep_offset(means)
            return
        design = self._design(X)
        self._keep(design, design.coordinates(rows), rows, means)

    def _fit_single(self, X: Tensor, Y: Tensor) -> bool:
        penalty = self.relative_penalty
        if self.centers or self.updates or penalty is None or min(X.shape) < SINGLE_FROM:
            return False
        self._check(None, Y.shape[1])
        solved = solve(X, Y, penalty, self._eps[0])
        if solved:
            self.left_, self.right_, self.rank_, self.solver_ = solved
        return solved is not None

    def _fit_moments(self, moments: Moments) -> None:
        if self.centers and not moments.center:
            name = type(self).__name__
            raise FitError(f"{name} fits the means itself; wanted moments about them: use Moments(center=True)")
        XX, XY = moments.gram_source, moments.cross
        zero = XX.new_zeros(())
        means = (moments.mean_source, moments.mean_target) if self.centers else (zero, zero)
        design = design_of_products(XX, moments.n, moments.center, moments.eps_source)
        self._check(design, moments.width_target)
        products = XY - fit_width(XX, moments.width_target) if self.updates else XY
        self._keep(design, (design.V.T @ products) / design.s.unsqueeze(1), None, means)

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        means = self._means(X, Y)
        X, Y = X - means[0], Y - means[1]
        design = self._design(X)
        located = (X_new - means[0]) @ design.V
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        for draw, permutation in zip(draws, permutations, strict=True):
            rows = self._wanted(X, Y[permutation])
            left, right = self._factors(design, design.coordinates(rows), rows)
            draw.copy_((located if left is None else located @ left) @ right)
        if self.updates:
            draws += fit_width(X_new, Y.shape[1])
        return draws + means[1]

    def _keep(self, design: Design, C: Tensor, rows: Tensor | None, means: tuple[Tensor, Tensor]) -> None:
        left, right = self._factors(design, C, rows)
        self.rank_, self.solver_ = len(design.s), design.solver
        self.left_, self.right_ = design.V if left is None else design.V @ left, right
        self._keep_offset(means)

    def _keep_offset(self, means: tuple[Tensor, Tensor]) -> None:
        if self.centers:
            moved = means[0] if self.left_ is None else means[0] @ self.left_
            self.offset_ = means[1] - moved @ self.right_

    def _means(self, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
        zero = X.new_zeros(())
        return (X.mean(0), Y.mean(0)) if self.centers else (zero, zero)

    def _design(self, X: Tensor) -> Design:
        self._check(None, self.width_target_)
        design = design_of_rows(X, eps=self._eps[0])
        self._check(design, self.width_target_)
        return design

    def _wanted(self, X: Tensor, Y: Tensor) -> Tensor:
        return Y - fit_width(X, Y.shape[1]) if self.updates else Y

    def _check(self, design: Design | None, d_target: int) -> None:
        """Refuse options that are out of range, before and after the rank of the rows is known."""

    @abstractmethod
    def _factors(self, design: Design, C: Tensor, Y: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Return factors (r, k) or None, and (k, d_target), with W = V left right; C is U^T Y."""
