"""Ridge regression, with the penalty given or chosen on the fit rows alone."""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.factored import TrainedDense
from bridge.maps.holdout import grouped, hold_back
from bridge.maps.least_squares import Design, LeastSquares, design_of_rows
from bridge.maps.moments import Moments

SELECTIONS = ("fixed", "loo", "split")
# relative penalties that are tried: from almost zero to a hundred times the mean squared singular value
PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 5))
HELD_OUT = 0.2


class Ridge(LeastSquares, TrainedDense):
    """Ridge regression with a penalty that does not depend on the scale of the states.

    Minimises ||X W - Y||_F^2 + a ||W||_F^2 with a = penalty * ||X||_F^2 / min(n, d_source): the penalty is
    relative to the mean squared singular value of X, so that 1.0 halves a direction of average size. There is
    no intercept: center first. When n < d_source the work is done in the span of the rows. With a penalty that is
    given there is one Cholesky factor, in float32 for float32 rows from 256 x 256 on where the penalty keeps the
    condition number below 1000. `inverse` is the pseudo-inverse of W.

    With select="loo" the penalty is the one of `PENALTIES` with the least error of the fit rows when each group of
    them is left out in turn (without `groups`, each row), sum_g ||(I - H_g)^{-1} (Y_g - X_g W)||^2, which needs no
    refit: H_g is the block of rows g of the hat matrix, to which 1/n is added where the rows are centered, since
    their mean was fitted with them. With select="split" it is the one that does best on a fifth of the fit rows,
    drawn with `seed` in whole groups, after a fit on the others. Both look at fit rows only, and a permuted fit
    chooses anew.

    Source: Hoerl and Kennard (1970), "Ridge regression: biased estimation for nonorthogonal problems",
    doi:10.1080/00401706.1970.10488634; for leave-one-out, Allen (1974), "The relationship between variable
    selection and data augmentation and a method for prediction", doi:10.1080/00401706.1974.10489157.

    Args:
        penalty: above 0, with select="fixed"; `Linear` is the limit at 0.
        select: "fixed", "loo" or "split".
        seed: draws the rows that "split" holds out.

    Attributes:
        penalty_: the penalty that was used.

    Example:
        >>> import torch
        >>> X = torch.eye(2)
        >>> Ridge(penalty=1.0).fit(X, 4 * X).transform(X).round(decimals=9)
        tensor([[2., 0.],
                [0., 2.]], dtype=torch.float64)
    """

    # its penalty shrinks states, so that it is no rotation
    can_rotate = False
    penalty_: float

    def __init__(
        self, penalty: float = 0.01, select: Literal["fixed", "loo", "split"] = "fixed", seed: int = 0
    ) -> None:
        self.penalty = penalty
        self.select = select
        self.seed = seed

    @property
    def relative_penalty(self) -> float | None:  # type: ignore[override]
        """The penalty of a fit with select="fixed"; a selection among many needs singular values."""
        return self.penalty if self.select == "fixed" else None

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        self.penalty_ = self.penalty
        super()._fit(X, Y)

    def _fit_single(self, X: Tensor, Y: Tensor) -> bool:
        self.penalty_ = self.penalty
        return super()._fit_single(X, Y)

    def _check(self, design: Design | None, d_target: int) -> None:
        if not (self.penalty > 0 and math.isfinite(self.penalty)):
            raise FitError(f"ridge penalty is {self.penalty}; wanted a number above 0: map=linear has none")
        if self.select not in SELECTIONS:
            raise FitError(f"ridge select is {self.select!r}; wanted one of {', '.join(SELECTIONS)}: change map.select")
        if self.select != "fixed" and design is not None and design.n < 3:
            raise FitError(
                f"ridge select={self.select} got {design.n} rows; wanted at least 3: "
                "fit on more items or give a penalty with select=fixed"
            )

    def _fit_moments(self, moments: Moments) -> None:
        if self.select != "fixed":
            raise FitError(
                f"ridge select={self.select} needs the rows themselves; wanted select=fixed with a penalty for a fit "
                "on sums over rows: change map.select"
            )
        super()._fit_moments(moments)

    def _factors(self, design: Design, C: Tensor, Y: Tensor | None) -> tuple[Tensor | None, Tensor]:
        self.penalty_ = self.penalty
        if self.select == "loo":
            assert Y is not None
            self.penalty_ = _least(_loo_errors(design, C, Y, self._groups))
        elif self.select == "split":
            assert Y is not None
            self.penalty_ = _least(self._split_errors(design, Y))
        return None, _shrunk(design, C, self.penalty_)

    def _split_errors(self, design: Design, Y: Tensor) -> Tensor:
        assert design.U is not None
        kept, held = (part.to(Y.device) for part in hold_back(design.n, HELD_OUT, self.seed, self._groups))
        # in coordinates of the span, which are fewer than d
        rows = design.U * design.s
        inner = design_of_rows(rows[kept], eps=design.eps)
        located, C = rows[held] @ inner.V, inner.coordinates(Y[kept])
        inner = replace(inner, V=design.V[:, : len(inner.V)])
        return torch.stack([(Y[held] - located @ _shrunk(inner, C, penalty)).square().sum() for penalty in PENALTIES])


def _shrunk(design: Design, C: Tensor, penalty: float) -> Tensor:
    return (design.s / (design.s.square() + design.absolute(penalty))).unsqueeze(1) * C


def _loo_errors(design: Design, C: Tensor, Y: Tensor, groups: Tensor | None) -> Tensor:
    assert design.U is not None
    members, sizes = (part.to(Y.device) for part in grouped(design.n, groups))
    order = members.argsort(stable=True)
    # Groups of one size are left out in one product; each entry has a group in each row.
    alike = [order[sizes[members[order]] == size].view(-1, size) for size in sizes.unique().tolist()]
    errors = []
    for penalty in PENALTIES:
        kept = design.s.square() / (design.s.square() + design.absolute(penalty))
        residual = Y - design.U @ (kept.unsqueeze(1) * C)
        error = Y.new_zeros(())
        for rows in alike:
            U = design.U[rows]
            hat = (U * kept) @ U.mT + (1.0 / design.n if design.centered else 0.0)
            left_out = torch.eye(rows.shape[1], dtype=hat.dtype, device=hat.device) - hat
            error += torch.linalg.solve(left_out, residual[rows]).square().sum()
        errors.append(error)
    return torch.stack(errors)


def _least(errors: Tensor) -> float:
    return PENALTIES[int(errors.argmin())]
