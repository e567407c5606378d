"""Where results are streamed to."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING


class TrackerMode(Enum):
    """Where Weights & Biases keeps a run."""

    online = "online"
    offline = "offline"
    disabled = "disabled"


@dataclass
class TrackerConfig:
    """Where results are streamed to."""

    _target_: str = MISSING
    name: str = MISSING


@dataclass
class NoTrackerConfig(TrackerConfig):
    """Nowhere: records alone."""

    _target_: str = "bridge.tracking.NoTracker"
    name: str = "none"


@dataclass
class WandbConfig(TrackerConfig):
    """Weights & Biases."""

    _target_: str = "bridge.tracking.WandbTracker"
    name: str = "wandb"
    project: str = "bridge"
    entity: str | None = None
    group: str | None = None
    mode: TrackerMode = TrackerMode.online
    init_timeout_s: float = 20.0
