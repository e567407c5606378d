"""A ceiling: the target's own states through the same fit."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Kind, Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class SameModel(Control):
    """The target mapped onto itself."""

    name: str = "same_model"
    kind: Kind = "ceiling"
    rules_out: str = "that the map is too small: the target's own states, same fit, same injection"
    fits: bool = True
    heading: str = "same\nmodel"
    look: Look | None = Look("#000000", "^", (3, 9))
    order: int = 1

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The target's states through a fit from the target."""
        fit = carrier.fit_rows
        return carrier.like(replace(fit, X=fit.Y)).carry("fitted", rows.Y, rows.Y)
