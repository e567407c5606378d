"""Continuations of a text: the log-probability of a given answer, and the model's own greedy continuation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import transformers
from torch import Tensor

from bridge.models.loading import LoadedModel
from bridge.models.replay import selected

PAD = -1


@dataclass(frozen=True)
class Opening:
    """The state of b texts after their last token: the next token's logits (b, V), and the cached keys and values."""

    logits: Tensor
    cache: transformers.DynamicCache

    @property
    def n_tokens(self) -> int:
        """Positions so far."""
        return int(self.cache.get_seq_length())


def padded(answers: list[list[int]]) -> Tensor:
    """Answers as one tensor (b, T), filled up with -1.

    Example:
        >>> padded([[5], [6, 7]]).tolist()
        [[5, -1], [6, 7]]
    """
    longest = max(map(len, answers))
    return torch.tensor([[*answer, *[PAD] * (longest - len(answer))] for answer in answers])


@torch.no_grad()
def opened(
    lm: LoadedModel, ids: Tensor, cache: transformers.DynamicCache | None = None, rows: Tensor | None = None
) -> Opening:
    """Read tokens, behind a context where there is one.

    Args:
        ids: (b, t) token ids.
        cache: keys and values of all blocks for the context before; never changed.
        rows: (b,) which row of the cache each row of ids stands behind; None when the cache has b rows, or one.
    """
    past = transformers.DynamicCache(config=lm.model.config) if cache is None else selected(cache, 0, len(ids), rows)
    n_before = int(past.get_seq_length())
    places = torch.arange(n_before, n_before + ids.shape[1], device=lm.device).expand(ids.shape)
    output = lm.model(input_ids=ids.to(lm.device), position_ids=places, past_key_values=past, use_cache=True)
    return Opening(output.logits[:, -1].float(), past)


@torch.no_grad()
def answered(lm: LoadedModel, opening: Opening, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Score whole answers, and continue greedily.

    Args:
        opening: b rows.
        answers: (b, T) token ids, filled up with -1.

    Returns:
        (b,) float64 log-probability in nats of each whole answer, each of its tokens given those before it; and (b, T)
        the tokens of the greedy continuation, which an end-of-text token does not stop.

    Raises:
        ValueError: a row without a token.
    """
    answers = answers.to(lm.device)
    is_token = answers != PAD
    if not bool(is_token[:, 0].all()):
        raise ValueError("an answer has no token")
    n_rows, length = answers.shape
    given = answers.clamp_min(0)
    logits = opening.logits[:, None]
    if length > 1:
        logits = torch.cat([logits, _read(lm, opening.cache, given[:, :-1]).float()], 1)
    each = logits.double().log_softmax(-1).gather(2, given[..., None])[..., 0]
    logprob = torch.where(is_token, each, 0.0).sum(1)

    written = [opening.logits.argmax(-1)]
    cache = selected(opening.cache, 0, n_rows)
    for _ in range(length - 1):
        written.append(_grow(lm, cache, written[-1][:, None])[:, -1].argmax(-1))
    return logprob, torch.stack(written, 1)


def token_f1(written: Tensor, answers: Tensor) -> Tensor:
    """Token overlap of the continuation with the answer, both as bags of as many tokens as the answer has.

    Both sides have the same number of tokens, so precision, recall and F1 are one number.

    Source: the F1 of Rajpurkar et al. (2016), "SQuAD: 100,000+ questions for machine comprehension of text",
    arXiv:1606.05250, on tokens of the target instead of words.

    Args:
        written: (b, T) token ids.
        answers: (b, T) token ids, filled up with -1.

    Returns:
        (b,) float64 in [0, 1].

    Example:
        >>> token_f1(torch.tensor([[7, 5, 9]]), torch.tensor([[5, 6, -1]])).tolist()
        [0.5]
    """
    scores = []
    for tokens, gold in zip(written.tolist(), answers.tolist(), strict=True):
        wanted = [token for token in gold if token != PAD]
        left = list(wanted)
        for token in tokens[: len(wanted)]:
            if token in left:
                left.remove(token)
        scores.append(1 - len(left) / len(wanted))
    return torch.tensor(scores, dtype=torch.float64)


def exact_match(written: Tensor, answers: Tensor) -> Tensor:
    """Whether the first tokens written are the answer: (b,) float64, 0 or 1."""
    answers = answers.to(written.device)
    return ((written == answers) | (answers == PAD)).all(1).double().cpu()


def _read(lm: LoadedModel, cache: transformers.DynamicCache, ids: Tensor) -> Tensor:
    """Logits at every one of the tokens (b, t); the cache stays as it was."""
    return _grow(lm, selected(cache, 0, len(ids)), ids)


def _grow(lm: LoadedModel, cache: transformers.DynamicCache, ids: Tensor) -> Tensor:
    n_before = int(cache.get_seq_length())
    places = torch.arange(n_before, n_before + ids.shape[1], device=lm.device).expand(ids.shape)
    logits: Tensor = lm.model(input_ids=ids, position_ids=places, past_key_values=cache, use_cache=True).logits
    return logits
