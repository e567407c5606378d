"""A dataclass for every node of the configuration, registered for Hydra.

``_target_`` stands only here, as a default: YAML files name options, never classes.
"""

import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import DictConfig, OmegaConf

from bridge.schema.dataset import (
    Answers,
    AttributesConfig,
    DatasetConfig,
    DyckConfig,
    FactsConfig,
    HuggingFaceConfig,
    JsonConfig,
    RelationsConfig,
    SplitBy,
    SplitConfig,
    SquadConfig,
    Unit,
    Wordings,
)
from bridge.schema.launcher import (
    GridSweeperConfig,
    LocalLauncherConfig,
    PackedLauncherConfig,
    SlurmLauncherConfig,
)
from bridge.schema.map import (
    MAPS,
    MapConfig,
)
from bridge.schema.method import (
    ControlConfig,
    InjectionConfig,
    LateLayerConfig,
    LmHeadConfig,
    NormalizeConfig,
    SoftPrefixConfig,
    TaskConfig,
)
from bridge.schema.model import (
    DyckZooConfig,
    LayerConfig,
    ModelConfig,
    PairConfig,
    TextZooConfig,
    WordsZooConfig,
    ZooConfig,
)
from bridge.schema.sweep import (
    Direction,
    SweepConfig,
)
from bridge.schema.tracker import (
    NoTrackerConfig,
    TrackerConfig,
    WandbConfig,
)
from bridge.schema.training import (
    TrainingConfig,
    TrainingLoss,
)
from bridge.tasks import registry


@dataclass
class PathsConfig:
    """Where everything that is computed goes."""

    outputs: str = "outputs"


@dataclass
class BridgeConfig:
    """The whole configuration of one cell."""

    pair: PairConfig = field(default_factory=PairConfig)
    layer: LayerConfig = field(default_factory=LayerConfig)
    injection: InjectionConfig = field(default_factory=InjectionConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    map: MapConfig = field(default_factory=MapConfig)
    normalize: NormalizeConfig = field(default_factory=NormalizeConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    direction: Direction = Direction.forward
    seed: int = 0
    device: str = "auto"
    batch_size: int = 64
    recompute: bool = False
    report: bool = False


# Every schema that a YAML file of the same group can extend: (group, name, class).
SCHEMAS: tuple[tuple[str, str, type], ...] = (
    ("pair", "pair", PairConfig),
    ("zoo", "words", WordsZooConfig),
    ("zoo", "dyck", DyckZooConfig),
    ("zoo", "text", TextZooConfig),
    ("layer", "layer", LayerConfig),
    ("injection", "lm_head", LmHeadConfig),
    ("injection", "late_layer", LateLayerConfig),
    ("injection", "soft_prefix", SoftPrefixConfig),
    ("control", "control", ControlConfig),
    ("dataset", "facts", FactsConfig),
    ("dataset", "attributes", AttributesConfig),
    ("dataset", "dyck", DyckConfig),
    ("dataset", "json", JsonConfig),
    ("dataset", "squad", SquadConfig),
    ("dataset", "relations", RelationsConfig),
    ("dataset", "huggingface", HuggingFaceConfig),
    *(("map", name, config) for name, config in MAPS.items()),
    ("normalize", "normalize", NormalizeConfig),
    *(("tracker", kind.name, kind) for kind in TrackerConfig.__subclasses__()),
    ("launcher", "local", LocalLauncherConfig),
    ("launcher", "slurm", SlurmLauncherConfig),
    ("sweeper", "grid", GridSweeperConfig),
)
LAYER_NUMBERS: tuple[int, ...] = (*range(-1, 129),)
LAYER_FRACTIONS: tuple[float, ...] = tuple(
    sorted({*(i / 20 for i in range(1, 20)), *(i / 8 for i in range(1, 8)), 0.33, 0.67})
)


@cache
def register() -> None:
    """Put every schema, and the numbered and fractional layers, into Hydra's ConfigStore, once per process."""
    store = ConfigStore.instance()
    store.store(name="bridge_schema", node=BridgeConfig)
    for group, name, node in SCHEMAS:
        store.store(group=f"schema/{group}", name=name, node=node)
    for name in registry.names():
        store.store(group="schema/task", name=name, node=registry.get(name).config)
        if name not in registry.own():
            # A task of another package works without a conf file.
            store.store(group="task", name=name, node=registry.get(name).config)
    for layer in (*LAYER_NUMBERS, *LAYER_FRACTIONS):
        register_layer(str(layer))
    # Hydra deep-copies the whole store at every composition (75 ms with this many layers), and every node that it
    # reads.
    store.__dict__["__deepcopy__"] = _not_copied


def register_layer(name: str) -> None:
    """Register a number or a fraction as an option of the group `layer`."""
    node = copy.deepcopy(_layer())
    node.source = float(name) if "." in name else int(name)
    # ConfigStore.store would convert the dataclass each time, which takes four times as long as everything else.
    group = ConfigStore.instance().repo.setdefault("layer", {})
    group[f"{name}.yaml"] = ConfigNode(f"{name}.yaml", node, "layer", None, None)


@cache
def _layer() -> DictConfig:
    node: DictConfig = OmegaConf.structured(LayerConfig)
    return node


def _not_copied(memo: dict[int, Any]) -> ConfigStore:
    return ConfigStore.instance()


__all__ = [
    "LAYER_FRACTIONS",
    "LAYER_NUMBERS",
    "SCHEMAS",
    "Answers",
    "AttributesConfig",
    "BridgeConfig",
    "ControlConfig",
    "DatasetConfig",
    "Direction",
    "DyckConfig",
    "DyckZooConfig",
    "FactsConfig",
    "GridSweeperConfig",
    "HuggingFaceConfig",
    "InjectionConfig",
    "JsonConfig",
    "LateLayerConfig",
    "LayerConfig",
    "LmHeadConfig",
    "LocalLauncherConfig",
    "MapConfig",
    "ModelConfig",
    "NoTrackerConfig",
    "NormalizeConfig",
    "PackedLauncherConfig",
    "PairConfig",
    "PathsConfig",
    "RelationsConfig",
    "SlurmLauncherConfig",
    "SoftPrefixConfig",
    "SplitBy",
    "SplitConfig",
    "SquadConfig",
    "SweepConfig",
    "TaskConfig",
    "TextZooConfig",
    "TrackerConfig",
    "TrainingConfig",
    "TrainingLoss",
    "Unit",
    "WandbConfig",
    "Wordings",
    "WordsZooConfig",
    "ZooConfig",
    "register",
    "register_layer",
]
