"""Explained variance of mapped states: string by string, and by principal components of the target."""

from itertools import pairwise

import torch
from torch import Tensor

# Shares of the width at which the bands of principal components end.
BANDS = (1 / 8, 1 / 4, 1 / 2, 1)


def by_string(error: Tensor, Y: Tensor, string: Tensor, n_strings: int) -> Tensor:
    """Explained variance of each string; the mean over strings is that of all rows.

    It is 1 minus the squared error of a string's rows over the mean, over strings, of the squared norm of theirs.

    Args:
        error: (..., m, d) differences of m rows from the target's own.
        Y: (m, d) the target's own states, centered as in the fit.
        string: (m,) the string of each row, 0 to n_strings - 1.
        n_strings: how many.

    Returns:
        (..., n_strings) float64; 1 without error, 0 for the mean in place of every state, negative below that.

    Example:
        >>> Y = torch.tensor([[1.0], [-1.0], [2.0]])
        >>> by_string(Y * 0.5, Y, torch.tensor([0, 0, 1]), 2).tolist()
        [0.8333333333333334, 0.6666666666666667]
    """
    squares = error.square().sum(-1).double()
    total = Y.square().sum(-1).double().sum() / n_strings
    sums = squares.new_zeros(*squares.shape[:-1], n_strings).index_add_(-1, string, squares)
    return 1 - sums / total


def by_band(error: Tensor, Y: Tensor, axes: Tensor) -> Tensor:
    """Explained variance in each band of principal components of the target: (..., number of bands).

    Args:
        error: (..., m, d) differences of m rows from the target's own.
        Y: (m, d) the target's own states, centered as in the fit.
        axes: (d, d) principal axes as columns, that of the largest variance first.

    Bands without variance have NaN.
    """
    lost, there = (error @ axes).square().sum(-2), (Y @ axes).square().sum(-2)
    d = Y.shape[1]
    ends = [0, *(max(1, round(share * d)) for share in BANDS)]
    spans = [slice(a, b) for a, b in pairwise(ends)]
    least = 1e-12 * there.sum()
    return torch.stack(
        [
            torch.where(there[s].sum() > least, 1 - lost[..., s].sum(-1) / there[s].sum(), torch.nan)
            for s in spans
        ],
        -1,
    )  # fmt: skip
