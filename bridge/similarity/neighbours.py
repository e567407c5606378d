"""Whether the same items are each other's nearest neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.normal_equations import gram
from bridge.similarity.scorer import Options, Scorer, check_rows
from bridge.similarity.states import LayerStates

# Cosines that differ by less than this count as equal, because states are float32 at best.
TIE = 1e-7
# With at most this many neighbours indices are compared; with more, two masks (n, n) are multiplied.
MOST_COMPARED = 32


def mutual_knn(X: Tensor, Y: Tensor, k: int = 10) -> float:
    """Mean share of the k nearest neighbours of a row that are the same in X and in Y.

    The neighbours of a row are the other rows of largest cosine. Unrelated data score k / (n-1) on average. Ties are
    broken at random, independently for X and Y: broken by index, equal rows would seem to agree. The same under
    rotation, reflection and isotropic scale; *not* under a shift, as published.

    Source: Huh, Cheung, Wang, Isola (2024), "The platonic representation hypothesis", arXiv:2405.07987, appendix.

    Args:
        X: (n, d_source).
        Y: (n, d_target).
        k: neighbours of a row, from 1 to n-1.

    Returns:
        A share in [0, 1].

    Raises:
        FitError: k out of range, fewer than four rows, unequal numbers of rows, a row that is zero, or not finite.

    Example:
        >>> X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
        >>> mutual_knn(X, 3 * X.flip(1), k=5), mutual_knn(X, X.flip(0), k=19)
        (1.0, 1.0)
    """
    sides = LayerStates(X, "X"), LayerStates(Y, "Y")
    check_rows(sides)
    check_k("mutual_knn", k, sides[0].n, 1)
    near = [near_rows(layer, k, seed) for layer, seed in zip(sides, Options.tie_seeds, strict=True)]
    if k > MOST_COMPARED:
        return float(_mask(near[0]).mul_(_mask(near[1])).sum()) / near[0].numel()
    return int((near[0][:, :, None] == near[1][:, None]).sum()) / near[0].numel()


def cknna(X: Tensor, Y: Tensor, k: int = 10) -> float:
    """Centered kernel alignment over mutual nearest neighbours alone.

    A(K, L) / sqrt(A(K, K) A(L, L)), A(K, L) being the unbiased HSIC (see `linear_cka`) of K and L after all entries
    (i, j) but those are set to zero where j is among the k nearest neighbours of i in both; K and L are the cosines.
    The same under rotation, reflection and isotropic scale; not under a shift, as published.

    Source: Huh, Cheung, Wang, Isola (2024), arXiv:2405.07987, appendix.

    Args:
        X: (n, d_source).
        Y: (n, d_target).
        k: neighbours of a row, from 2 to n-1.

    Returns:
        The alignment, 1 for equal geometries.

    Raises:
        FitError: as `mutual_knn`; k below 2.
    """
    return Cknna.of(X, Y, Options(k=k)).score()


class MutualKnn(Scorer):
    """`mutual_knn`."""

    measures = ("mutual_knn",)
    least_k = 1

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        k, seeds = self.options.k, self.options.tie_seeds
        check_k(self.measures[0], k, self.n, self.least_k)
        self._near = torch.stack([near_rows(layer, k, seeds[0]) for layer in source])  # (S, n, k)
        masks = [_mask(near_rows(layer, k, seeds[1])) for layer in target]
        self._masks = torch.stack([mask.flatten() for mask in masks])  # (T, n n)

    def _places(self, permutation: Tensor, s: int) -> Tensor:
        """Flat indices (n, k), in the permuted target's matrix, of each row and its neighbours in source layer s."""
        return permutation[:, None] * self.n + permutation[self._near[s]]

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        shared = [self._masks[:, self._places(permutation, s)].mean((1, 2)) for s in range(len(self._near))]
        return torch.stack(shared)[None]


class Cknna(MutualKnn):
    """`cknna`."""

    measures = ("cknna",)
    least_k = 2

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        super()._prepare(source, target)
        self._values = torch.stack([x.cosines.gather(1, near) for x, near in zip(source, self._near, strict=True)])
        # 1 where i is also among the neighbours of its neighbour j.
        self._back = torch.stack([_mask(near).T.gather(1, near) for near in self._near])
        self._cosines = torch.stack([layer.cosines.flatten() for layer in target])
        own = [self._own(side) for side in (source, target)]
        self._norms = (own[0][:, None] * own[1]).sqrt()

    def _own(self, layers: Sequence[LayerStates]) -> Tensor:
        """A(K, K) of every layer."""
        norms = []
        for layer in layers:
            mask = _mask(near_rows(layer, self.options.k, self.options.tie_seeds[0]))
            K = layer.cosines * mask
            norms.append(_hsic(self.n, (K * K.T).sum(), K.sum(), K.sum(), K.sum(0) @ K.sum(1)))
            if not norms[-1] > 0:
                raise FitError(
                    f"cknna of {layer.name} with itself is {float(norms[-1]):g} at k={self.options.k}; wanted a "
                    "positive number to divide by: change k"
                )
        return torch.stack(norms)

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        n_target = len(self._masks)
        rows = []
        for s, (near, K, back) in enumerate(zip(self._near, self._values, self._back, strict=True)):
            at = self._places(permutation, s)
            flat_places = (permutation[near] * self.n + permutation[:, None]).flatten()
            both = self._masks[:, at]  # (T, n, k)
            L = self._cosines[:, at] * both
            K_shared = K * both
            mutual = back * self._masks[:, flat_places].view(both.shape)
            columns = K.new_zeros(n_target, self.n)
            columns.scatter_add_(1, near.flatten().expand(n_target, -1), K_shared.flatten(1))
            across = (columns * L.sum(2)).sum(1)
            rows.append(_hsic(self.n, (K_shared * L * mutual).sum((1, 2)), K_shared.sum((1, 2)), L.sum((1, 2)), across))
        return (torch.stack(rows) / self._norms)[None]


def check_k(measure: str, k: int, n: int, least: int) -> None:
    """Refuse a number of neighbours that is out of range for n rows."""
    if not least <= k < n:
        raise FitError(f"{measure} has k={k} with {n} rows; wanted {least} <= k <= {n - 1}: change k")


def near_rows(layer: LayerStates, k: int, seed: int) -> Tensor:
    """Indices (n, k) of the k rows of largest cosine to each row, itself excluded; `seed` decides the order of ties.

    Cosines are computed in float32 first. Rows whose k-th and (k+1)-th cosine differ by no more than float32 rounding
    or `TIE` are computed again in float64.
    """
    low = layer.unit_single
    low_cosines = gram(low.T).fill_diagonal_(-torch.inf)
    top = low_cosines.topk(k + 1, dim=1)
    near = top.indices[:, :k].contiguous()
    margin = 2.0 * torch.finfo(low.dtype).eps * low.shape[1] ** 0.5 + 2.0 * TIE
    unsure = (top.values[:, k - 1] - top.values[:, k] <= margin).nonzero()[:, 0]
    if not len(unsure):
        return near
    # Only columns that are a candidate of some unsure row are needed.
    candidates = (low_cosines[unsure] >= (top.values[unsure, k - 1] - margin)[:, None]).any(0).nonzero()[:, 0]
    levels = low.new_full((len(unsure), layer.n), -torch.inf, dtype=torch.float64)
    levels[:, candidates] = (layer.unit_of(unsure) @ layer.unit_of(candidates).T / TIE).round()
    levels[torch.arange(len(unsure), device=low.device), unsure] = -torch.inf
    top = levels.topk(k + 1, dim=1)
    near[unsure] = top.indices[:, :k]
    tied = (top.values[:, k - 1] == top.values[:, k]).nonzero()[:, 0]
    if len(tied):
        # Drawn for all rows, so that the order of ties does not depend on which rows are unsure.
        n, generator = layer.n, torch.Generator().manual_seed(seed)
        order = torch.rand(n, n, dtype=torch.float64, generator=generator).to(low.device)[unsure[tied]]
        near[unsure[tied]] = (levels[tied] + 0.5 * order).topk(k, dim=1).indices
    return near


def _mask(near: Tensor) -> Tensor:
    """(n, n) 1 where a column is among the neighbours of a row."""
    n = len(near)
    return torch.zeros(n, n, dtype=torch.float64, device=near.device).scatter_(1, near, 1.0)


def _hsic(n: int, trace: Tensor, total_k: Tensor, total_l: Tensor, across: Tensor) -> Tensor:
    """n (n-3) HSIC_1 from tr(K L), the sums of K and of L, and 1'K L 1."""
    return trace + total_k * total_l / ((n - 1.0) * (n - 2.0)) - 2.0 * across / (n - 2.0)
