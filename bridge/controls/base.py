"""The base class of controls: a condition that gives states in place of the target's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.results.conditions import Condition

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Carried:
    """Rows to carry.

    Attributes:
        X: (m, d_source) float64 states of the source.
        Y: (m, d_target) float64 the target's own states of the same rows; only ceilings look at them.
        answers: (m,) integer answer of each row, as in the fit rows; None where they are not known.
        texts: m tuples, the tokens that the source had read at each row; None where they are not known.
    """

    X: "Tensor"
    Y: "Tensor"
    answers: "Tensor | None" = None
    texts: Sequence[tuple[int, ...]] | None = None


@dataclass(frozen=True)
class Control(Condition):
    """A condition that puts states into the target: the fitted map, or a control. Each is a class in a file here.

    Importing such a file loads no torch, so that listing the controls is fast.

    Attributes:
        fits: whether it fits the map again, on other rows; such a control is absent where a saved map is used.
    """

    fits: bool = False

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The states that enter the target in place of its own.

        Args:
            carrier: the fit: its rows, normalisation, map and number of draws.
            rows: to carry.

        Returns:
            (n_draws or 1, m, d_target) float64 in the target's own scale and mean.
        """
        raise NotImplementedError

    def why_absent(self, carrier: "Carrier") -> str | None:
        """The reason why it is left out on the carrier's fit rows; None where it is not."""
        return None
