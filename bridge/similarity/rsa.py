"""Representational similarity analysis: whether the same pairs of items are near and far."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.pairs import PairProducts
from bridge.similarity.scorer import Scorer
from bridge.similarity.states import LayerStates


def rsa(X: Tensor, Y: Tensor, correlation: Literal["pearson", "spearman"] = "spearman") -> float:
    """Correlate the distances between rows of X with those between rows of Y.

    Over all pairs i < j, the correlation of |x_i - x_j| with |y_i - y_j|. Spearman's needs no distance to be linear
    in the other; ties share their mean rank. The same under rotation, reflection, shift and isotropic scale of either
    side. Of the dissimilarities that are in use this is the Euclidean one; one minus the correlation across features
    would depend on the basis.

    Source: Kriegeskorte, Mur, Bandettini (2008), doi:10.3389/neuro.06.004.2008.

    Args:
        X: (n, d_source).
        Y: (n, d_target).
        correlation: "pearson" or "spearman".

    Returns:
        A correlation in [-1, 1].

    Raises:
        FitError: fewer than four rows, unequal numbers of rows, all distances equal, or not finite.

    Example:
        >>> X = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> round(rsa(X, -2 * X + 5, "pearson"), 9)
        1.0
    """
    return (RsaPearson if correlation == "pearson" else RsaSpearman).of(X, Y).score()


class RsaPearson(Scorer):
    """`rsa` with Pearson's correlation."""

    measures = ("rsa_pearson",)

    def _values(self, squares: Tensor, tolerance: Tensor) -> Tensor:
        """What is correlated, of squared distances (m,) and what each is resolved to (m,)."""
        return squares.sqrt()

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        self._products = PairProducts(*([self._standardised(layer) for layer in side] for side in (source, target)))

    def _standardised(self, layer: LayerStates) -> Tensor:
        i, j = torch.triu_indices(layer.n, layer.n, 1, device=layer.X.device)
        tolerance = torch.maximum(layer.tolerance[i], layer.tolerance[j])
        values = self._values(layer.squared_distances[i, j], tolerance)
        values = values - values.mean()
        norm = values.norm()
        if norm <= 1e-12 * len(values):
            raise FitError(f"all rows of {layer.name} are equally far from each other, so nothing can be correlated")
        whole = layer.X.new_zeros(layer.n, layer.n)
        whole[i, j] = whole[j, i] = values / norm
        return whole

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        return self._products(permutation)[None]


class RsaSpearman(RsaPearson):
    """`rsa` with Spearman's correlation."""

    measures = ("rsa_spearman",)

    def _values(self, squares: Tensor, tolerance: Tensor) -> Tensor:
        return mean_ranks(squares, tolerance)


def mean_ranks(values: Tensor, tolerance: Tensor | None = None) -> Tensor:
    """Ranks (m,) of values (m,) from 1, equal values sharing their mean rank.

    Args:
        values: (m,).
        tolerance: (m,) at least 0; neighbours in order that differ by no more than both of theirs are equal.

    Example:
        >>> mean_ranks(torch.tensor([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
        >>> mean_ranks(torch.tensor([3.0, 1.0, 3.1]), torch.full((3,), 0.2)).tolist()
        [2.5, 1.0, 2.5]
    """
    order = values.argsort()
    gaps = values[order].diff()
    apart = gaps > 0.0
    if tolerance is not None:
        apart = gaps > torch.minimum(tolerance[order[:-1]], tolerance[order[1:]])
    place = torch.cat([apart.new_zeros(1), apart]).cumsum(0)
    counts = torch.bincount(place).to(torch.float64)
    ranks = values.new_empty(len(values), dtype=torch.float64)
    ranks[order] = (counts.cumsum(0) - (counts - 1.0) / 2.0)[place]
    return ranks
