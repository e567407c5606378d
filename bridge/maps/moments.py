"""Moments of paired rows, accumulated batch by batch, from which many maps can be fitted."""

from typing import Self

from torch import Tensor

from bridge.errors import FitError
from bridge.maps.solvers import EPS, resolution
from bridge.normalize import finite_states


class Moments:
    """Number, means and products of paired rows, so that n x d states never have to fit in memory.

    Each batch is centered by its own mean before it is multiplied, and batches are merged by
    S = S_a + S_b + (n_a n_b / n) (m_a - m_b)^T (m_a - m_b): a large mean costs no accuracy.

    Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance",
    doi:10.1080/00031305.1983.10483115.

    Args:
        center: products are about the means of all rows, as after `bridge.normalize.Normalize(center=True)`;
            otherwise about zero.

    Attributes:
        n: number of rows so far.
        mean_source, mean_target: (d_source,), (d_target,) float64.
        eps_source, eps_target: resolution of the coarsest precision in which a batch was given.

    Example:
        >>> import torch
        >>> X = torch.tensor([[1.0, 2.0], [3.0, 5.0], [8.0, 1.0]])
        >>> moments = Moments().update(X[:1], X[:1]).update(X[1:], X[1:])
        >>> torch.allclose(moments.gram_source, torch.cov(X.T.double()) * 2)
        True
    """

    def __init__(self, center: bool = True) -> None:
        self.center = center
        self.n = 0
        self.eps_source = self.eps_target = EPS

    def update(self, X: Tensor, Y: Tensor) -> Self:
        """Add paired rows.

        Args:
            X: (b, d_source) source states of any real dtype.
            Y: (b, d_target) target states of the same items.

        Returns:
            self.

        Raises:
            FitError: rows that do not match each other or the widths so far, or values that are not finite.
        """
        if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
            raise FitError(
                f"a batch has shapes {tuple(X.shape)} and {tuple(Y.shape)}; wanted (b, d_source) and (b, d_target): "
                "row i of both must be the same item"
            )
        self.eps_source, self.eps_target = max(self.eps_source, resolution(X)), max(self.eps_target, resolution(Y))
        X, Y = finite_states(X, "X"), finite_states(Y, "Y")
        n, means = len(X), (X.mean(0), Y.mean(0))
        X, Y = X - means[0], Y - means[1]
        products = (X.T @ X, X.T @ Y, Y.T @ Y)
        if self.n == 0:
            self.n, (self.mean_source, self.mean_target) = n, means
            self._XX, self._XY, self._YY = products
            return self
        if (X.shape[1], Y.shape[1]) != (self.width_source, self.width_target):
            raise FitError(
                f"a batch has widths {X.shape[1]} and {Y.shape[1]}; wanted {self.width_source} and "
                f"{self.width_target}, those of the batches before: pass states of the same pair and layers"
            )
        total = self.n + n
        dx, dy = means[0] - self.mean_source, means[1] - self.mean_target
        weight = self.n * n / total
        for sums, product, left, right in zip(
            (self._XX, self._XY, self._YY), products, (dx, dx, dy), (dx, dy, dy), strict=True
        ):
            sums.add_(product).addr_(left, right, alpha=weight)
        self.mean_source += dx * (n / total)
        self.mean_target += dy * (n / total)
        self.n = total
        return self

    @property
    def width_source(self) -> int:
        """Width of the source rows."""
        return self.mean_source.shape[0]

    @property
    def width_target(self) -> int:
        """Width of the target rows."""
        return self.mean_target.shape[0]

    @property
    def gram_source(self) -> Tensor:
        """X^T X (d_source, d_source), about the mean with `center`."""
        return self._about(self._XX, self.mean_source, self.mean_source)

    @property
    def cross(self) -> Tensor:
        """X^T Y (d_source, d_target), about the means with `center`."""
        return self._about(self._XY, self.mean_source, self.mean_target)

    @property
    def gram_target(self) -> Tensor:
        """Y^T Y (d_target, d_target), about the mean with `center`."""
        return self._about(self._YY, self.mean_target, self.mean_target)

    def check(self) -> None:
        """Refuse moments of no rows."""
        if self.n == 0:
            raise FitError("the moments are of 0 rows; wanted some: call update(X, Y) with each batch first")

    def _about(self, sums: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return sums if self.center else sums + self.n * left.outer(right)
