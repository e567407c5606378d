"""Least squares under a bound on the rank."""

import math

import torch
from torch import Tensor, nn

from bridge.errors import FitError
from bridge.maps.least_squares import Design, LeastSquares
from bridge.maps.modules import TwoFactors


class ReducedRank(LeastSquares):
    """Reduced-rank regression.

    Minimises ||X W - Y||_F^2 + a ||W||_F^2 subject to rank(W) <= rank, with a relative as in `Ridge`. With
    X = U S V^T and M = (S^2 + a)^{-1/2} S U^T Y, the solution is W = V (S^2 + a)^{-1/2} P P^T M with the first
    left singular vectors P of M: the ridge solution, cut to what predicts best. It is kept as two factors, also
    when it is trained. There is no intercept: center first. `inverse` is the pseudo-inverse of W.

    Source: Izenman (1975), "Reduced-rank regression for the multivariate linear model",
    doi:10.1016/0047-259X(75)90042-1; with the penalty, Mukherjee and Zhu (2011), "Reduced rank ridge regression
    and its kernel extensions", doi:10.1002/sam.10138.

    Args:
        rank: from 1 to the number of directions that the rows hold, and at most d_target.
        penalty: at least 0.

    Example:
        >>> X = torch.eye(3)
        >>> Y = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
        >>> ReducedRank(rank=2).fit(X, Y).transform(X).diagonal().round(decimals=9) + 0.0
        tensor([3., 2., 0.], dtype=torch.float64)
    """

    trainable = True

    def __init__(self, rank: int = 8, penalty: float = 0.0) -> None:
        self.rank = rank
        self.penalty = penalty

    def _check(self, design: Design | None, d_target: int) -> None:
        name = type(self).__name__
        if self.rank < 1:
            raise FitError(f"{name} rank is {self.rank}; wanted at least 1: change map.rank")
        if not (self.penalty >= 0 and math.isfinite(self.penalty)):
            raise FitError(f"{name} penalty is {self.penalty}; wanted a number that is at least 0: change map.penalty")
        if design is None:
            return
        widths = f"the widths {len(design.V)} (source) and {d_target} (target)"
        if self.rank > min(len(design.V), d_target):
            raise FitError(
                f"{name} rank is {self.rank}, larger than one of {widths}; wanted at most the smaller of the two: "
                "change map.rank"
            )
        if self.rank > len(design.s):
            raise FitError(
                f"{name} rank is {self.rank}, but the {design.n} rows of X hold {len(design.s)} directions; wanted a "
                f"rank of at most {len(design.s)}: change map.rank, or fit on more items"
            )

    def _factors(self, design: Design, C: Tensor, Y: Tensor | None) -> tuple[Tensor | None, Tensor]:
        root = (design.s.square() + design.absolute(self.penalty)).sqrt().unsqueeze(1)
        M = C * (design.s.unsqueeze(1) / root)
        # the decomposition of the smaller side; eigenvalues come in ascending order
        if len(M) <= M.shape[1]:
            P = torch.linalg.eigh(M @ M.T).eigenvectors[:, -self.rank :]
            return P / root, P.T @ M
        right = torch.linalg.eigh(M.T @ M).eigenvectors[:, -self.rank :]
        return (M @ right) / root, right.T

    def _keep(self, design: Design, C: Tensor, rows: Tensor | None, means: tuple[Tensor, Tensor]) -> None:
        super()._keep(design, C, rows, means)
        self.rank_ = self.rank

    def _n_parameters(self) -> int:
        return self.rank * (self.width_source_ + self.width_target_ - self.rank)

    def _module(self) -> nn.Module:
        assert self.left_ is not None
        return TwoFactors(self.left_, self.right_)

    def _absorb(self, module: nn.Module) -> None:
        assert isinstance(module, TwoFactors)
        self.left_, self.right_ = module.left.detach().double(), module.right.detach().double()
