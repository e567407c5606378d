"""What an SAE is trained with."""

import math
from dataclasses import dataclass

from bridge.errors import ConfigError

TRAINED = ("topk", "batch_topk", "relu_l1")


@dataclass(frozen=True)
class SAESpec:
    """The settings of one SAE. Units are those of states whose mean norm is sqrt(d), see `normalize`.

    Attributes:
        kind: topk, batch_topk or relu_l1.
        expansion: features for each dimension of the states: m = expansion * d.
        k: features that are kept in a row; of topk and batch_topk.
        l1: weight of the sum of a row's features beside its squared error; of relu_l1.
        n_steps: of Adam.
        batch_size: rows a step, drawn with replacement.
        learning_rate: of Adam; it falls to 0 over the last fifth of the steps.
        seed: of the batches and, without `start_seed`, of the start.
        start_seed: of the start alone. SAEs that share it start from the same decoder: a control only, since their
            features then match whatever the states are.
        normalize: whether states are centered and scaled to a mean norm of sqrt(d) in training. Scale and mean are
            folded back into the weights, so the SAE works on states as they are. Without it, they are only centered.
        frozen_decoder: whether the decoder keeps its random start, the frozen-random baseline (Korznikov 2026,
            arXiv 2602.14111).

    Raises:
        ConfigError: settings that nothing can be trained with.
    """

    kind: str = "topk"
    expansion: int = 8
    k: int = 16
    l1: float = 1.0
    n_steps: int = 4000
    batch_size: int = 512
    learning_rate: float = 1e-3
    seed: int = 0
    start_seed: int | None = None
    normalize: bool = True
    frozen_decoder: bool = False

    def __post_init__(self) -> None:
        if self.kind not in TRAINED:
            raise ConfigError(f"task.kind={self.kind}; wanted one of {', '.join(TRAINED)}: change it")
        for name in ("expansion", "k", "n_steps", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"task.{name}={getattr(self, name)}; wanted a finite number above 0: change it")
        if not 0 <= self.l1 < math.inf:
            raise ConfigError(f"task.l1={self.l1}; wanted a finite number of 0 or more: change it")
