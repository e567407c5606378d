"""Least squares with an intercept."""

from bridge.maps.linear import Linear


class Affine(Linear):
    """Least squares of minimum norm with an intercept.

    Minimises ||X W + 1 b^T - Y||_F, and among the minimisers ||W||_F: `Linear` on rows less their means, with
    b = mean(Y) - mean(X) W. After `bridge.normalize.Normalize(center=True)` it is `Linear`. `inverse` takes b
    away and applies the pseudo-inverse of W.

    Source: Penrose (1956), "On best approximate solutions of linear matrix equations",
    doi:10.1017/S0305004100030929.

    Example:
        >>> import torch
        >>> X = torch.tensor([[1.0], [2.0], [4.0]])
        >>> Affine().fit(X, 3 * X + 1).transform(torch.tensor([[10.0]])).round(decimals=9)
        tensor([[31.]], dtype=torch.float64)
    """

    centers = True
