"""Representational similarity analysis: whether the same pairs of items are near to each other in both models."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.pairs import PairProducts
from bridge.similarity.scorer import Scorer
from bridge.similarity.states import EPS, TIE, LayerStates


def rsa(
    X: Tensor,
    Y: Tensor,
    correlation: Literal["pearson", "spearman"] = "spearman",
    distance: Literal["euclidean", "cosine", "correlation"] = "euclidean",
) -> float:
    """Correlate the distances between rows of X with those between rows of Y.

    Over all pairs i < j, the correlation of |x_i - x_j| with |y_i - y_j|, or of one minus the cosine of both rows, or
    of one minus their correlation across features. Spearman's needs no distance to be linear in the other; ties share
    their mean rank. With Euclidean distances it is the same under rotation, reflection, shift and isotropic scale of
    either side, with cosines not under a shift, and with correlations across features under isotropic scale alone:
    they depend on the basis.

    Source: Kriegeskorte, Mur, Bandettini (2008), doi:10.3389/neuro.06.004.2008.

    Args:
        X: (n, d_source).
        Y: (n, d_target).
        correlation: "pearson" or "spearman".
        distance: "euclidean", "cosine" or "correlation".

    Returns:
        A correlation in [-1, 1].

    Raises:
        FitError: fewer than four rows, unequal numbers of rows, all distances equal, or not finite.

    Example:
        >>> X = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> round(rsa(X, -2 * X + 5, "pearson"), 9)
        1.0
    """
    kinds = {"pearson": PEARSON, "spearman": SPEARMAN}
    if correlation not in kinds or distance not in PEARSON:
        raise FitError(
            f"rsa got correlation {correlation!r} and distance {distance!r}; wanted one of {', '.join(kinds)}, and one "
            f"of {', '.join(PEARSON)}: change them"
        )
    return kinds[correlation][distance].of(X, Y).score()


class RsaPearson(Scorer):
    """`rsa` with Pearson's correlation."""

    measures = ("rsa_pearson",)

    def _distances(self, layer: LayerStates) -> tuple[Tensor, Tensor]:
        """Dissimilarities (n, n), Euclidean ones squared, and the numerical resolution (n,) of each row's."""
        return layer.squared_distances, layer.tolerance

    def _values(self, distances: Tensor, tolerance: Tensor) -> Tensor:
        """The values to correlate (m,), from dissimilarities (m,) and their numerical resolution (m,)."""
        return distances.sqrt()

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        self._products = PairProducts(*([self._standardised(layer) for layer in side] for side in (source, target)))

    def _standardised(self, layer: LayerStates) -> Tensor:
        i, j = torch.triu_indices(layer.n, layer.n, 1, device=layer.X.device)
        distances, tolerance = self._distances(layer)
        values = self._values(distances[i, j], torch.maximum(tolerance[i], tolerance[j]))
        values = values - values.mean()
        norm = values.norm()
        if norm <= 1e-12 * len(values):
            raise FitError(
                f"all rows of {layer.name} are equally far from each other; wanted distances that differ, to "
                "correlate: give more items or another layer"
            )
        whole = layer.X.new_zeros(layer.n, layer.n)
        whole[i, j] = whole[j, i] = values / norm
        return whole

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        return self._products(permutation)[None]


class RsaSpearman(RsaPearson):
    """`rsa` with Spearman's correlation."""

    measures = ("rsa_spearman",)

    def _values(self, distances: Tensor, tolerance: Tensor) -> Tensor:
        return mean_ranks(distances, tolerance)


class _Cosine(RsaPearson):
    def _distances(self, layer: LayerStates) -> tuple[Tensor, Tensor]:
        return 1.0 - layer.cosines, layer.cosines.new_full((layer.n,), TIE)

    def _values(self, distances: Tensor, tolerance: Tensor) -> Tensor:
        return distances


class _Correlation(_Cosine):
    def _distances(self, layer: LayerStates) -> tuple[Tensor, Tensor]:
        rows = layer.X - layer.X.mean(1, keepdim=True)
        lengths = rows.norm(dim=1, keepdim=True)
        flat = lengths[:, 0] <= layer.X.norm(dim=1) * EPS * layer.X.shape[1]
        if bool(flat.any()):
            raise FitError(
                f"{int(flat.sum())} rows of {layer.name} have the same number in every feature; wanted features that "
                "differ, to correlate: leave those items out or use another distance"
            )
        rows = rows / lengths
        return 1.0 - rows @ rows.T, rows.new_full((layer.n,), TIE)


class RsaCosine(_Cosine, RsaSpearman):
    """`rsa` of cosines, with Spearman's correlation."""

    measures = ("rsa_cosine",)
    _values = RsaSpearman._values


class RsaCorrelation(_Correlation, RsaSpearman):
    """`rsa` of correlations across features, with Spearman's correlation."""

    measures = ("rsa_correlation",)
    _values = RsaSpearman._values


PEARSON: dict[str, type[RsaPearson]] = {"euclidean": RsaPearson, "cosine": _Cosine, "correlation": _Correlation}
SPEARMAN: dict[str, type[RsaPearson]] = {
    "euclidean": RsaSpearman,
    "cosine": RsaCosine,
    "correlation": RsaCorrelation,
}


def mean_ranks(values: Tensor, tolerance: Tensor | None = None) -> Tensor:
    """Ranks (m,) of values (m,) from 1, equal values sharing their mean rank.

    Args:
        values: (m,).
        tolerance: (m,) at least 0; two consecutive values are equal where they differ by no more than both tolerances.

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
