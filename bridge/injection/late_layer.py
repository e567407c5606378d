"""Put a mapped state into the residual stream some blocks before the end, at a prompt's last position."""

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

    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Cache the contexts, once for every length of prompt.

        Raises:
            ConfigError: `layer` is not where the states must live, or `context` is unknown.
            DataError: a prompt has no token.
        """
        if self.context not in ("same", "neutral"):
            raise ConfigError(f"context={self.context!r} is not known; give injection.context same or neutral")
        self.target_ = target
        self.layer_ = self.target_layer(target.anatomy.n_blocks, layer, target.name)
        texts: list[Text] = [self.neutral_prompt] if self.context == "neutral" else list(prompts)
        by_length: dict[int, dict[tuple[int, ...], list[int]]] = {}
        encoded = target.encode(texts)
        self.last_ids_ = torch.tensor([ids[-1] if ids else -1 for ids in encoded])
        for index, ids in enumerate(encoded):
            if not ids:
                raise DataError(f"a prompt has no token: {shown(texts[index])}; leave it out")
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
        for context, mine, behind in self._behind(self.contexts_, len(states), rows):
            found = self._replayed(context, states[mine.to(states.device)], behind)
            if len(mine) == len(states):
                return found
            if result is None:
                result = found.new_empty(len(states), found.shape[1])
            result[mine.to(result.device)] = found
        assert result is not None
        return result

    def continued(self, states: Tensor, rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """See `Injection.continued`: the answer's later tokens run through all blocks, and see the state where it is.

        Raises:
            ConfigError: no block is left to run on the state, so no later token could see it.
        """
        if self.layer_ == self.target_.anatomy.n_blocks:
            return super().continued(states, rows, answers)
        if self.whole_contexts_ is None:
            self.whole_contexts_ = self._contexts(0)
        logprob = torch.empty(len(states), dtype=torch.float64)
        written = torch.empty_like(answers)
        for context, mine, behind in self._behind(self.whole_contexts_, len(states), rows):
            for at, part in zip(mine.split(ROWS_PER_PASS), behind.split(ROWS_PER_PASS), strict=True):
                opening = self._opened(context, states[at.to(states.device)], rows[at], part)
                scored, said = answered(self.target_, opening, answers[at])
                logprob[at], written[at] = scored.cpu(), said.cpu()
        return logprob, written

    def _opened(self, context: Context, states: Tensor, rows: Tensor, behind: Tensor) -> Opening:
        """The target after the last token of the prompt, whose stream at the layer is `states`."""
        lm = self.target_
        last = self.last_ids_[torch.zeros_like(rows) if self.context == "neutral" else rows]
        entered = states.to(device=lm.device, dtype=lm.model.dtype).unsqueeze(1)
        with replacing(lm.anatomy, entered, self.layer_):
            return opened(lm, last.unsqueeze(1), context.cache, behind)

    def _behind(self, contexts: list[Context], n: int, rows: Tensor) -> Iterator[tuple[Context, Tensor, Tensor]]:
        """For each context: which of the n states stand behind it, and behind which of its rows."""
        prompts = [0] * n if self.context == "neutral" else rows.tolist()
        for context in contexts:
            mine = [at for at, row in enumerate(prompts) if row in context.row_of_prompt]
            behind = [context.row_of_prompt[prompts[at]] for at in mine]
            if mine:
                yield context, torch.tensor(mine), torch.tensor(behind)

    def _replayed(self, context: Context, states: Tensor, rows: Tensor) -> Tensor:
        """Logits of `states` (b, d) behind the given rows of a context."""
        lm = self.target_
        return in_passes(
            lm,
            states,
            lambda part: replay(lm.model, lm.anatomy, states[part], self.layer_, context.cache, rows[part]),
        )
