"""What every way of putting mapped states into the target has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from bridge.errors import ConfigError
from bridge.models.encoding import Text
from bridge.models.loading import LoadedModel

# Of a small vocabulary more rows go through at once, because a pass costs a millisecond of its own.
ROWS_PER_PASS, LOGITS_PER_PASS = 256, 2**21


class Injection(ABC):
    """How a mapped state enters the target, and what the target then says.

    The constructor only stores; `prepare` does once what all states share; `logits` may be called many times.
    """

    n_states: int = 1

    def target_layer(self, n_blocks: int, layer: int | None, name: str = "the target") -> int:
        """The target's layer at which mapped states must live: the given one, else the final layer."""
        return n_blocks if layer is None else checked_layer(n_blocks, layer, name)

    @abstractmethod
    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Do once what all states share.

        Args:
            prompts: the eval prompts that `rows` of `logits` will count, each as a text or as its token ids.
            layer: what `target_layer` gave.
        """

    @abstractmethod
    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """What the target says when it holds `states`.

        Args:
            states: (b, d), or (b, n_states, d); raw, in the target's own scale and mean.
            rows: (b,) the eval prompt each state belongs to.

        Returns:
            (b, V) float32 on the target's device. Memory beyond that does not grow with b, unless `states`
            require a gradient: then the logits carry it, and all rows go through at once.
        """

    def continued(self, states: Tensor, rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """What the target makes of whole answers when it holds `states`.

        Args:
            states: as in `logits`.
            rows: as in `logits`.
            answers: (b, T) tokens of the gold answers, filled up with -1.

        Returns:
            (b,) log-probability of the answers in nats, and (b, T) the target's own greedy continuation.

        Raises:
            ConfigError: nothing can follow the injected state.
        """
        raise ConfigError(
            f"{type(self).__name__} decodes one token, and dataset.answers=any has answers of several; give "
            "injection=late_layer or injection=soft_prefix, or dataset.answers=one_token"
        )


def checked_layer(n_blocks: int, layer: int, name: str) -> int:
    """`layer`, when the model has it.

    Raises:
        ConfigError: it has not.
    """
    if not 0 <= layer <= n_blocks:
        raise ConfigError(
            f"layer {layer} is out of range for {name}: it has {n_blocks} blocks, so layers 0..{n_blocks}"
        )
    return layer


def in_passes(target: LoadedModel, states: Tensor, logits: Callable[[slice], Tensor]) -> Tensor:
    """Logits (n, V) float32 of the n `states`, as many at once as `target` takes well.

    Args:
        states: (n, ...); where they require a gradient all go through at once.
        logits: gives those (b, V) of a slice of the states.
    """
    n = len(states)
    if states.requires_grad:
        return logits(slice(0, n)).float()
    n_rows = max(ROWS_PER_PASS, LOGITS_PER_PASS // target.anatomy.vocab_size)
    result = torch.empty(n, target.anatomy.vocab_size, dtype=torch.float32, device=target.device)
    with torch.inference_mode():
        for start in range(0, n, n_rows):
            result[start : start + n_rows] = logits(slice(start, start + n_rows))
    return result
