"""Centered kernel alignment, linear and Gaussian, biased and debiased."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.layers import alignments, unbiased
from bridge.similarity.pairs import PairProducts
from bridge.similarity.scorer import Options, Scorer
from bridge.similarity.states import LayerStates

# Units of the bandwidth.
BANDWIDTH_UNITS = ("median", "absolute")


def linear_cka(X: Tensor, Y: Tensor, debiased: bool = False) -> float:
    """Linear centered kernel alignment.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = X X^T and L = Y Y^T. Biased, HSIC is the inner product of the
    doubly centered kernels, which for n rows of width d is far from zero for unrelated data once d is not small
    against n. Debiased, it is the unbiased estimator

        HSIC_1 = [tr(K~ L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2 1'K~L~1 / (n-2)] / (n (n-3)),

    K~ and L~ being the kernels *as they are* with a zero diagonal. Zeroing the diagonal of kernels that were doubly
    centered and taking the plain inner product, a common shortcut, is not unbiased. HSIC_1 does not change when rows
    are shifted, so features are centered here for accuracy alone. The score is a ratio of unbiased estimates, and can
    be slightly negative. The same under rotation, reflection, shift and isotropic scale of either side; not under
    other linear maps.

    Source: Kornblith, Norouzi, Lee, Hinton (2019), arXiv:1905.00414; Song, Smola, Gretton, Bedo, Borgwardt (2012),
        "Feature selection via dependence maximization", JMLR 13, eq. 5; Nguyen, Raghu, Kornblith (2021),
        arXiv:2010.15327.

    Args:
        X: (n, d_source).
        Y: (n, d_target), row i from the same item as row i of X.
        debiased: use the unbiased estimator.

    Returns:
        The alignment: 1 for equal geometries, about 0 for unrelated ones only where `debiased`.

    Raises:
        FitError: fewer than four rows, unequal numbers of rows, rows that are all the same, or not finite.

    Example:
        >>> X = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
        >>> round(linear_cka(X, 3 * X.flip(1) + 1, debiased=True), 9)
        1.0
    """
    return float(alignments([LayerStates(X, "X")], [LayerStates(Y, "Y")], debiased))


def rbf_cka(
    X: Tensor,
    Y: Tensor,
    debiased: bool = False,
    bandwidth: float = 1.0,
    bandwidth_unit: Literal["median", "absolute"] = "median",
) -> float:
    """Centered kernel alignment with Gaussian kernels.

    K_ij = exp(-|x_i - x_j|^2 / (2 s^2)), s = `bandwidth` times the median distance between two rows that differ, or
    `bandwidth` itself; for the rest see `linear_cka`. The same under rotation, reflection, shift and, with medians,
    isotropic scale of either side.

    Source: Kornblith, Norouzi, Lee, Hinton (2019), arXiv:1905.00414, section 3.

    Args:
        X: (n, d_source).
        Y: (n, d_target).
        debiased: use the unbiased estimator of Song et al. (2012).
        bandwidth: s, above 0, in medians of the distances.
        bandwidth_unit: "median", or "absolute" where s is in the units of the states.

    Returns:
        The alignment, at most 1.

    Raises:
        FitError: as `linear_cka`.
    """
    scorer = RbfCka.of(X, Y, Options(bandwidth=bandwidth, bandwidth_unit=bandwidth_unit))
    return scorer.score("cka_rbf_debiased" if debiased else "cka_rbf")


class LinearCka(Scorer):
    """`linear_cka`, biased and debiased."""

    measures = ("cka_linear", "cka_linear_debiased")

    def _kernel(self, layer: LayerStates) -> Tensor:
        return layer.gram

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        A, B = ([centered(self._kernel(layer)) for layer in side] for side in (source, target))
        self._products = PairProducts(A, B)
        self._k, self._k_target = (torch.stack([K.diagonal() for K in side], 1) for side in (A, B))
        own = [torch.cat([self._own(K) for K in side], 1) for side in (A, B)]
        self._norms = (own[0][:, :, None] * own[1][:, None]).sqrt()

    def _own(self, K: Tensor) -> Tensor:
        """Both forms of HSIC(K, K): (2, 1)."""
        k = K.diagonal()[:, None]
        return self._hsic(K.triu(1).square().sum()[None, None], k, k)[:, 0]

    def _hsic(self, above: Tensor, k: Tensor, k_target: Tensor) -> Tensor:
        """The trace of K L, and n (n-3) HSIC_1, of doubly centered K and L: (2, S, T).

        Args:
            above: (S, T) sums over i < j of K_ij L_ij.
            k: (n, S) diagonals.
            k_target: (n, T) diagonals.
        """
        on = k.T @ k_target
        products = 2.0 * above + on
        return torch.stack([products, unbiased(products, on, k.sum(0)[:, None] * k_target.sum(0), self.n)])

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        return self._hsic(self._products(permutation), self._k, self._k_target[permutation]) / self._norms


class RbfCka(LinearCka):
    """`rbf_cka`, biased and debiased."""

    measures = ("cka_rbf", "cka_rbf_debiased")

    def _kernel(self, layer: LayerStates) -> Tensor:
        unit, bandwidth = self.options.bandwidth_unit, self.options.bandwidth
        if unit not in BANDWIDTH_UNITS or not bandwidth > 0:
            raise FitError(
                f"bandwidth is {bandwidth} {unit}; wanted a number above 0, in one of {', '.join(BANDWIDTH_UNITS)}: "
                "change bandwidth or bandwidth_unit"
            )
        if unit == "absolute":
            return torch.exp(layer.squared_distances / (-2.0 * bandwidth**2))
        i, j = torch.triu_indices(layer.n, layer.n, 1, device=layer.X.device)
        squares = layer.squared_distances[i, j]
        # Over rows that differ: at layer 0 more than half of all pairs can be states of the same token.
        median = squares[squares > 0].median()
        return torch.exp(layer.squared_distances / (-2.0 * bandwidth**2 * median))


def centered(K: Tensor) -> Tensor:
    """K (n, n) about the means of its rows and columns, scaled to length 1."""
    K = K - K.mean(0) - K.mean(1)[:, None] + K.mean()
    return K / K.norm()
