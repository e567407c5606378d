"""Injection, control, normalisation and task: how a mapped state enters the target, and how it is scored."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING


class Scale(Enum):
    """How rows are scaled before a fit."""

    none = "none"
    l2 = "l2"
    frobenius = "frobenius"
    whiten = "whiten"


class Context(Enum):
    """Which prompt a mapped state is put behind."""

    same = "same"
    neutral = "neutral"


@dataclass
class InjectionConfig:
    """How a mapped state enters the target."""

    _target_: str = MISSING
    name: str = MISSING

    @property
    def n_states(self) -> int:
        """The number of states that it takes of an item."""
        return 1


@dataclass
class LmHeadConfig(InjectionConfig):
    """Decoded by the target's final norm and head."""

    _target_: str = "bridge.injection.lm_head.LmHead"
    name: str = "lm_head"


@dataclass
class LateLayerConfig(InjectionConfig):
    """Activation patching at the last position, k blocks before the end."""

    _target_: str = "bridge.injection.late_layer.LateLayer"
    name: str = "late_layer"
    k: int | None = None
    context: Context = Context.neutral
    neutral_prompt: str = "${pair.neutral_prompt}"


@dataclass
class SoftPrefixConfig(InjectionConfig):
    """A soft prompt: the last k states as input embeddings."""

    _target_: str = "bridge.injection.soft_prefix.SoftPrefix"
    name: str = "soft_prefix"
    k: int = 1
    template: str = "${pair.copy_prompt}"

    @property
    def n_states(self) -> int:
        """One for each token of the prefix."""
        return self.k


@dataclass
class ControlConfig:
    """What is scored, and how many draws a random control has."""

    # all: every control that the task has.
    names: list[str] = field(default_factory=lambda: ["all"])
    # auto: 20, one more than p <= 0.05 needs, in a family of any size.
    n_draws: int | str = "auto"


@dataclass
class NormalizeConfig:
    """The normalisation of states before a fit; mapped states are returned to the target's scale and mean."""

    _target_: str = "bridge.normalize.Normalize"
    center: bool = True
    scale: Scale = Scale.frobenius
    # Shrinkage of the covariance towards a multiple of the identity, with scale=whiten.
    shrinkage: float = 0.1


@dataclass
class TaskConfig:
    """What is carried and how it is scored."""

    name: str = MISSING
