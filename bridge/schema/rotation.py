"""The options of task=rotation."""

from dataclasses import dataclass, field
from typing import Any

from bridge.schema.method import TaskConfig


@dataclass
class RotationGatesConfig:
    """Thresholds of the validity gates of task=rotation."""

    planted: float = 1e-6
    alone: float = 1e-3


@dataclass
class RotationConfig(TaskConfig):
    """A rotation for each site, fitted on some strings and scored on others."""

    name: str = "rotation"
    # all, or a list of sites: embed, and resid_pre_B, resid_mid_B, resid_post_B of block B.
    sites: Any = "all"
    # Of each random control.
    n_draws: int = 20
    # Haar draws that a fitted rotation is compared with.
    n_haar: int = 199
    # Bootstrap resamples and sign flips of the strings.
    n_resamples: int = 2000
    # A file with an orthogonal matrix (.npy, .safetensors, text), scored beside the fitted one, and the name of its
    # tensor.
    matrix: str | None = None
    matrix_name: str | None = None
    gates: RotationGatesConfig = field(default_factory=RotationGatesConfig)
