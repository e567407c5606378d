"""Put a mapped state into the residual stream some blocks before the end, at a prompt's last position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
import transformers
from torch import Tensor
from tqdm import tqdm

from bridge.errors import ConfigError, DataError
from bridge.injection.base import Injection, checked_layer, in_passes
from bridge.models.loading import LoadedModel
from bridge.models.replay import context_cache, replay


@dataclass
class Context:
    """The cached positions before the last of all prompts of one length; None where there are none."""

    cache: transformers.DynamicCache | None
    row_of_prompt: dict[int, int]


class LateLayer(Injection):
    """The state replaces the target's own at layer N-k, last position, and the last k blocks run on it.

    Equal to a full forward pass with a hook there. It is computed from the target's cached keys and values of
    the positions before, which the hook cannot change: one token through k blocks.

    Args:
        k: blocks left to run; None takes it from the layer. 0 decodes as `lm_head` does.
        context: "same" puts the state behind the item's own prompt, so the target can also answer from its
            own earlier positions; "neutral" puts every state behind `neutral_prompt`.
        neutral_prompt: a text that gives no answer away.
    """

    def __init__(
        self,
        k: int | None = None,
        context: Literal["same", "neutral"] = "neutral",
        neutral_prompt: str = "The answer is",
    ) -> None:
        self.k = k
        self.context = context
        self.neutral_prompt = neutral_prompt

    def target_layer(self, n_blocks: int, layer: int | None, name: str = "the target") -> int:
        """N-k, or the given layer; both may be given when they agree.

        Raises:
            ConfigError: they disagree, neither is given, or one is out of range.
        """
        if self.k is None and layer is None:
            raise ConfigError("late_layer was given neither k nor a layer; give injection.k or layer")
        if self.k is None:
            return checked_layer(n_blocks, layer or 0, name)
        if self.k < 0:
            raise ConfigError(
                f"k={self.k} is negative; give injection.k between 0 and {n_blocks}, the number of blocks of {name}"
            )
        if self.k > n_blocks:
            raise ConfigError(
                f"k={self.k} is larger than the {n_blocks} blocks of {name}; give injection.k between 0 and {n_blocks}"
            )
        if layer is not None and checked_layer(n_blocks, layer, name) != n_blocks - self.k:
            raise ConfigError(
                f"layer {layer} and k={self.k} disagree: {name} has {n_blocks} blocks, so k={self.k} means "
                f"layer {n_blocks - self.k}; give one of the two"
            )
        return n_blocks - self.k

    def prepare(self, target: LoadedModel, prompts: Sequence[str], layer: int) -> Self:
        """Cache the contexts, once for every length of prompt.

        Raises:
            ConfigError: `layer` is not where the states must live, or `context` is unknown.
            DataError: a prompt has no token.
        """
        if self.context not in ("same", "neutral"):
            raise ConfigError(f"context={self.context!r} is not known; give injection.context same or neutral")
        self.target_ = target
        self.layer_ = self.target_layer(target.anatomy.n_blocks, layer, target.name)
        texts = [self.neutral_prompt] if self.context == "neutral" else list(prompts)
        by_length: dict[int, dict[tuple[int, ...], list[int]]] = {}
        for index, ids in enumerate(target.encode(texts)):
            if not ids:
                raise DataError(f"the prompt {texts[index]!r} has no token; leave it out")
            by_length.setdefault(len(ids) - 1, {}).setdefault(tuple(ids[:-1]), []).append(index)
        bar = tqdm(by_length.items(), desc="caching contexts", delay=2.0, leave=False, disable=None)
        self.contexts_ = [self._cached(n_tokens, prompts_of) for n_tokens, prompts_of in bar]
        return self

    def _cached(self, n_tokens: int, prompts_of: dict[tuple[int, ...], list[int]]) -> Context:
        row_of_prompt = {index: row for row, indices in enumerate(prompts_of.values()) for index in indices}
        lm = self.target_
        if n_tokens == 0 or self.layer_ == lm.anatomy.n_blocks:
            return Context(None, row_of_prompt)
        return Context(context_cache(lm.model, lm.anatomy, torch.tensor(list(prompts_of)), self.layer_), row_of_prompt)

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`."""
        prompts = [0] * len(states) if self.context == "neutral" else rows.tolist()
        result: Tensor | None = None
        for context in self.contexts_:
            mine = torch.tensor(
                [at for at, row in enumerate(prompts) if row in context.row_of_prompt], dtype=torch.long
            )
            behind = torch.tensor([context.row_of_prompt[prompts[at]] for at in mine.tolist()], dtype=torch.long)
            found = self._behind(context, states[mine.to(states.device)], behind)
            if len(mine) == len(states):
                return found
            if result is None:
                result = found.new_empty(len(states), found.shape[1])
            result[mine.to(result.device)] = found
        assert result is not None
        return result

    def _behind(self, context: Context, states: Tensor, rows: Tensor) -> Tensor:
        """Logits of `states` (b, d) behind the given rows of a context."""
        lm = self.target_
        return in_passes(
            lm,
            states,
            lambda part: replay(lm.model, lm.anatomy, states[part], self.layer_, context.cache, rows[part]),
        )
