"""The base class of injections: prepare once for a set of prompts, then give logits for any mapped states.

Source: Lenc and Vedaldi (2015), "Understanding image representations by measuring their equivariance and equivalence",
CVPR, arXiv:1411.5908, where the output of one network's first layers, mapped, enters the last layers of another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from bridge.errors import ConfigError, layer_out_of_range
from bridge.models.encoding import Text
from bridge.models.loading import LoadedModel

# Rows of one forward pass. With a small vocabulary a pass has more rows, because every pass costs about a millisecond.
ROWS_PER_PASS, LOGITS_PER_PASS = 256, 2**21


class Injection(ABC):
    """How a mapped state enters the target.

    The constructor stores the options. `prepare` does the work that all states share, once. `logits` may then be called
    many times.
    """

    n_states: int = 1

    def target_layer(self, n_blocks: int, layer: int | None, name: str = "the target") -> int:
        """The layer of the target that the map is fitted to: `layer`, or the final layer where that is None."""
        return n_blocks if layer is None else checked_layer(n_blocks, layer, name)

    @abstractmethod
    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Do the work that all states share.

        Args:
            target: the model that states enter.
            prompts: the prompts that `rows` of `logits` index, each as a text or as its token ids.
            layer: the layer of the states, from `target_layer`.
        """

    @abstractmethod
    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """The target's logits of the next token, with `states` injected.

        Args:
            states: (b, d), or (b, n_states, d); raw, in the target's own scale and mean.
            rows: (b,) index of the prompt that each state belongs to.

        Returns:
            (b, V) float32 on the target's device. Other memory does not grow with b, unless `states` require a
            gradient: then all rows go through in one pass, and the logits are differentiable.
        """

    def continued(self, states: Tensor, rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Score whole answers with `states` injected, and continue greedily from them.

        Args:
            states: as in `logits`.
            rows: as in `logits`.
            answers: (b, T) tokens of the gold answers, padded with -1.

        Returns:
            (b,) log-probability of each answer in nats, and (b, T) tokens of the target's greedy continuation.

        Raises:
            ConfigError: later tokens could not attend to the injected state.
        """
        raise ConfigError(
            f"{type(self).__name__} decodes one token, and with dataset.answers=any answers have several; wanted an "
            "injection whose state later tokens attend to: give injection=late_layer with a block left to run or "
            "injection=soft_prefix, or dataset.answers=one_token"
        )


def checked_layer(n_blocks: int, layer: int, name: str) -> int:
    """Return `layer` where the model has it.

    Raises:
        ConfigError: `layer` is below 0 or above the number of blocks.
    """
    if not 0 <= layer <= n_blocks:
        raise layer_out_of_range(layer, name, n_blocks)
    return layer


def in_passes(target: LoadedModel, states: Tensor, logits: Callable[[slice], Tensor]) -> Tensor:
    """Logits (n, V) float32 of n states, in passes of bounded size.

    Args:
        target: the model whose vocabulary and device decide the size of a pass.
        states: (n, ...); where they require a gradient, all go through in one pass.
        logits: computes the logits (b, V) of a slice of the states.
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
