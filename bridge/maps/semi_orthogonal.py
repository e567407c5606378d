"""Least squares under R^T R = I where the source is wider than the target."""

from typing import Any

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.moments import Moments
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.polar import polar_factor, worth_iterating
from bridge.svd import svd

# a penalty on the distance from the last iterate, relative to the mean variance of the source, for undetermined
# directions
PULL = 1e-3
# size of the random perturbation of the start
TILT = 1e-2


class SemiOrthogonal(Orthogonal):
    """The matrix of orthonormal columns that takes X closest to Y.

    Minimises ||X R - Y||_F subject to R^T R = I for d_source > d_target, which `Orthogonal` does not do there: it
    maximises the trace, and keeps d_target directions of the source without regard to their variance. For
    d_source <= d_target it is `Orthogonal`, which is the optimum.

    Y gets d_source - d_target more columns, and the square problem is solved repeatedly with those columns set to their
    current values of X R: each step lowers the residual. Steps are taken from a point ahead (Nesterov's momentum, given
    up for a step whenever the residual would rise). The problem is not convex; the steps start beside `Orthogonal`,
    whose residual is never exceeded, and end in a minimum that need not be the only one. Rows with n + d_target <
    d_source are first written in a basis of that many directions, which holds the start and the rows; a step is an SVD
    of that side, 2 ms for 128 and tens of seconds for 3,000. `inverse` is the transpose.

    Source: Green and Gower (1979), "A problem with congruence", as in Gower and Dijksterhuis (2004), "Procrustes
    problems", section 5.1, doi:10.1093/acprof:oso/9780198510581.001.0001; ten Berge and Knol (1984),
    "Orthogonal rotations to maximal agreement for two or more matrices of different column orders",
    doi:10.1007/BF02294205; for the momentum, O'Donoghue and Candès (2015), "Adaptive restart for accelerated
    gradient schemes", doi:10.1007/s10208-013-9150-3.

    Args:
        n_steps: steps at most.
        tolerance: stop once a step lowers ||X R - Y||_F^2 by less than this share of ||Y||_F^2.

    Attributes:
        matrix_: (d_source, d_target), or None where the map is `Orthogonal`.
        solver_: ends with the number of steps, and says so when they did not suffice.

    Example:
        >>> X = torch.tensor([[9.0, 1.0], [-9.0, 0.0], [0.0, -1.0]])
        >>> fitted = SemiOrthogonal().fit(X, X[:, 1:])
        >>> fitted.matrix().round(decimals=3)
        tensor([[0.],
                [1.]], dtype=torch.float64)
    """

    matrix_: Tensor | None

    def __init__(self, n_steps: int = 500, tolerance: float = 1e-6) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.tolerance = tolerance

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        self._check_steps()
        super()._fit(X, Y)
        self.matrix_ = None
        if X.shape[1] <= Y.shape[1]:
            return
        start = self.matrix()
        if sum(Y.shape) >= X.shape[1]:
            self._improve(X.T @ X, X.T @ Y, Y.square().sum(), start)
            return
        Z = torch.linalg.qr(torch.cat([X.T, torch.eye(*start.shape, dtype=X.dtype, device=X.device)], dim=1)).Q
        rows = X @ Z
        self._improve(rows.T @ rows, rows.T @ Y, Y.square().sum(), Z.T @ start)
        assert self.matrix_ is not None
        self.matrix_ = Z @ self.matrix_

    def _fit_single(self, X: Tensor, Y: Tensor) -> bool:
        return False

    def _fit_moments(self, moments: Moments) -> None:
        self._check_steps()
        super()._fit_moments(moments)
        self.matrix_ = None
        if moments.width_source > moments.width_target:
            self._improve(moments.gram_source, moments.cross, moments.gram_target.trace(), self.matrix())

    def _improve(self, A: Tensor, B: Tensor, total: Tensor, start: Tensor) -> None:
        """Lower tr(R^T A R) - 2 tr(R^T B) from `start` (d, d_target) on, with A = X^T X and B = X^T Y."""
        d_target = B.shape[1]
        rest = torch.linalg.qr(start, mode="complete").Q[:, d_target:]
        Q = torch.cat([start, rest], dim=1)
        # if the start keeps the whole span of the rows, no step would leave it, though a smaller part may be better
        tilt = torch.randn(Q.shape, dtype=Q.dtype, generator=torch.Generator().manual_seed(0)).to(Q.device)
        untilted, Q = Q, _nearest(Q + TILT / len(Q) ** 0.5 * tilt)
        pull = PULL * float(A.trace()) / len(A)

        def residual(Q: Tensor) -> float:
            R = Q[:, :d_target]
            return float(((A @ R - 2 * B) * R).sum() + total)

        before, last, pace = Q, residual(Q), 0
        enough, step = False, 0
        while step < self.n_steps and not enough:
            step += 1
            ahead = Q + pace / (pace + 3) * (Q - before)
            new = _nearest(torch.cat([B, A @ ahead[:, d_target:]], dim=1) + pull * ahead)
            reached = residual(new)
            if reached > last and pace:
                # the extrapolated step raised the residual; the next step has no momentum and cannot raise it
                before, pace = Q, 0
                continue
            enough = last - reached <= self.tolerance * float(total)
            before, Q, last, pace = Q, new, reached, pace + 1
        self.solver_ += f", {step} steps" if enough else f", stopped after {self.n_steps} steps without converging"
        self.matrix_ = (Q if last < residual(untilted) else untilted)[:, :d_target]

    def matrix(self) -> Tensor:
        """Return the matrix (d_source, d_target)."""
        self._check_fitted()
        return super().matrix() if self.matrix_ is None else self.matrix_.clone()

    def _transform(self, X: Tensor) -> Tensor:
        return super()._transform(X) if self.matrix_ is None else X @ self.matrix_

    def _inverse(self, Y: Tensor) -> Tensor:
        return super()._inverse(Y) if self.matrix_ is None else Y @ self.matrix_.T

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        self._check_steps()
        if X.shape[1] <= Y.shape[1]:
            return super()._transform_permuted(X, Y, permutations, X_new)
        return Map._transform_permuted(self, X, Y, permutations, X_new)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return super()._state() if self.matrix_ is None else Map._state(self)

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        (Map if "matrix_" in tensors else Orthogonal)._restore(self, tensors, facts)

    def _check_steps(self) -> None:
        if self.n_steps < 1 or not self.tolerance > 0:
            raise FitError(
                f"SemiOrthogonal got n_steps={self.n_steps} and tolerance={self.tolerance}; wanted at least 1 step "
                "and a tolerance above 0: change them"
            )


def _nearest(M: Tensor) -> Tensor:
    factor = polar_factor(M)[0] if worth_iterating(len(M), M.device) else None
    if factor is not None:
        return factor
    U, _, Vh = svd(M, full_matrices=True)
    return U @ Vh
