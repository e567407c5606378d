"""Activation patching: a mapped state replaces the target's own in the residual stream, at a prompt's last position.

Source: Meng, Bau, Andonian and Belinkov (2022), "Locating and editing factual associations in GPT", NeurIPS,
arXiv:2202.05262, for patching one position at one layer; Ghandeharioun, Caciularu, Pearce, Dixon and Geva (2024),
"Patchscopes: a unifying framework for inspecting hidden representations of language models", ICML, arXiv:2401.06102,
for a mapped state of another model behind another prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
import transformers
from torch import Tensor
from tqdm import tqdm

from bridge.errors import ConfigError, DataError
from bridge.injection.base import ROWS_PER_PASS, Injection, checked_layer, in_passes
from bridge.models.continuation import Opening, answered, opened
from bridge.models.encoding import Text, shown
from bridge.models.loading import LoadedModel
from bridge.models.replay import context_cache, replacing, replay


@dataclass
class Context:
    """Cached keys and values of all positions but the last, for the prompts of one length.

    Attributes:
        cache: one row for each distinct context; None where there is nothing to cache.
        row_of_prompt: index of a prompt -> its row in the cache.
    """

    cache: transformers.DynamicCache | None
    row_of_prompt: dict[int, int]


class LateLayer(Injection):
    """The state replaces the target's own at layer N-k and the last position, and the last k blocks run on it.

    The logits equal those of a full forward pass that is patched there. Earlier positions do not attend to the last
    one, so their keys and values are cached once, and each state costs one token through k blocks.

    Args:
        k: number of blocks that run on the state; None takes it from the layer. 0 decodes as `lm_head` does.
        context: "same" keeps the tokens of the item's own prompt before the state, so that the target can also answer
            from them; "neutral" puts the tokens of `neutral_prompt` there for every item.
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
            raise ConfigError("late_layer has neither k nor a layer; wanted one of the two: give injection.k or layer")
        if self.k is None:
            return checked_layer(n_blocks, layer or 0, name)
        if not 0 <= self.k <= n_blocks:
            raise ConfigError(
                f"k={self.k} is out of range for {name}; wanted 0..{n_blocks}, as it has {n_blocks} blocks: change "
                "injection.k"
            )
        if layer is not None and checked_layer(n_blocks, layer, name) != n_blocks - self.k:
            raise ConfigError(
                f"layer {layer} and k={self.k} disagree; wanted layer {n_blocks - self.k} with k={self.k}, as {name} "
                f"has {n_blocks} blocks: give only one of layer and injection.k"
            )
        return n_blocks - self.k

    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Cache the keys and values of all contexts, in one pass for each length of prompt.

        Raises:
            ConfigError: `layer` and `k` disagree, or `context` is unknown.
            DataError: a prompt has no token.
        """
        if self.context not in ("same", "neutral"):
            raise ConfigError(f"context={self.context!r} is unknown; wanted same or neutral: change injection.context")
        self.target_ = target
        self.layer_ = self.target_layer(target.anatomy.n_blocks, layer, target.name)
        texts: list[Text] = [self.neutral_prompt] if self.context == "neutral" else list(prompts)
        by_length: dict[int, dict[tuple[int, ...], list[int]]] = {}
        encoded = target.encode(texts)
        self.last_ids_ = torch.tensor([ids[-1] if ids else -1 for ids in encoded])
        for index, ids in enumerate(encoded):
            if not ids:
                raise DataError(f"prompt {shown(texts[index])} has no token; wanted at least one: leave that item out")
            by_length.setdefault(len(ids) - 1, {}).setdefault(tuple(ids[:-1]), []).append(index)
        self.by_length_ = by_length
        self.contexts_ = self._contexts(self.layer_)
        self.whole_contexts_: list[Context] | None = None
        return self

    def _contexts(self, from_layer: int) -> list[Context]:
        bar = tqdm(self.by_length_.items(), desc="caching contexts", delay=2.0, leave=False, disable=None)
        return [self._cached(n_tokens, prompts_of, from_layer) for n_tokens, prompts_of in bar]

    def _cached(self, n_tokens: int, prompts_of: dict[tuple[int, ...], list[int]], from_layer: int) -> Context:
        row_of_prompt = {index: row for row, indices in enumerate(prompts_of.values()) for index in indices}
        lm = self.target_
        if n_tokens == 0 or from_layer == lm.anatomy.n_blocks:
            return Context(None, row_of_prompt)
        return Context(context_cache(lm.model, lm.anatomy, torch.tensor(list(prompts_of)), from_layer), row_of_prompt)

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`."""
        result: Tensor | None = None
        for context, indices, cache_rows in self._by_context(self.contexts_, len(states), rows):
            logits = self._replayed(context, states[indices.to(states.device)], cache_rows)
            if len(indices) == len(states):
                return logits
            if result is None:
                result = logits.new_empty(len(states), logits.shape[1])
            result[indices.to(result.device)] = logits
        assert result is not None
        return result

    def continued(self, states: Tensor, rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """See `Injection.continued`; the answer's later tokens run through all blocks and attend to the state.

        Raises:
            ConfigError: no block runs on the state, so later tokens could not attend to it.
        """
        if self.layer_ == self.target_.anatomy.n_blocks:
            return super().continued(states, rows, answers)
        if self.whole_contexts_ is None:
            self.whole_contexts_ = self._contexts(0)
        logprob = torch.empty(len(states), dtype=torch.float64)
        greedy = torch.empty_like(answers)
        for context, indices, cache_rows in self._by_context(self.whole_contexts_, len(states), rows):
            for at, part in zip(indices.split(ROWS_PER_PASS), cache_rows.split(ROWS_PER_PASS), strict=True):
                opening = self._opened(context, states[at.to(states.device)], rows[at], part)
                scores, tokens = answered(self.target_, opening, answers[at])
                logprob[at], greedy[at] = scores.cpu(), tokens.cpu()
        return logprob, greedy

    def _opened(self, context: Context, states: Tensor, rows: Tensor, cache_rows: Tensor) -> Opening:
        """Run the last token of each prompt with its residual stream at the layer replaced by `states`."""
        lm = self.target_
        last = self.last_ids_[torch.zeros_like(rows) if self.context == "neutral" else rows]
        entered = states.to(device=lm.device, dtype=lm.model.dtype).unsqueeze(1)
        with replacing(lm.anatomy, entered, self.layer_):
            return opened(lm, last.unsqueeze(1), context.cache, cache_rows)

    def _by_context(self, contexts: list[Context], n: int, rows: Tensor) -> Iterator[tuple[Context, Tensor, Tensor]]:
        """For each context: the indices of the states that follow it, and the row of its cache for each of them."""
        prompts = [0] * n if self.context == "neutral" else rows.tolist()
        for context in contexts:
            indices = [at for at, row in enumerate(prompts) if row in context.row_of_prompt]
            cache_rows = [context.row_of_prompt[prompts[at]] for at in indices]
            if indices:
                yield context, torch.tensor(indices), torch.tensor(cache_rows)

    def _replayed(self, context: Context, states: Tensor, rows: Tensor) -> Tensor:
        """Logits (b, V) of `states` (b, d), each after the row of the context's cache that `rows` (b,) gives."""
        lm = self.target_
        return in_passes(
            lm,
            states,
            lambda part: replay(lm.model, lm.anatomy, states[part], self.layer_, context.cache, rows[part]),
        )
