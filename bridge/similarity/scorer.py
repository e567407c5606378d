"""The interface of a measure: score every source layer against every target layer, for any pairing of their rows."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.states import LayerStates


@dataclass(frozen=True)
class Options:
    """Numbers that some measures take.

    Attributes:
        k: neighbours of a row, for mutual_knn and cknna.
        bandwidth: of the Gaussian kernel, in medians of the distances between rows.
        bandwidth_unit: "median", or "absolute" where the bandwidth is a distance itself.
        variance: share of the variance that SVCCA keeps, in (0, 1].
        n_components: components that SVCCA keeps in place of a share of the variance.
        penalty: of linear predictivity, relative as in `bridge.maps.Ridge`.
        tie_seeds: for source and target, how neighbours at equal distance are put in order.
    """

    k: int = 10
    bandwidth: float = 1.0
    bandwidth_unit: str = "median"
    variance: float = 0.99
    n_components: int | None = None
    penalty: float = 0.01
    tie_seeds: tuple[int, int] = (0, 1)


def check_rows(layers: Sequence[LayerStates]) -> int:
    """The number of rows, the same for all layers.

    Raises:
        FitError: layers have different numbers of rows.
    """
    n = {layer.n for layer in layers}
    if len(n) != 1:
        raise FitError(
            f"layers have {' and '.join(map(str, sorted(n)))} rows; wanted as many in each: give states of "
            "the same items"
        )
    return n.pop()


class Scorer(ABC):
    """Scores of measures that share their work, for S source layers and T target layers.

    Quantities of a single layer are computed once and cached; a permutation of the target's rows then costs a lookup
    and a product, and no new factorization.

    Args:
        source: S layers of n rows.
        target: T layers of n rows.
        options: of the measures.
    """

    measures: ClassVar[tuple[str, ...]]

    def __init__(self, source: Sequence[LayerStates], target: Sequence[LayerStates], options: Options) -> None:
        self.n = check_rows([*source, *target])
        self.options = options
        self.device = source[0].X.device
        self._prepare(source, target)

    @classmethod
    def of(cls, X: Tensor, Y: Tensor, options: Options | None = None) -> Self:
        """The scorer of one layer against one other."""
        return cls([LayerStates(X, "X")], [LayerStates(Y, "Y")], options or Options())

    def score(self, measure: str | None = None) -> float:
        """A measure (the first when None) of the first pair of layers, rows paired as they came."""
        at = 0 if measure is None else self.measures.index(measure)
        return float(self.scores(torch.arange(self.n, device=self.device))[at, 0, 0])

    @abstractmethod
    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        """Compute what is the same for all permutations."""

    @abstractmethod
    def scores(self, permutation: Tensor) -> Tensor:
        """Scores where row i of the source is paired with row permutation[i] of the target.

        Args:
            permutation: (n,) long.

        Returns:
            (c, S, T) float64, one matrix for each of `measures`, at most 1.
        """
