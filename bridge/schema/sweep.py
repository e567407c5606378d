"""The name of a sweep, its axes beyond a plain grid, and the direction of the pair."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Direction(Enum):
    """From the pair's source to its target, or the other way round."""

    forward = "forward"
    reverse = "reverse"


@dataclass
class SweepConfig:
    """The sweep that a cell belongs to; without a name for a cell of its own."""

    name: str | None = None
    # Begin no further cell once as many cells failed with the same error. null: begin every cell.
    fail_fast: int | None = None
    # Axes that move together: [[layer.source, layer.target]]
    zip: list[list[str]] = field(default_factory=list)
    # Cells that are left out: [{injection: soft_prefix, layer: [0, final]}]
    exclude: list[dict[str, Any]] = field(default_factory=list)
    # Several grids in one sweep, each on top of hydra.sweeper.params: [{map: ridge, seed: [0, 1]}, {map: orthogonal}]
    grids: list[dict[str, Any]] = field(default_factory=list)
