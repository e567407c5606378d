"""The options of task=sae."""

from dataclasses import dataclass, field
from typing import Any

from bridge.schema.method import TaskConfig


@dataclass
class SAEGatesConfig:
    """Thresholds of the validity gates of task=sae."""

    planted: float = 1e-3
    alone: float = 1e-3
    trained: float = 0.5


@dataclass
class SAETaskConfig(TaskConfig):
    """Sparse autoencoders of the source, carried over to the target, for each site."""

    name: str = "sae"
    # all, or a list of sites: embed, and resid_pre_B, resid_mid_B, resid_post_B of block B.
    sites: Any = "all"
    # topk, batch_topk or relu_l1; see bridge.sae.spec for these.
    kind: str = "topk"
    expansion: int = 8
    k: int = 8
    l1: float = 0.1
    n_steps: int = 800
    batch_size: int = 256
    learning_rate: float = 3e-3
    # Folders of SAEs (SAELens or dictionary_learning) in place of trained ones, for one site; the name of a folder in
    # each, where it holds several.
    source_sae: str | None = None
    target_sae: str | None = None
    sae_name: str | None = None
    # One set of features for both models, trained beside the SAEs.
    crosscoder: bool = True
    # Put reconstructions back into the target, and ask for its loss.
    loss: bool = True
    # Of each random control.
    n_draws: int = 20
    # Bootstrap resamples and sign flips of the strings.
    n_resamples: int = 2000
    gates: SAEGatesConfig = field(default_factory=SAEGatesConfig)
