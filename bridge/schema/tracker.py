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
    # What curves run along in a sweep. Also dataset.size, seed, or any key whose value is or holds a number.
    x: str = "layer"


@dataclass
class NoTrackerConfig(TrackerConfig):
    """Nowhere: records alone."""

    _target_: str = "bridge.tracking.single.NoTracker"
    name: str = "none"


@dataclass
class WandbConfig(TrackerConfig):
    """Weights & Biases."""

    _target_: str = "bridge.tracking.single.WandbTracker"
    name: str = "wandb"
    project: str = "bridge"
    entity: str | None = None
    # null: in a sweep, its name.
    group: str | None = None
    mode: TrackerMode = TrackerMode.online
    init_timeout_s: float = 20.0
    # In a sweep:
    run_per: RunPer = RunPer.curve
