"""How states are carried over and scored."""

from dataclasses import dataclass, field

from bridge.schema.method import TaskConfig


@dataclass
class GatesConfig:
    """Thresholds of the validity gates."""

    states: float = 1e-4
    drift: float = 1e-4
    pairing: float = 0.005
    alive: float = 0.7
    planted: float = 0.05


@dataclass
class TranslateConfig(TaskConfig):
    """A hidden state, scored by the token that the target decodes from it."""

    name: str = "translate"
    n_resamples: int = 2000
    # true: leave the fitted map in OUTPUTS/maps/RUN_ID, for bridge.maps.Adapter.load.
    save_map: bool = False
    gates: GatesConfig = field(default_factory=GatesConfig)
