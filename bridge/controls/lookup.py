"""Baseline: a table of known answers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Kind, Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Lookup(Control):
    """The target's mean state of the answer that the nearest fit rows have; see `bridge.carry.nearest`."""

    name: str = "lookup"
    kind: Kind = "baseline"
    rules_out: str = (
        "that a table of known answers would do: the target's mean state of the answer of the nearest fit rows"
    )
    heading: str = "look-\nup"
    what: str = "a table of known answers"
    look: Look | None = Look("#7f1d4e", "h", width=2.0)
    order: int = 1

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The table's state of each row."""
        return carrier.lookup_.states(carrier.source_.transform(rows.X))[None]
