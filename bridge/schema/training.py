"""How a map is trained through the target, after its own fit."""

from dataclasses import dataclass
from enum import Enum

from bridge.maps.schedule import Schedule


class TrainingLoss(Enum):
    """What is minimised: the error of the states, or that of the frozen target's answer."""

    states = "states"
    target = "target"


class MixedPrecision(Enum):
    """The precision of the target's forward and backward pass, as `accelerate` calls it."""

    no = "no"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass
class TrainingConfig(Schedule):
    """How a map is trained through the target; with `loss=states` the other options have no effect."""

    _target_: str = "bridge.training.through_target.ThroughTarget"
    loss: TrainingLoss = TrainingLoss.states
    n_steps: int = 200
    lr: float = 2e-3
    batch_size: int = 32
    mixed_precision: MixedPrecision = MixedPrecision.no
