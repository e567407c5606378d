"""What a sweep is called, and which way a pair is run."""

from dataclasses import dataclass
from enum import Enum


class Direction(Enum):
    """From the pair's source to its target, or the other way round."""

    forward = "forward"
    reverse = "reverse"


@dataclass
class SweepConfig:
    """The sweep that a cell belongs to; null for a cell of its own."""

    name: str | None = None
