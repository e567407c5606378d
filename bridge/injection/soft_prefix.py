"""Soft prompts: mapped states stand among the input embeddings of a template, in the place of words.

Source: Lester, Al-Rfou and Constant (2021), "The power of scale for parameter-efficient prompt tuning", EMNLP,
arXiv:2104.08691, and Li and Liang (2021), "Prefix-tuning: optimizing continuous prompts for generation", ACL,
arXiv:2101.00190. There the vectors are trained; here they are mapped states and nothing in the target is trained.
"""

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
    """A soft prompt of k states at `{state}` in the template, each scaled to the mean norm of the target's embeddings.

    A model that cannot use a word in that place cannot use a state there either. A ceiling shows whether it can: the
    gold answer's own embedding is put in the same place (`gold_embedding`, `gold_logits`).

    Args:
        k: number of states.
        template: a text with exactly one `{state}`.
    """

    def __init__(self, k: int = 1, template: str = "Again {state} gives") -> None:
        self.k = k
        self.template = template
        self.n_states = k

    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Tokenise the template and measure the norms of the embeddings; prompts and layer are not used.

        Raises:
            ConfigError: k < 1, or not exactly one `{state}` standing free between words.
            ModelError: the target cannot be given embeddings instead of tokens.
        """
        if self.k < 1:
            raise ConfigError(f"k={self.k} in soft_prefix; wanted at least 1 state: change injection.k")
        if self.template.count(SLOT) != 1:
            raise ConfigError(
                f"the template {self.template!r} has {SLOT} {self.template.count(SLOT)} times; wanted it exactly once: "
                "change injection.template"
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
        """The target's own embedding of each gold answer, as a soft prompt of one vector whatever k is.

        Args:
            gold: (b,) token ids.

        Returns:
            (b, 1, d), in its own norm.
        """
        with torch.no_grad():
            embedded = self._embed(gold)
        return embedded.clone().unsqueeze(1)

    def gold_logits(self, gold: Tensor) -> Tensor:
        """The target's logits for the template with the gold answer itself in it.

        Args:
            gold: (b,) token ids.

        Returns:
            (b, V) float32.
        """
        return self._logits(self.gold_embedding(gold))

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`; takes any number of states per row, and `rows` is not used."""
        return self._logits(self._scaled(states))

    def continued(self, states: Tensor, rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """See `Injection.continued`; `rows` is not used."""
        return self._continued(self._scaled(states), answers)

    def gold_continued(self, gold: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """`continued` with the first token of the gold answer itself in the template.

        Args:
            gold: (b,) token ids.
            answers: (b, T) tokens of the gold answers, padded with -1.
        """
        return self._continued(self.gold_embedding(gold), answers)

    def _continued(self, prefix: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        logprobs, greedy = [], []
        for part, golds in zip(prefix.split(ROWS_PER_PASS), answers.split(ROWS_PER_PASS), strict=True):
            scores, tokens = answered(self.target_, self._opened(part), golds)
            logprobs.append(scores.cpu())
            greedy.append(tokens.cpu())
        return torch.cat(logprobs), torch.cat(greedy)

    @torch.no_grad()
    def _opened(self, prefix: Tensor) -> Opening:
        """Run the template with `prefix` (b, k, d) in it, keeping all keys and values."""
        embedded = self._filled(prefix)
        model = self.target_.model
        cache = transformers.DynamicCache(config=model.config)
        places = torch.arange(embedded.shape[1], device=embedded.device).expand(embedded.shape[:2])
        output = model(inputs_embeds=embedded, position_ids=places, past_key_values=cache, use_cache=True)
        return Opening(output.logits[:, -1].float(), cache)

    def _scaled(self, states: Tensor) -> Tensor:
        """States as a soft prompt (b, k, d), each scaled to the mean norm of the embeddings."""
        prefix = (states if states.ndim == 3 else states.unsqueeze(1)).to(self.target_.device).float()
        norms = prefix.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return prefix * (self.mean_norm_ / norms)

    def _filled(self, prefix: Tensor) -> Tensor:
        """The embedded template (b, t, d) with `prefix` (b, k, d) in it."""
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
        """Token ids before and after the slot; the template is tokenised as one text with a word in the slot."""
        if not target.tokenizer.is_fast:
            raise ModelError(
                f"the tokenizer of {target.name} gives no offsets; wanted a fast tokenizer, from which soft_prefix "
                "finds its slot: use another model or injection"
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
                # Some tokenizers make the space before a word a token of its own; that one belongs to the slot.
                continue
            if right <= start and not after:
                before.append(token)
            elif left >= end:
                after.append(token)
            elif text[left:start].strip() or text[end:right].strip():
                raise ConfigError(
                    f"the tokenizer of {target.name} joins {SLOT} with its neighbours in {self.template!r}; wanted "
                    "tokens of its own for it: put spaces around it"
                )
        return before, after

    def _check(self, ids: Tensor) -> None:
        """Refuse a model that does not process input embeddings as it processes the tokens that they belong to."""
        lm = self.target_
        if self.before_.shape[-1] != lm.anatomy.width:
            raise ModelError(
                f"{lm.name} has embeddings of width {self.before_.shape[-1]} and states of width "
                f"{lm.anatomy.width}; wanted equal widths for soft_prefix: use another injection"
            )
        if len(ids) == 0:
            return
        with torch.no_grad():
            by_ids = lm.model(input_ids=ids[None].to(lm.device), use_cache=False).logits[0, -1].float()
            by_embeddings = self._run(self._embed(ids)[None])[0].float()
        difference = float((by_ids - by_embeddings).abs().max())
        if difference > 1e-2 * float(by_ids.abs().max()):
            raise ModelError(
                f"{lm.name} gives logits that differ by {difference:.2g} between tokens and their own embeddings; "
                "wanted the same ones, or soft_prefix does not put words there: use another injection"
            )
