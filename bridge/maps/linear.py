"""Least squares of minimum norm, without any constraint on the matrix."""

from torch import Tensor

from bridge.maps.factored import TrainedDense
from bridge.maps.least_squares import Design, LeastSquares


class Linear(LeastSquares, TrainedDense):
    """Least squares of minimum norm.

    Minimises ||X W - Y||_F, and among the minimisers ||W||_F: a direction that no row of X has is mapped to
    0. There is no intercept: center first (`bridge.normalize.Normalize`), or use `Affine`. With n < d it fits the rows
    exactly, which says nothing about held-out rows. `inverse` is the pseudo-inverse of W.

    Source: Penrose (1956), "On best approximate solutions of linear matrix equations",
    doi:10.1017/S0305004100030929.

    Example:
        >>> import torch
        >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
        >>> Y = X @ torch.tensor([[2.0], [3.0]])
        >>> Linear().fit(X, Y).transform(torch.tensor([[1.0, 1.0]])).round(decimals=9)
        tensor([[5.]], dtype=torch.float64)
    """

    can_rotate = True
    relative_penalty = 0.0

    def _factors(self, design: Design, C: Tensor, Y: Tensor | None) -> tuple[Tensor | None, Tensor]:
        return None, C / design.s.unsqueeze(1)
