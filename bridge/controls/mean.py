"""Negative control: the target's mean state."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Mean(Control):
    """The target's mean state over the fit rows, whatever the source."""

    name: str = "mean"
    rules_out: str = "that the target answers without the source: its mean state for every item"
    heading: str = "mean"
    look: Look | None = Look("#009e73", "X")
    order: int = 5

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """One state, as often as there are rows."""
        return carrier.fit_rows.Y.mean(0).expand(1, len(rows.X), -1)
