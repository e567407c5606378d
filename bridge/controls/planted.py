"""A ceiling: a known rotation, which the fit must undo."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Kind, Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Planted(Control):
    """The target's own states under a known Haar rotation: a known answer for the whole pipeline."""

    name: str = "planted"
    kind: Kind = "ceiling"
    rules_out: str = (
        "that the pipeline is broken: the target's own states under a known Haar rotation, which the fit must undo"
    )
    heading: str = "plan-\nted"
    spare: bool = True
    look: Look | None = Look("#a6761d", "<", (3, 9), 3)
    order: int = 2

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The rotated states, mapped back."""
        import torch

        from bridge.carry.carrier import Carrier
        from bridge.carry.draws import haar_rotated
        from bridge.maps.orthogonal import Orthogonal

        fit, Y = carrier.fit_rows, rows.Y
        rotated = haar_rotated(torch.cat([fit.Y, Y]), Y.shape[1], carrier.generator(self.name))
        n = len(fit)
        # It tests everything around the map, so for a map that cannot undo a rotation one that can is fitted.
        undo = carrier.map if carrier.map.can_rotate else Orthogonal()
        planted = Carrier(undo, carrier.normalize, replace(fit, X=rotated[:n]), 1, carrier.seed)
        return planted.carry("fitted", rotated[n:], Y)
