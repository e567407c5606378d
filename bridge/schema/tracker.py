"""Where results are streamed to."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING


class TrackerMode(Enum):
    """Where Weights & Biases keeps a run."""

    online = "online"
    offline = "offline"
    disabled = "disabled"


class RunPer(Enum):
    """What one W&B run is in a sweep."""

    curve = "curve"
    cell = "cell"


@dataclass
class TrackerConfig:
    """Where results are streamed to."""

    _target_: str = MISSING
    name: str = MISSING
    # What curves run along in a sweep: an axis of the task, or any key whose value is or holds a number (dataset.size,
    # seed). null: the axis along which the task looks for a best place, such as layer, or its first.
    x: str | None = None


@dataclass
class NoTrackerConfig(TrackerConfig):
    """Nowhere: records alone."""

    _target_: str = "bridge.tracking.none.NoTracker"
    name: str = "none"


@dataclass
class WandbConfig(TrackerConfig):
    """Weights & Biases."""

    _target_: str = "bridge.tracking.wandb.WandbTracker"
    name: str = "wandb"
    project: str = "bridge"
    entity: str | None = None
    # null: in a sweep, its name.
    group: str | None = None
    mode: TrackerMode = TrackerMode.online
    init_timeout_s: float = 20.0
    # In a sweep:
    run_per: RunPer = RunPer.curve
