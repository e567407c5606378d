"""Negative control: no map."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Identity(Control):
    """The source's normalised states as they are, zero-padded or cut where widths differ."""

    name: str = "identity"
    rules_out: str = "that the two spaces agree as they are: no map, zero-padded"
    heading: str = "iden-\ntity"
    spare: bool = True
    look: Look | None = Look("#cc79a7", "P")
    order: int = 4

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The source's states, in the width of the target."""
        Z = carrier.source_.transform(rows.X)
        padded = Z.new_zeros(len(Z), carrier.d_target)
        width = min(Z.shape[1], carrier.d_target)
        padded[:, :width] = Z[:, :width]
        return carrier.back(padded[None], rows.X)
