"""Both models' own answers on the eval items: the same for every layer, map, injection and control."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bridge.data.items import Item
from bridge.injection import LmHead
from bridge.injection.base import ROWS_PER_PASS
from bridge.metrics import token_scores
from bridge.models.continuation import answered, exact_match, opened, token_f1
from bridge.models.loading import LoadedModel
from bridge.results.scores import Branch
from bridge.tasks.translate.metrics import TOKEN, WHOLE


@dataclass
class Side:
    """One model with the tokens it reads, its gold token ids (m,) and its own final states (m, d) on the eval items.

    `answers` (m, T), padded with -1, if answers may have several tokens.
    """

    model: LoadedModel
    contexts: Sequence[tuple[int, ...]]
    gold: Tensor
    final_states: Tensor
    answers: Tensor | None = None
    _texts: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def text(self, token: int) -> str:
        """A token as text, without the spaces around it."""
        if token not in self._texts:
            self._texts[token] = self.model.tokenizer.decode([token]).strip()
        return self._texts[token]


class Native:
    """Both models' own answers on the m eval items, decoded from their stored final states.

    Args:
        source: the source model's side.
        target: the target model's side.
        items: the m eval items.

    Attributes:
        logits: (m, V) the target's own.
        source_answers: the source's own answer to each item.
        branches: the scores of `native_source` and `native_target`.
    """

    def __init__(self, source: Side, target: Side, items: Sequence[Item]) -> None:
        self.items = items
        self.source, self.target = source, target
        source_logits, self.logits = (_decoded(side) for side in (source, target))
        self.source_answers = [source.text(token) for token in source_logits.argmax(-1).tolist()]
        self.branches = {
            "native_source": self.branch_of(source_logits, source, None, _continued(source)),
            "native_target": self.branch_of(self.logits, target, self.logits, _continued(target)),
        }

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all scores that every branch has."""
        some = TOKEN if self.target.answers is None else (*TOKEN, *WHOLE)
        return tuple(metric.name for metric in some)

    def branch_of(
        self,
        logits: Tensor,
        side: Side,
        native_logits: Tensor | None = None,
        continued: tuple[Tensor, Tensor] | None = None,
    ) -> Branch:
        """Score logits (m, V) that involve no map, one row per eval item, and the scores of whole answers."""
        metrics = self.scored(logits[None], slice(None), side, native_logits)
        if continued is not None and side.answers is not None:
            metrics |= {name: values[None] for name, values in whole_scores(*continued, side.answers).items()}
        return Branch(metrics)

    def scored(self, logits: Tensor, rows: slice, side: Side, native_logits: Tensor | None) -> dict[str, Tensor]:
        """Every metric (n_draws, b) of logits (n_draws, b, V) on the eval items `rows`."""
        gold = side.gold[rows].to(logits.device)
        native = None if native_logits is None else native_logits[rows]
        metrics = {n: v.cpu() for n, v in token_scores(logits, gold, native).items()}
        metrics["mrr"] = metrics.pop("rr")
        wanted = self.source_answers[rows]
        agrees = [
            [side.text(token) == answer for token, answer in zip(draw, wanted, strict=True)]
            for draw in logits.argmax(-1).tolist()
        ]
        metrics["agreement"] = torch.tensor(agrees, dtype=torch.float64)
        return metrics


def whole_scores(logprob: Tensor, written: Tensor, answers: Tensor) -> dict[str, Tensor]:
    """Scores (b,) of whole answers (b, T), from their log-probability and the greedy continuation."""
    values = (logprob.double(), token_f1(written, answers), exact_match(written, answers))
    return dict(zip((metric.name for metric in WHOLE), values, strict=True))


def _continued(side: Side) -> tuple[Tensor, Tensor] | None:
    """A model's own log-probability of whole answers, and its greedy continuation."""
    if side.answers is None:
        return None
    encoded = [list(tokens) for tokens in side.contexts]
    logprob, written = torch.empty(len(encoded), dtype=torch.float64), torch.empty_like(side.answers)
    for length in sorted({len(ids) for ids in encoded}):
        alike = torch.tensor([i for i, ids in enumerate(encoded) if len(ids) == length])
        for at in alike.split(ROWS_PER_PASS):
            opening = opened(side.model, torch.tensor([encoded[i] for i in at.tolist()]))
            scored, greedy = answered(side.model, opening, side.answers[at])
            logprob[at], written[at] = scored.cpu(), greedy.cpu()
    return logprob, written


def _decoded(side: Side) -> Tensor:
    decode = LmHead().prepare(side.model, side.contexts, side.model.anatomy.n_blocks)
    return decode.logits(side.final_states, torch.arange(len(side.contexts)))
