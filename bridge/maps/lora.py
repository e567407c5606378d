"""The state itself plus an update of low rank."""

import math

import torch
from torch import Tensor, nn

from bridge.errors import FitError
from bridge.maps.least_squares import Design
from bridge.maps.modules import TwoFactors
from bridge.maps.reduced_rank import ReducedRank
from bridge.maps.solvers import fit_width


class LoRA(ReducedRank):
    """The state plus a low-rank update, x + (alpha / rank) x A B.

    Minimises ||X + (alpha / rank) X A B - Y||_F^2 + a ||(alpha / rank) A B||_F^2 over A (d_source, rank) and
    B (rank, d_target): reduced-rank ridge regression of the residual Y - X, in closed form. Where the widths
    differ, the state that is added is padded with zeros or cut. It can only change a few directions of the identity, so
    it cannot map between models with unrelated coordinates: no general rotation is of this form.

    In closed form `alpha` cancels, since A B absorbs it; under gradient descent it scales every step, as in
    the source. There is no intercept: center first. `inverse` is the pseudo-inverse of I + (alpha / rank) A B.

    Source: Hu, Shen, Wallis et al. (2021), "LoRA: low-rank adaptation of large language models",
    arXiv 2106.09685; the closed form is that of `ReducedRank`.

    Args:
        rank: from 1 to the number of directions that the rows hold, and at most d_target.
        alpha: above 0.
        penalty: at least 0, relative as in `Ridge`.

    Example:
        >>> X = torch.eye(3)
        >>> Y = torch.diag(torch.tensor([1.0, 1.0, 5.0]))
        >>> LoRA(rank=1, penalty=0.0).fit(X, Y).transform(X).diagonal().round(decimals=9) + 0.0
        tensor([1., 1., 5.], dtype=torch.float64)
    """

    updates = True

    def __init__(self, rank: int = 8, alpha: float = 16.0, penalty: float = 0.01) -> None:
        super().__init__(rank, penalty)
        self.alpha = alpha

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return self.alpha / self.rank

    def matrix(self) -> Tensor:
        """Return W (d_source, d_target) with transform(X) = X @ W."""
        self._check_fitted()
        assert self.left_ is not None
        identity = torch.eye(self.width_source_, dtype=torch.float64, device=self.left_.device)
        return self._transform(identity)

    def _check(self, design: Design | None, d_target: int) -> None:
        super()._check(design, d_target)
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise FitError(f"LoRA alpha is {self.alpha}; wanted a number above 0: change map.alpha")

    def _keep(self, design: Design, C: Tensor, rows: Tensor | None, means: tuple[Tensor, Tensor]) -> None:
        super()._keep(design, C, rows, means)
        self.right_ = self.right_ / self.scale

    def _transform(self, X: Tensor) -> Tensor:
        assert self.left_ is not None
        return fit_width(X, self.width_target_) + (X @ self.left_) @ self.right_ * self.scale

    def _inverse(self, Y: Tensor) -> Tensor:
        return Y @ torch.linalg.pinv(self.matrix())

    def _n_parameters(self) -> int:
        return self.rank * (self.width_source_ + self.width_target_)

    def _module(self) -> nn.Module:
        assert self.left_ is not None
        return TwoFactors(self.left_, self.right_, self.scale, skip=True)
