"""Put mapped states between the words of a template, as if they were word embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import transformers
from torch import Tensor

from bridge.errors import ConfigError, ModelError
from bridge.injection.base import ROWS_PER_PASS, Injection, in_passes
from bridge.models.continuation import Opening, answered
from bridge.models.encoding import Text
from bridge.models.loading import LoadedModel
from bridge.models.replay import takes_logits_to_keep

SLOT = "{state}"
STAND_IN = "x"


class SoftPrefix(Injection):
    """The last k states stand in the template at `{state}`, each brought to the mean norm of an embedding.

    A strategy can be dead: a model that cannot use a word at that place uses no state there either. The gold
    answer's own embedding (`gold_embedding`, `gold_logits`) is the ceiling that shows it.

    Args:
        k: number of states.
        template: a text with exactly one `{state}`.
    """

    def __init__(self, k: int = 1, template: str = "Again {state} gives") -> None:
        self.k = k
        self.template = template
        self.n_states = k

    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Tokenise the template, and measure the embeddings; prompts and layer play no part.

        Raises:
            ConfigError: k < 1, or not exactly one `{state}` standing free between words.
            ModelError: the target cannot be given embeddings instead of tokens.
        """
        if self.k < 1:
            raise ConfigError(f"k={self.k} states were asked for in soft_prefix; give injection.k of at least 1")
        if self.template.count(SLOT) != 1:
            raise ConfigError(
                f"the template {self.template!r} has {self.template.count(SLOT)} times {SLOT}; give it exactly one"
            )
        self.target_ = target
        before, after = self._around(target)
        n_embeddings = target.model.get_input_embeddings().weight.shape[0]
        with torch.no_grad():
            self.before_, self.after_ = self._embed(torch.tensor(before)), self._embed(torch.tensor(after))
            every = torch.arange(n_embeddings)
            norms = torch.cat([self._embed(part).float().norm(dim=-1) for part in every.split(4096)])
        self.mean_norm_ = float(norms.mean())
        self._check(torch.tensor([*before, *after]))
        return self

    def gold_embedding(self, gold: Tensor) -> Tensor:
        """The target's own embedding of the gold answers, as a prefix of one slot whatever k is.

        Args:
            gold: (b,) token ids.

        Returns:
            (b, 1, d). `logits` brings it to the common norm as it does with states; `gold_logits` does not.
        """
        with torch.no_grad():
            embedded = self._embed(gold)
        return embedded.clone().unsqueeze(1)

    def gold_logits(self, gold: Tensor) -> Tensor:
        """What the target says to the template with the gold answer itself written in it.

        Args:
            gold: (b,) token ids.

        Returns:
            (b, V) float32.
        """
        return self._logits(self.gold_embedding(gold))

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`; any number of states per row is taken, `rows` plays no part."""
        return self._logits(self._scaled(states))

    def continued(self, states: Tensor, rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """See `Injection.continued`; `rows` plays no part."""
        return self._continued(self._scaled(states), answers)

    def gold_continued(self, gold: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """`continued` with the first token of the gold answer itself in the template.

        Args:
            gold: (b,) token ids.
            answers: (b, T) tokens of the gold answers, filled up with -1.
        """
        return self._continued(self.gold_embedding(gold), answers)

    def _continued(self, prefix: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        logprobs, written = [], []
        for part, golds in zip(prefix.split(ROWS_PER_PASS), answers.split(ROWS_PER_PASS), strict=True):
            scored, said = answered(self.target_, self._opened(part), golds)
            logprobs.append(scored.cpu())
            written.append(said.cpu())
        return torch.cat(logprobs), torch.cat(written)

    @torch.no_grad()
    def _opened(self, prefix: Tensor) -> Opening:
        """The target after the template with `prefix` (b, k, d) in it."""
        embedded = self._filled(prefix)
        model = self.target_.model
        cache = transformers.DynamicCache(config=model.config)
        places = torch.arange(embedded.shape[1], device=embedded.device).expand(embedded.shape[:2])
        output = model(inputs_embeds=embedded, position_ids=places, past_key_values=cache, use_cache=True)
        return Opening(output.logits[:, -1].float(), cache)

    def _scaled(self, states: Tensor) -> Tensor:
        """States as a prefix (b, k, d), each at the mean norm of an embedding."""
        prefix = (states if states.ndim == 3 else states.unsqueeze(1)).to(self.target_.device).float()
        norms = prefix.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return prefix * (self.mean_norm_ / norms)

    def _filled(self, prefix: Tensor) -> Tensor:
        """The embedded template (b, t, d) with a prefix in it."""
        around = [text.expand(len(prefix), -1, -1) for text in (self.before_, self.after_)]
        return torch.cat([around[0], prefix.to(self.before_.dtype), around[1]], dim=1)

    def _logits(self, prefix: Tensor) -> Tensor:
        def logits(rows: slice) -> Tensor:
            return self._run(self._filled(prefix[rows]))

        return in_passes(self.target_, prefix, logits)

    def _run(self, embedded: Tensor) -> Tensor:
        """Logits (b, V) at the last of the embedded positions (b, t, d)."""
        model = self.target_.model
        places = torch.arange(embedded.shape[1], device=embedded.device).expand(embedded.shape[:2])
        keep = {"logits_to_keep": 1} if takes_logits_to_keep(model) else {}
        output = model(inputs_embeds=embedded, position_ids=places, use_cache=False, **keep)
        return output.logits[:, -1]

    def _embed(self, ids: Tensor) -> Tensor:
        return self.target_.anatomy.embeddings(ids.long().to(self.target_.device))

    def _around(self, target: LoadedModel) -> tuple[list[int], list[int]]:
        """Ids before and after the slot, as the whole template is tokenised with a word in it."""
        if not target.tokenizer.is_fast:
            raise ModelError(
                f"the tokenizer of {target.name} gives no offsets, which soft_prefix needs; use another model"
            )
        start = self.template.index(SLOT)
        end = start + len(STAND_IN)
        text = self.template.replace(SLOT, STAND_IN)
        ids = target.encode([text])[0]
        offsets = target.tokenizer(text, add_special_tokens=True, return_offsets_mapping=True)["offset_mapping"]
        before: list[int] = []
        after: list[int] = []
        for token, (left, right) in zip(ids, offsets, strict=False):
            if start > 0 and right == start and not text[left:right].strip():
                # Where the space before a word is a token of its own, it belongs to the slot.
                continue
            if right <= start and not after:
                before.append(token)
            elif left >= end:
                after.append(token)
            elif text[left:start].strip() or text[end:right].strip():
                raise ConfigError(
                    f"the tokenizer of {target.name} joins {SLOT} with what stands next to it in "
                    f"{self.template!r}; put spaces around it"
                )
        return before, after

    def _check(self, ids: Tensor) -> None:
        """Some models do more with ids than embed them; states would then not be read as words are."""
        lm = self.target_
        if self.before_.shape[-1] != lm.anatomy.width:
            raise ModelError(
                f"{lm.name} has embeddings of width {self.before_.shape[-1]} and states of width "
                f"{lm.anatomy.width}; soft_prefix needs them equal, use another injection"
            )
        if len(ids) == 0:
            return
        with torch.no_grad():
            by_ids = lm.model(input_ids=ids[None].to(lm.device), use_cache=False).logits[0, -1].float()
            by_embeddings = self._run(self._embed(ids)[None])[0].float()
        difference = float((by_ids - by_embeddings).abs().max())
        if difference > 1e-2 * float(by_ids.abs().max()):
            raise ModelError(
                f"{lm.name} reads embeddings differently from the tokens they belong to (logits differ by "
                f"{difference:.2g}); use another injection"
            )
