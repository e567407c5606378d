"""What is fitted from the source's states to the target's."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from bridge.schema.training import TrainingConfig


class Completion(Enum):
    """What an orthogonal map does outside the span of its fit rows."""

    nearest = "nearest"
    none = "none"


@dataclass
class MapConfig:
    """What is fitted from the source's states to the target's."""

    _target_: str = MISSING
    name: str = MISSING
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class OrthogonalConfig(MapConfig):
    """Orthogonal Procrustes."""

    _target_: str = "bridge.maps.orthogonal.Orthogonal"
    name: str = "orthogonal"
    completion: Completion = Completion.nearest


@dataclass
class LinearConfig(MapConfig):
    """Least squares of minimum norm."""

    _target_: str = "bridge.maps.linear.Linear"
    name: str = "linear"


@dataclass
class RidgeConfig(MapConfig):
    """Least squares with a penalty."""

    _target_: str = "bridge.maps.ridge.Ridge"
    name: str = "ridge"
    penalty: float = 0.01
