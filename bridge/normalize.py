"""Put states on a common footing for a fit, and bring mapped states back to the target's own scale."""

from typing import Literal, Self

import torch
from torch import Tensor

from bridge.errors import FitError

SCALES = ("none", "l2", "frobenius")


def finite_states(states: Tensor, name: str, min_dims: int = 2) -> Tensor:
    """Return `states` in float64, refusing NaN, infinities and wrong shapes.

    Args:
        states: (..., n, d) hidden states of any real dtype; never modified.
        name: the word for these states in the error text.
        min_dims: the least number of dimensions; exactly 2 wherever rows are items to fit on.

    Returns:
        (..., n, d) float64 on the same device; the very same tensor if it was float64 already.

    Raises:
        FitError: fewer than `min_dims` dimensions, no row, no feature, or a value that is not finite.

    Example:
        >>> finite_states(torch.tensor([[1.0, float("nan")], [0.0, 2.0]]), "X")
        Traceback (most recent call last):
        bridge.errors.FitError: 1 of 2 rows of X holds NaN or infinite values; every state must be finite: \
drop those items, or look at the model, dtype and layer they come from
    """
    if states.ndim < min_dims or states.numel() == 0:
        wanted = "(n, d)" if min_dims == 2 else "(..., d)"
        raise FitError(
            f"{name} has shape {tuple(states.shape)}; wanted {wanted} with at least one row: pass one state a row"
        )
    # one sum sees every NaN and infinity without a mask as large as the states
    if not torch.isfinite(states.sum(dtype=torch.float64)):
        rows = states.reshape(-1, states.shape[-1])
        n_bad = int((~torch.isfinite(rows)).any(dim=1).sum())
        if n_bad:
            advice = "drop those items, or look at the model, dtype and layer they come from"
            raise not_finite(n_bad, len(rows), name, f"every state must be finite: {advice}")
    return states.to(torch.float64)


def not_finite(n_bad: int, n_rows: int, name: str, advice: str) -> FitError:
    """Return the error for rows that hold NaN or infinite values."""
    hold = "holds" if n_bad == 1 else "hold"
    return FitError(f"{n_bad} of {n_rows} rows of {name} {hold} NaN or infinite values; {advice}")


class Normalize:
    """Center and scale states, with the exact way back.

    Z = (X - mean) / s with the mean taken from the fit rows only. `scale` says what s is: "none", 1; "l2",
    the norm of each centered row, so that every row of Z has norm 1; "frobenius", one number for all rows,
    the root mean square norm of the centered fit rows.

    Args:
        center: subtract the mean of the fit rows.
        scale: "none", "l2" or "frobenius".

    Attributes:
        mean_: (d,) mean of the fit rows; zeros without `center`.
        scale_: typical norm of a centered fit row: their mean for "l2", their root mean square for
            "frobenius", 1.0 for "none".

    Example:
        >>> X = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
        >>> norm = Normalize(scale="l2").fit(X)
        >>> norm.transform(X)[0].tolist()
        [0.6, 0.8]
        >>> norm.inverse(norm.transform(X), norm.row_scale(X)).tolist()
        [[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]]
    """

    mean_: Tensor
    scale_: float

    def __init__(self, center: bool = True, scale: Literal["none", "l2", "frobenius"] = "none") -> None:
        self.center = center
        self.scale = scale

    def fit(self, X: Tensor) -> Self:
        """Take mean and scale from the rows of X.

        Args:
            X: (n, d) states to fit on.

        Returns:
            self.

        Raises:
            FitError: states that are not finite, an unknown `scale`, or rows that leave nothing to scale by.
        """
        if self.scale not in SCALES:
            raise FitError(f"normalize scale is {self.scale!r}; wanted one of {', '.join(SCALES)}")
        states = finite_states(X, "X")
        self.mean_ = states.mean(dim=-2) if self.center else torch.zeros_like(states[..., 0, :])
        norms = torch.linalg.vector_norm(states - self.mean_.unsqueeze(-2), dim=-1)
        if self.scale == "none":
            self.scale_ = 1.0
            return self
        self.scale_ = float(norms.mean() if self.scale == "l2" else norms.square().mean().sqrt())
        # what is left of equal rows after their mean was subtracted is rounding
        if self.scale_ <= 1e-14 * float(states.abs().max()):
            state = "the same" if self.center else "zero"
            raise FitError(
                f"all {states.shape[-2]} rows of X are {state}; wanted rows that differ, "
                f"to scale by: fit on more items or set normalize scale to none"
            )
        return self

    def transform(self, X: Tensor) -> Tensor:
        """Center and scale.

        Args:
            X: (..., m, d) states.

        Returns:
            (..., m, d) float64. With "l2" every row has norm 1, except a row equal to the mean, which becomes
            0.

        Raises:
            FitError: not fitted, states that are not finite, or another width than the fit's.
        """
        centered = self._centered(X)
        if self.scale == "l2":
            norms = torch.linalg.vector_norm(centered, dim=-1, keepdim=True)
            return centered / torch.where(norms > 0, norms, 1.0)
        return centered / self.scale_

    def row_scale(self, X: Tensor) -> Tensor:
        """Size of each row relative to a typical one, which `transform` removes.

        Args:
            X: (..., m, d) states.

        Returns:
            (..., m, 1) float64, at least 0: centered row norm / `scale_` with "l2", ones otherwise.

        Raises:
            FitError: as `transform`.
        """
        centered = self._centered(X)
        if self.scale == "l2":
            return torch.linalg.vector_norm(centered, dim=-1, keepdim=True) / self.scale_
        return torch.ones_like(centered[..., :1])

    def inverse(self, Z: Tensor, row_scale: Tensor | None = None) -> Tensor:
        """Undo `transform`, or bring mapped states to the scale and mean of the fit rows.

        Args:
            Z: (..., m, d) normalized states.
            row_scale: (..., m, 1) relative row sizes from `row_scale`; without it every row gets the typical
                size.

        Returns:
            (..., m, d) float64: Z * scale_ * row_scale + mean_.

        Raises:
            FitError: not fitted, states that are not finite, or another width than the fit's.
        """
        states = self._checked(Z, "Z") * self.scale_
        return (states if row_scale is None else states * row_scale.to(states)) + self.mean_.to(states)

    def _checked(self, states: Tensor, name: str) -> Tensor:
        if not hasattr(self, "mean_"):
            raise FitError("Normalize is not fitted; wanted a mean and a scale: call fit(X) first")
        states = finite_states(states, name, min_dims=1)
        if states.shape[-1] != self.mean_.shape[-1]:
            raise FitError(
                f"{name} has width {states.shape[-1]}; wanted {self.mean_.shape[-1]}, the width of the fit: "
                "pass states of the same model"
            )
        return states

    def _centered(self, X: Tensor) -> Tensor:
        states = self._checked(X, "X")
        return states - self.mean_.to(states.device)
