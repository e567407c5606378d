"""The estimate: the fitted map itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Kind, Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Fitted(Control):
    """The fitted map."""

    name: str = "fitted"
    kind: Kind = "estimate"
    rules_out: str = "the fitted map itself"
    what: str = "the fitted map"
    heading: str = "fit-\nted"
    look: Look | None = Look("#d55e00", "o", width=2.8)

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The source's states through the map."""
        return carrier.back(carrier.map_.transform(carrier.source_.transform(rows.X))[None], rows.X)
