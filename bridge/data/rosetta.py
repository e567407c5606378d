"""Rosetta sets: items whose gold answer is one token in both tokenizers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch

from bridge.data.items import Answers, Item
from bridge.data.placing import Placed, placed
from bridge.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A longer answer is a sentence, and continuing it says little about what one state carries.
MOST_ANSWER_TOKENS = 16


@dataclass(frozen=True)
class RosettaSet:
    """Items with the tokens of their gold answers and contexts in both tokenizers, and the number of items dropped.

    `gold_source` and `gold_target` (n,) are the first tokens of the answers; with single-token answers that is all
    there is. The contexts are the tokens that a model reads before the answer: special tokens in front, then the tokens
    of the prompt, without those that change when the answer is appended.
    """

    items: list[Item]
    gold_source: torch.Tensor
    gold_target: torch.Tensor
    coverage: dict[str, int]
    answers_source: list[list[int]]
    answers_target: list[list[int]]
    contexts_source: list[tuple[int, ...]]
    contexts_target: list[tuple[int, ...]]


def describe_coverage(coverage: dict[str, int]) -> str:
    """The coverage in one line: how many items were loaded, kept, and dropped for which reason.

    Example:
        >>> describe_coverage({"loaded": 3, "kept": 1, "empty": 2, "duplicate_prompt": 0})
        '1 of 3 items kept; dropped: 2 empty'
    """
    dropped = [f"{n} {why.replace('_', ' ')}" for why, n in coverage.items() if why not in ("loaded", "kept") and n]
    kept = f"{coverage['kept']} of {coverage['loaded']} items kept"
    return f"{kept}; dropped: {', '.join(dropped)}" if dropped else kept


def rosetta_set(
    items: Sequence[Item],
    source_tokenizer: "PreTrainedTokenizerBase",
    target_tokenizer: "PreTrainedTokenizerBase",
    answers: str = "one_token",
) -> RosettaSet:
    """Keep the items whose gold answer is exactly one known token in both tokenizers, or some known tokens.

    The gold tokens are those that cover the answer's characters in the tokenization of prompt and answer together,
    and the context is all tokens before them (`bridge.data.placing`). Of items with the same prompt, or with the same
    context in both tokenizers, the first usable one stays: two equal rows could stand on both sides of a split.

    Args:
        items: what a source loaded.
        source_tokenizer: the tokenizer of the source model.
        target_tokenizer: the tokenizer of the target model.
        answers: "one_token", or "any" for answers of 1 to 16 known tokens.

    Returns:
        the kept items in their order, with ``coverage``: ``loaded``, ``kept``, and for each reason that occurred the
        number of items dropped for it: ``empty``, ``duplicate_prompt``, or one of the following with ``_in_source``,
        ``_in_target`` or ``_in_both`` at its end (where the two reasons differ, that of the source):

        - ``prompt_tokens_change``: only of a slow tokenizer, which gives no offsets;
        - ``not_one_token`` (in both: ``one_token_in_neither``); with "any" ``no_answer_token`` and
          ``more_than_16_tokens``;
        - ``unknown_token``: the answer has the unknown token;
        - ``no_token_before_the_answer``: the first token of the text is the answer's already.

    Raises:
        DataError: no item has an answer, none is left, or `answers` is unknown.
    """
    if answers not in get_args(Answers):
        raise DataError(
            f"answers={answers} is unknown; wanted one of {', '.join(get_args(Answers))}: change dataset.answers"
        )
    if items and not any(item.answer.strip() for item in items):
        raise DataError(
            f"none of the {len(items)} items has an answer; wanted a gold answer to each prompt, as that is what is "
            "decoded: fill in 'answer', or choose a task that needs none"
        )
    full = [item for item in items if item.prompt.strip() and item.answer.strip()]
    questions = [(item.prompt, item.answer) for item in full]
    sides = [
        [(side, _fault(side, tokenizer.unk_token_id, answers)) for side in placed(questions, tokenizer)]
        for tokenizer in (source_tokenizer, target_tokenizer)
    ]
    dropped = Counter({"empty": len(items) - len(full)})
    kept: list[tuple[Item, Placed, Placed]] = []
    seen: set[str | tuple[tuple[int, ...], tuple[int, ...]]] = set()
    for item, (source, source_fault), (target, target_fault) in zip(full, *sides, strict=True):
        contexts = (source.context, target.context)
        if source_fault or target_fault:
            dropped[_reason(source_fault, target_fault)] += 1
        elif item.prompt in seen or contexts in seen:
            dropped["duplicate_prompt"] += 1
        else:
            seen |= {item.prompt, contexts}
            kept.append((item, source, target))
    coverage = {"loaded": len(items), "kept": len(kept)} | {why: n for why, n in dropped.most_common() if n}
    if not kept:
        wanted = "one known token" if answers == "one_token" else f"1 to {MOST_ANSWER_TOKENS} known tokens"
        raise DataError(
            f"no usable item ({describe_coverage(coverage)}); wanted answers that are {wanted} in both tokenizers: "
            "use shorter, commoner answers, or choose another data set"
        )
    return RosettaSet(
        items=[item for item, _, _ in kept],
        gold_source=torch.tensor([source.gold[0] for _, source, _ in kept], dtype=torch.long),
        gold_target=torch.tensor([target.gold[0] for _, _, target in kept], dtype=torch.long),
        coverage=coverage,
        answers_source=[source.gold for _, source, _ in kept],
        answers_target=[target.gold for _, _, target in kept],
        contexts_source=[source.context for _, source, _ in kept],
        contexts_target=[target.context for _, _, target in kept],
    )


def _fault(side: Placed, unknown: int | None, answers: str) -> str:
    """Why an item cannot be used in one of the tokenizers; empty where it can."""
    n_tokens = len(side.gold)
    faults = {
        "prompt_tokens_change": side.prompt_changes,
        "not_one_token": answers == "one_token" and n_tokens != 1,
        "no_answer_token": n_tokens == 0,
        f"more_than_{MOST_ANSWER_TOKENS}_tokens": n_tokens > MOST_ANSWER_TOKENS,
        "unknown_token": unknown in side.gold,
        "no_token_before_the_answer": not side.context,
    }
    return next((name for name, applies in faults.items() if applies), "")


def _reason(in_source: str, in_target: str) -> str:
    """What an item is dropped for, from what is wrong with it on either side."""
    if in_source != in_target:
        return f"{in_source}_in_source" if in_source else f"{in_target}_in_target"
    return "one_token_in_neither" if in_source == "not_one_token" else f"{in_source}_in_both"
