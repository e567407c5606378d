"""The base class of maps of the form x A B + b: transform, inverse and training."""

import torch
from torch import Tensor, nn

from bridge.maps.base import Map
from bridge.maps.modules import Dense


class Factored(Map):
    """A linear map kept as two factors, so that no d_source x d_target matrix is formed where fewer rows are enough.

    transform(X) = X left_ right_ + offset_. `inverse` is the Moore-Penrose pseudo-inverse of the linear part
    after the offset is taken away: exact if the map is one to one, otherwise the least-squares solution of minimum
    norm.

    Attributes:
        left_: (d_source, r) float64, or None for the identity.
        right_: (r, d_target).
        offset_: (d_target,), or None for 0.
    """

    has_inverse = True
    left_: Tensor | None
    right_: Tensor
    offset_: Tensor | None = None

    def matrix(self) -> Tensor:
        """Return W (d_source, d_target) with transform(X) = X @ W, plus the offset where there is one."""
        self._check_fitted()
        return self.right_ if self.left_ is None else self.left_ @ self.right_

    def _transform(self, X: Tensor) -> Tensor:
        mapped = (X if self.left_ is None else X @ self.left_) @ self.right_
        return mapped if self.offset_ is None else mapped + self.offset_

    def _inverse(self, Y: Tensor) -> Tensor:
        rows = Y if self.offset_ is None else Y - self.offset_
        if self.left_ is None:
            return rows @ torch.linalg.pinv(self.right_)
        Q, R = torch.linalg.qr(self.left_)
        return (rows @ torch.linalg.pinv(R @ self.right_)) @ Q.T

    def _n_parameters(self) -> int:
        offset = 0 if self.offset_ is None else self.width_target_
        return self.width_source_ * self.width_target_ + offset


class TrainedDense(Factored):
    """A factored map whose matrix is trained as a whole."""

    trainable = True

    def _module(self) -> nn.Module:
        return Dense(self.matrix(), self.offset_)

    def _absorb(self, module: nn.Module) -> None:
        assert isinstance(module, Dense)
        self.left_, self.right_ = None, module.weight.detach().double()
        if module.offset is not None:
            self.offset_ = module.offset.detach().double()
