"""Center and scale states before a fit, and bring mapped states back to the target's own scale and mean."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.svd import svd

SCALES = ("none", "l2", "frobenius", "whiten")


def finite_states(states: Tensor, name: str, min_dims: int = 2) -> Tensor:
    """Return `states` in float64, refusing NaN, infinities and wrong shapes.

    Args:
        states: (..., n, d) hidden states of any real dtype; never modified.
        name: what the error calls these states.
        min_dims: the smallest allowed number of dimensions.

    Returns:
        (..., n, d) float64 on the same device; the same tensor, not a copy, if it was float64 already.

    Raises:
        FitError: fewer than `min_dims` dimensions, no row, no feature, or a value that is not finite.

    Example:
        >>> finite_states(torch.tensor([[1.0, float("nan")], [0.0, 2.0]]), "X")
        Traceback (most recent call last):
        bridge.errors.FitError: 1 of 2 rows of X holds NaN or infinite values; wanted finite ones: \
drop those items, or look at the model, dtype and layer they come from
    """
    check_finite(states, name, min_dims)
    return states.to(torch.float64)


def check_finite(states: Tensor, name: str, min_dims: int = 2) -> None:
    """Raise what `finite_states` raises, without a conversion."""
    if states.ndim < min_dims or states.numel() == 0:
        shape = "(n, d)" if min_dims == 2 else "(..., d)"
        raise FitError(
            f"{name} has shape {tuple(states.shape)}; wanted {shape} with at least one row: pass one state a row"
        )
    # A finite sum means that all states are finite, and needs no mask of their size. The sum may overflow, so an
    # infinite one is checked state by state.
    single = states.is_floating_point() and states.dtype.itemsize < 4
    if not torch.isfinite(states.sum(dtype=torch.float32 if single else None)):
        rows = states.reshape(-1, states.shape[-1])
        n_bad = int((~torch.isfinite(rows)).any(dim=1).sum())
        if n_bad:
            advice = "drop those items, or look at the model, dtype and layer they come from"
            raise not_finite(n_bad, len(rows), name, advice)


def not_finite(n_bad: int, n_rows: int, name: str, advice: str) -> FitError:
    """Return the error for rows that hold NaN or infinite values."""
    hold = "holds" if n_bad == 1 else "hold"
    return FitError(f"{n_bad} of {n_rows} rows of {name} {hold} NaN or infinite values; wanted finite ones: {advice}")


class Normalize:
    """Center and scale states, with an exact inverse.

    Z = (X - mean) / s, with the mean of the fit rows only. `scale` chooses s: "none", 1; "l2", the norm of each
    centered row, so that every row of Z has norm 1; "frobenius", one number for all rows, the root mean square norm
    of the centered fit rows. With "whiten", Z = (X - mean) C^{-1/2}, the symmetric whitening of
    C = (1 - shrinkage) S + shrinkage (tr S / d) I, where S is the covariance of the fit rows about the mean (about
    zero without `center`). Whitening gives all directions the same weight in the fit; shrinkage bounds how much
    directions of small variance are amplified. With n < d the work is done in the span of the rows.

    Source: for the shrinkage, Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional
    covariance matrices", doi:10.1016/S0047-259X(03)00096-4; for the symmetric root, Kessy, Lewin and Strimmer
    (2018), "Optimal whitening and decorrelation", doi:10.1080/00031305.2016.1277159.

    Args:
        center: subtract the mean of the fit rows.
        scale: "none", "l2", "frobenius" or "whiten".
        shrinkage: in [0, 1], with "whiten"; 0 needs fit rows that span all directions.

    Attributes:
        mean_: (d,) mean of the fit rows; zeros without `center`.
        scale_: typical norm of a centered fit row: their mean for "l2", their root mean square for
            "frobenius", 1.0 for "none" and "whiten".

    Example:
        >>> X = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]], dtype=torch.float64)
        >>> norm = Normalize(scale="l2").fit(X)
        >>> norm.transform(X)[0].tolist()
        [0.6, 0.8]
        >>> norm.inverse(norm.transform(X), norm.row_scale(X)).tolist()
        [[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]]
    """

    mean_: Tensor
    scale_: float

    def __init__(
        self,
        center: bool = True,
        scale: Literal["none", "l2", "frobenius", "whiten"] = "none",
        shrinkage: float = 0.1,
    ) -> None:
        self.center = center
        self.scale = scale
        self.shrinkage = shrinkage

    def fit(self, X: Tensor) -> Self:
        """Take mean and scale from the rows of X.

        Args:
            X: (n, d) states to fit on.

        Returns:
            self.

        Raises:
            FitError: states that are not finite, an unknown `scale`, a shrinkage outside [0, 1], or rows without any
                variance.
        """
        if self.scale not in SCALES:
            raise FitError(
                f"normalize scale is {self.scale!r}; wanted one of {', '.join(SCALES)}: change normalize.scale"
            )
        if not 0 <= self.shrinkage <= 1:
            raise FitError(
                f"normalize shrinkage is {self.shrinkage}; wanted a number from 0 to 1: change normalize.shrinkage"
            )
        states = finite_states(X, "X")
        self.mean_ = states.mean(dim=-2) if self.center else torch.zeros_like(states[..., 0, :])
        norms = torch.linalg.vector_norm(states - self.mean_.unsqueeze(-2), dim=-1)
        if self.scale == "none":
            self.scale_ = 1.0
            return self
        self.scale_ = float(norms.mean() if self.scale == "l2" else norms.square().mean().sqrt())
        # Equal rows minus their mean are only rounding.
        if self.scale_ <= 1e-14 * float(states.abs().max()):
            state = "the same" if self.center else "zero"
            raise FitError(
                f"all {states.shape[-2]} rows of X are {state}; wanted rows that differ, "
                f"to scale by: fit on more items or set normalize.scale=none"
            )
        if self.scale == "whiten":
            self.scale_, self._root = 1.0, _Root.of_rows(states - self.mean_.unsqueeze(-2), self.shrinkage)
        return self

    def transform(self, X: Tensor) -> Tensor:
        """Center and scale.

        Args:
            X: (..., m, d) states.

        Returns:
            (..., m, d), computed in float64. It is returned in float64 where X is float64 or an integer type, and else
            in float32, so that its dtype still tells its precision. With "l2" every row has norm 1, except
            a row equal to the mean, which becomes 0; with "whiten" the fit rows have covariance I, up to the shrinkage.

        Raises:
            FitError: not fitted, states that are not finite, or another width than the fit's.
        """
        centered = self._centered(X)
        if self.scale == "l2":
            norms = torch.linalg.vector_norm(centered, dim=-1, keepdim=True)
            scaled = centered / torch.where(norms > 0, norms, 1.0)
        else:
            scaled = self._root.divide(centered) if self.scale == "whiten" else centered / self.scale_
        return scaled.float() if X.is_floating_point() and X.dtype != torch.float64 else scaled

    def row_scale(self, X: Tensor) -> Tensor:
        """Size of each row relative to the typical row; `transform` removes it.

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
        """Invert `transform`, or bring mapped states to the scale and mean of the fit rows.

        Args:
            Z: (..., m, d) normalized states.
            row_scale: (..., m, 1) relative row sizes from `row_scale`; without it every row gets the typical
                size.

        Returns:
            (..., m, d) float64: Z * scale_ * row_scale + mean_, or Z C^{1/2} * row_scale + mean_ with "whiten".

        Raises:
            FitError: not fitted, states that are not finite, or another width than the fit's.
        """
        states = self._checked(Z, "Z")
        states = self._root.multiply(states) if self.scale == "whiten" else states * self.scale_
        return (states if row_scale is None else states * row_scale.to(states)) + self.mean_.to(states)

    def parts(self) -> dict[str, Tensor]:
        """The fitted state as tensors, from which `of_parts` builds an equal normalisation."""
        parts = {"mean": self.mean_, "scale": torch.tensor(self.scale_, dtype=torch.float64)}
        if self.scale == "whiten":
            root = self._root
            outside = torch.tensor(root.outside, dtype=torch.float64)
            parts |= {"basis": root.V, "inside": root.inside, "outside": outside}
        return parts

    @classmethod
    def of_parts(cls, scale: str, parts: dict[str, Tensor]) -> Self:
        """The fitted normalisation of which these are the `parts`."""
        normalize = cls(scale=scale)  # type: ignore[arg-type]
        normalize.mean_, normalize.scale_ = parts["mean"], float(parts["scale"])
        if scale == "whiten":
            normalize._root = _Root(parts["basis"], parts["inside"], float(parts["outside"]))
        return normalize

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


@dataclass(frozen=True)
class _Root:
    """C^{1/2} as V diag(inside) V^T + outside (I - V V^T), with orthonormal columns V (d, r)."""

    V: Tensor
    inside: Tensor
    outside: float

    @classmethod
    def of_rows(cls, rows: Tensor, shrinkage: float) -> "_Root":
        n, d = rows.shape
        _, s, Vh = svd(rows)
        variances = s.square() / n
        mean = float(variances.sum()) / d
        rank = int((s > s[0] * torch.finfo(s.dtype).eps * max(n, d)).sum())
        if shrinkage == 0 and rank < d:
            raise FitError(
                f"{n} rows of X span {rank} of {d} directions; wanted all of them to whiten without shrinkage: set "
                "normalize.shrinkage above 0, or fit on more items"
            )
        inside = ((1 - shrinkage) * variances + shrinkage * mean).sqrt()
        return cls(Vh.T.contiguous(), inside, (shrinkage * mean) ** 0.5)

    def multiply(self, states: Tensor) -> Tensor:
        return self._scaled(states, self.inside, self.outside)

    def divide(self, states: Tensor) -> Tensor:
        # Without shrinkage the rows span all directions.
        return self._scaled(states, 1.0 / self.inside, 1.0 / self.outside if self.outside > 0 else 0.0)

    def _scaled(self, states: Tensor, inside: Tensor, outside: float) -> Tensor:
        V = self.V.to(states.device)
        return outside * states + ((states @ V) * (inside.to(states.device) - outside)) @ V.T
