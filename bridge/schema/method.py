"""What is fitted, how it enters the target, what it is held against, and how it is scored."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from bridge.controls import CONTROLS


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


@dataclass
class LmHeadConfig(InjectionConfig):
    """Decoded by the target's final norm and head."""

    _target_: str = "bridge.injection.lm_head.LmHead"
    name: str = "lm_head"


@dataclass
class LateLayerConfig(InjectionConfig):
    """Put in k blocks before the end, at the last position."""

    _target_: str = "bridge.injection.late_layer.LateLayer"
    name: str = "late_layer"
    k: int | None = None
    context: Context = Context.neutral
    neutral_prompt: str = "${pair.neutral_prompt}"


@dataclass
class SoftPrefixConfig(InjectionConfig):
    """The last k states as input embeddings."""

    _target_: str = "bridge.injection.soft_prefix.SoftPrefix"
    name: str = "soft_prefix"
    k: int = 1
    template: str = "${pair.copy_prompt}"


@dataclass
class ControlConfig:
    """What is scored, and how many draws a random control has."""

    names: list[str] = field(default_factory=lambda: list(CONTROLS))
    # auto: 20, one more than p <= 0.05 needs, in a family of any size.
    n_draws: int | str = "auto"


@dataclass
class NormalizeConfig:
    """What is done to states before a fit and undone in the target's scale and mean after it."""

    _target_: str = "bridge.normalize.Normalize"
    center: bool = True
    scale: Scale = Scale.frobenius
    # How far the covariance is drawn towards a multiple of the identity, with scale=whiten.
    shrinkage: float = 0.1


@dataclass
class GatesConfig:
    """Thresholds of the validity gates."""

    states: float = 1e-4
    drift: float = 1e-4
    pairing: float = 0.005
    alive: float = 0.7
    planted: float = 0.05


@dataclass
class TaskConfig:
    """What is carried and how it is scored."""

    _target_: str = MISSING
    name: str = MISSING


@dataclass
class TranslateConfig(TaskConfig):
    """A hidden state, scored by the token that the target decodes from it."""

    _target_: str = "bridge.tasks.translate.fitting.Translate"
    name: str = "translate"
    n_resamples: int = 2000
    # true: leave the fitted map in OUTPUTS/artefacts/map/KEY, for bridge.maps.Adapter.load.
    save_map: bool = False
    gates: GatesConfig = field(default_factory=GatesConfig)
