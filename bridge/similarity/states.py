"""The states of one layer, with cached quantities that several measures use."""

import math
from functools import cached_property

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.solvers import resolution
from bridge.normalize import check_finite
from bridge.svd import svd

EPS = torch.finfo(torch.float64).eps
# Four rows are the least for which the unbiased estimator of HSIC is defined.
LEAST_ROWS = 4
# Squared distances that differ by less than this share of the two rows' squared norms are ties: states are float32 at
# best, and below that share a difference of inner products is rounding.
TIE = 1e-9
# Two rows are equal if their numbers differ by at most this many rounding steps.
ROUNDING = 8.0
# Iterations of the weighted mean in `middle`.
WEIGHINGS = 3
# From this many rows and features on, float32 states are multiplied in float32.
SINGLE_FROM = 256
# Largest mean that may be left in centered float32 rows, as a share of their length.
LEFT = 1e-6


class LayerStates:
    """States of one layer, in float64.

    Args:
        X: (n, d); row i is from the same item in every layer of both models.
        name: what errors call them.

    Raises:
        FitError: fewer than four rows, values that are not finite, or rows that are all the same.
    """

    def __init__(self, X: Tensor, name: str = "X") -> None:
        if X.ndim == 2 and len(X) < LEAST_ROWS:
            raise FitError(f"{name} has {len(X)} rows; wanted at least {LEAST_ROWS} to compare: give more items")
        if X.ndim != 2:
            raise FitError(f"{name} has shape {tuple(X.shape)}; wanted (n, d): give one state a row")
        X = X.detach()
        self.given, self.name = X, name
        self.eps = resolution(X)
        self._single = self.eps > EPS and min(X.shape) >= SINGLE_FROM
        self._rows, self._spread, offset = self._center()
        if self._single and not math.isfinite(self._spread):
            # Squares of large numbers overflow in float32.
            self._single = False
            self._rows, self._spread, offset = self._center()
        if self._single and self.eps * offset > LEFT * self._spread:
            # subtract the rest of the mean, which is due to rounding
            self._rows.sub_(self._rows.mean(0))
            self._spread = _length(self._rows)
        if not self._spread > math.hypot(self._spread, offset) * EPS * max(X.shape):
            raise FitError(
                f"all {len(X)} rows of {name} are the same; wanted rows that differ: compare another layer "
                "(at layer 0 the last position holds nothing but the embedding of the last token)"
            )

    def _center(self) -> tuple[Tensor, float, float]:
        """The centered rows (n, d), their length, and that of their mean in every row."""
        given = self.given.float() if self._single else self.X
        mean = given.mean(0)
        # a mean is finite where every state is, unless it overflowed
        if not bool(torch.isfinite(mean).all()):
            check_finite(self.given, self.name)
        rows = given - mean
        return rows, _length(rows), len(given) ** 0.5 * _length(mean)

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.given)

    @cached_property
    def X(self) -> Tensor:  # noqa: N802
        """(n, d) the states in float64."""
        return self.given.to(torch.float64)

    @cached_property
    def centered(self) -> Tensor:
        """(n, d) rows about their mean."""
        return self.X - self.X.mean(0) if self._single else self._rows

    @cached_property
    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (n, r), s (r,), Vh (r, d) of the centered rows, reduced to their numerical rank r."""
        U, s, Vh = svd(self.centered)
        rank = int((s > s[0] * self.eps * max(self.X.shape)).sum())
        return U[:, :rank], s[:rank], Vh[:rank]

    @cached_property
    def gram(self) -> Tensor:
        """(n, n) inner products of the centered rows."""
        return self.centered @ self.centered.T

    @cached_property
    def _inner(self) -> Tensor:
        """(n, n) inner products of the rows about their `middle`, from which distances are computed."""
        rows = self.X - middle(self.X)
        return rows @ rows.T

    @cached_property
    def tolerance(self) -> Tensor:
        """(n,) numerical resolution of squared distances from each row; a pair has the larger of its two."""
        return TIE * self._inner.diagonal() + (ROUNDING * self.eps) ** 2 * self.X.square().sum(1)

    @cached_property
    def squared_distances(self) -> Tensor:
        """(n, n) squared Euclidean distances, 0 where they are within `tolerance`."""
        squares = self._inner.diagonal()
        between = squares[:, None] + squares - 2.0 * self._inner
        return torch.where(between > torch.maximum(self.tolerance[:, None], self.tolerance), between, 0.0)

    @cached_property
    def rows(self) -> Tensor:
        """(n, d) centered rows, rescaled where their size is extreme; in float32 for large float32 states."""
        return self._rows if 1e-6 < self._spread < 1e6 else self._rows / self._spread

    @cached_property
    def cosines(self) -> Tensor:
        """(n, n) cosines of the rows, not centered.

        Raises:
            FitError: a row is zero.
        """
        return self.unit @ self.unit.T

    @cached_property
    def unit(self) -> Tensor:
        """(n, d) rows at length 1.

        Raises:
            FitError: a row is zero.
        """
        return self.X / self._lengths(self.X)

    def unit_of(self, rows: Tensor) -> Tensor:
        """(m, d) the given rows of `unit`."""
        chosen = self.given[rows].to(torch.float64)
        return chosen / self._lengths(chosen)

    @cached_property
    def unit_single(self) -> Tensor:
        """(n, d) `unit` in float32."""
        rows = self.given.float() if self.eps > EPS else self.X
        return (rows / self._lengths(rows)).float()

    def _lengths(self, rows: Tensor) -> Tensor:
        lengths = rows.norm(dim=1, keepdim=True)
        if (lengths == 0).any():
            raise FitError(
                f"{int((lengths == 0).sum())} rows of {self.name} are zero; wanted rows with a direction, for cosines: "
                "leave those items out or use a measure of distances"
            )
        return lengths

    @cached_property
    def n_distinct(self) -> int:
        """How many rows differ from each other."""
        return len(torch.unique(self.X, dim=0))


def _length(rows: Tensor) -> float:
    return float(torch.linalg.vector_norm(rows))


def clip_outliers(X: Tensor, quantile: float) -> Tensor:
    """Clip the outlier features of X.

    A few features of language models are a hundred times larger than the others and dominate distances and cosines.
    All values are clipped to [-c, c], c being the mean over rows of the `quantile` of a row's absolute values.

    Source: Huh, Cheung, Wang, Isola (2024), "The platonic representation hypothesis", arXiv:2405.07987, appendix.

    Args:
        X: (n, d).
        quantile: in (0, 1].

    Returns:
        (n, d) of the same dtype.

    Raises:
        FitError: a quantile outside (0, 1].

    Example:
        >>> clip_outliers(torch.tensor([[1.0, -2.0, 900.0]]), 0.5)
        tensor([[ 1., -2.,  2.]])
    """
    if not 0.0 < quantile <= 1.0:
        raise FitError(f"the quantile to clip at is {quantile}; wanted above 0 and at most 1: give one such as 0.95")
    most = X.abs().double().quantile(quantile, dim=1).mean()
    return X.clamp(-float(most), float(most))


def varies(X: Tensor) -> bool:
    """Whether the rows of X (n, d) differ by more than rounding."""
    spread = (X - X.mean(0)).norm()
    return bool(spread > X.norm() * EPS * max(X.shape))


def middle(X: Tensor) -> Tensor:
    """A robust mean (d,) of X (n, d): rows far from the others get little weight.

    Distances are computed as differences of inner products about this point, and lose less accuracy the nearer most
    rows are to it.

    Example:
        >>> X = torch.cat([torch.arange(11.0, dtype=torch.float64), torch.tensor([1e6])])[:, None]
        >>> round(float(X.mean())), round(float(middle(X)))
        (83338, 5)
    """
    center = X.mean(0)
    for _ in range(WEIGHINGS):
        squares = (X - center).square().sum(1)
        weights = 1.0 / (squares + squares.median()).clamp_min(torch.finfo(X.dtype).tiny)
        center = (weights / weights.sum()) @ X
    return center


def layer_states(layers: list[Tensor], name: str) -> list[LayerStates]:
    """`LayerStates` of every (n, d) in `layers`."""
    return [LayerStates(X, f"{name}[{i}]" if len(layers) > 1 else name) for i, X in enumerate(layers)]
