"""What is measured of SAEs: how much they explain, how many features they use, and how alike two of them are."""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from bridge.errors import FitError

# Columns that are compared with all others at a time.
CHUNK = 2048


def total_variance(X: Tensor, mean: Tensor) -> float:
    """The mean over the rows of X (n, d) of |x - mean|^2: the denominator that all branches share."""
    return float((X.double() - mean.double()).square().sum(1).mean())


def rows_fve(X: Tensor, X_hat: Tensor, mean: Tensor, total: float | None = None) -> Tensor:
    """Explained variance row by row: 1 - |x - x_hat|^2 / total.

    Its mean over rows is `explained_variance` where `total` is of the same rows. One row's value has no lower bound.

    Args:
        X: (n, d), the target's own states.
        X_hat: (..., n, d), reconstructions of them.
        mean: (d,), the target's mean, the same for every branch.
        total: `total_variance` of the rows that are scored; of X where it is left out.

    Returns:
        (..., n) in float64, at most 1.

    Raises:
        FitError: reconstructions of another shape, or states that do not vary.
    """
    if X_hat.shape[-2:] != X.shape or mean.shape != X.shape[1:]:
        raise FitError(
            f"reconstructions of {tuple(X_hat.shape)} and a mean of {tuple(mean.shape)} for states of "
            f"{tuple(X.shape)}; wanted (..., n, d), (d,) and (n, d): reconstruct the same rows"
        )
    total = total_variance(X, mean) if total is None else total
    if total <= 0:
        raise FitError("states that do not vary about the mean; wanted some that do: give more rows")
    return 1.0 - (X.double() - X_hat).square().sum(-1) / total


def explained_variance(X: Tensor, X_hat: Tensor, mean: Tensor | None = None) -> Tensor:
    """1 - sum |x - x_hat|^2 / sum |x - mean|^2 over rows; 0 is what the mean alone reaches.

    The mean is one of each dimension. A single variance over all dimensions, 1 - mse / var, counts the mean's own
    spread as explained.

    Args:
        X: (n, d), the target's own states.
        X_hat: (..., n, d), reconstructions of them.
        mean: (d,), the target's; of X where it is left out.

    Returns:
        (...) in float64, at most 1.

    Raises:
        FitError: as `rows_fve`.
    """
    return rows_fve(X, X_hat, X.double().mean(0) if mean is None else mean).mean(-1)


def l0(features: Tensor) -> float:
    """Features that fire in a row of (n, m), on the average."""
    return float((features != 0).sum(1).double().mean())


def dead(features: Tensor) -> float:
    """The share of the m features of (n, m) that fire in none of these rows, 0..1."""
    return float((features == 0).all(0).double().mean())


class Cosines(NamedTuple):
    """How decoder rows of a resemble those of b.

    Attributes:
        best: (m,), the largest cosine of each row of a; several rows may share one of b.
        matched: (min(m, m2),), cosines when each row is given one of its own, so that their sum is largest.
    """

    best: Tensor
    matched: Tensor


def decoder_cosines(W_a: Tensor, W_b: Tensor) -> Cosines:
    """Cosines of the decoder rows of two SAEs, whatever their norms; a row of zeros has cosine 0 with all.

    Best cosines rise with m2: a random dictionary of the same shape has to stand beside them. Matching takes time
    that grows with the cube of m.

    Args:
        W_a: (m, d).
        W_b: (m2, d).

    Raises:
        FitError: another width.
    """
    if W_a.shape[1] != W_b.shape[1]:
        raise FitError(
            f"decoders of widths {W_a.shape[1]} and {W_b.shape[1]}; wanted the same: map one of them to the other's"
        )
    a, b = (torch.nn.functional.normalize(W, dim=1) for W in (W_a.float(), W_b.float()))
    cosines = a @ b.T
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    return Cosines(cosines.amax(1), cosines[torch.from_numpy(rows), torch.from_numpy(columns)])


def firing_correlation(F_a: Tensor, F_b: Tensor) -> Tensor:
    """For each feature of a, the largest Pearson correlation of its activations with those of a feature of b.

    Args:
        F_a: (n, m), features of rows.
        F_b: (n, m2), features of the same rows, of the same or of another model.

    Returns:
        (m,), NaN for a feature of a that is the same in all rows. Those of b are left out; with none of b left, 0.

    Raises:
        FitError: another number of rows.
    """
    if len(F_a) != len(F_b):
        raise FitError(f"features of {len(F_a)} and of {len(F_b)} rows; wanted the same rows: encode the same items")
    b, b_fires = _standardized(F_b)
    b = b[:, b_fires]
    found = []
    for part in F_a.split(CHUNK, dim=1):
        a, fires = _standardized(part)
        best = (a.T @ b).amax(1) if b.shape[1] else a.new_zeros(a.shape[1])
        found.append(best.masked_fill(~fires, torch.nan))
    return torch.cat(found)


def _standardized(features: Tensor) -> tuple[Tensor, Tensor]:
    """Columns less their mean and of norm 1, and which columns vary."""
    varies = features.amax(0) > features.amin(0)
    centered = features - features.mean(0)
    return torch.nn.functional.normalize(centered, dim=0), varies
