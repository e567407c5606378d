"""The options of task=similarity."""

from dataclasses import dataclass, field
from typing import Any

from bridge.schema.method import TaskConfig
from bridge.similarity.measures import DEFAULT_MEASURES


@dataclass
class SimilarityGatesConfig:
    """Thresholds of the validity gates of task=similarity."""

    planted: float = 1e-6
    permuted: float = 0.05


@dataclass
class SimilarityConfig(TaskConfig):
    """Layers of two models, compared as they are; nothing is fitted, and nothing enters the target."""

    _target_: str = "bridge.tasks.similarity.layers.Similarity"
    name: str = "similarity"
    measures: list[str] = field(default_factory=lambda: list(DEFAULT_MEASURES))
    # all, or a list of layers, taken in both models; task.source_layers and task.target_layers where they differ.
    layers: Any = "all"
    source_layers: Any = None
    target_layers: Any = None
    n_permutations: int = 100
    k: int = 10
    bandwidth: float = 1.0
    # median: in medians of the distance between two rows; absolute: in the units of the states.
    bandwidth_unit: str = "median"
    variance: float = 0.99
    # Of SVCCA, in place of task.variance.
    n_components: int | None = None
    penalty: float = 0.01
    # Numbers beyond this quantile of a row's absolute values are cut, in both models.
    clip: float | None = None
    gates: SimilarityGatesConfig = field(default_factory=SimilarityGatesConfig)
