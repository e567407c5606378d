"""Rosetta sets: items whose gold answer is one token in both tokenizers, and how they are split."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch

from bridge.data.placing import Placed, placed
from bridge.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SplitBy = Literal["item", "answer", "subject", "relation"]
Answers = Literal["one_token", "any"]

# A longer answer is a sentence, and its continuation no test of what one state carries.
MOST_ANSWER_TOKENS = 16


@dataclass(frozen=True)
class Item:
    """One prompt with one gold answer; relation and subject are empty where the data does not name them."""

    prompt: str
    answer: str
    relation: str = ""
    subject: str = ""


@dataclass(frozen=True)
class RosettaSet:
    """Items, the tokens of each gold answer in either tokenizer, those read before it, and what fell out.

    `gold_source` and `gold_target` (n,) are the first tokens of the answers; with single-token answers that is all
    there is. The contexts are what a model reads before the answer, special tokens in front included: the tokens of
    the prompt, but for those that the answer changes.
    """

    items: list[Item]
    gold_source: torch.Tensor
    gold_target: torch.Tensor
    coverage: dict[str, int]
    answers_source: list[list[int]]
    answers_target: list[list[int]]
    contexts_source: list[tuple[int, ...]]
    contexts_target: list[tuple[int, ...]]


@dataclass(frozen=True)
class Split:
    """Indices of the items to fit on and to evaluate on; no group is on both sides."""

    fit: torch.Tensor
    eval: torch.Tensor
    seen_answer: torch.Tensor
    pool_size: int


def fingerprint(items: Sequence[Item]) -> str:
    """A sha256 over every field of every item, in order."""
    text = json.dumps([astuple(item) for item in items], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def describe_coverage(coverage: dict[str, int]) -> str:
    """One line of words for a coverage: how many items were loaded, kept, and dropped for what.

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
        ``_in_target`` or ``_in_both`` at its end (of two that differ the source's):

        - ``prompt_tokens_change``: only of a slow tokenizer, which does not tell the place of a token;
        - ``not_one_token`` (in both: ``one_token_in_neither``); with "any" ``no_answer_token`` and
          ``more_than_16_tokens``;
        - ``unknown_token``: the answer has the unknown token;
        - ``no_token_before_the_answer``: the first token of the text is the answer's already.

    Raises:
        DataError: no item is left, or `answers` is unknown.
    """
    if answers not in get_args(Answers):
        raise DataError(f"Got answers={answers}, wanted one of {', '.join(get_args(Answers))}.")
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
            f"No usable item: {describe_coverage(coverage)}. Wanted answers that are {wanted} in both tokenizers; "
            "use shorter, commoner answers, or choose another data set."
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


def split(
    items: Sequence[Item],
    by: SplitBy = "item",
    size: int | None = None,
    eval_fraction: float = 0.4,
    eval_size: int | None = None,
    seed: int = 0,
) -> Split:
    """Draw the items to evaluate on, then the items to fit on, so that no group is on both sides.

    Groups come in random order and go to the evaluation whole until it is large enough; at least one
    group is left for the fit. With ``eval_size`` that many are drawn from these groups, and the rest of them
    is used on neither side. The evaluation does not depend on ``size``, and a smaller fit is the beginning
    of a larger one.

    Args:
        items: the items of a Rosetta set.
        by: what may not be on both sides: the item itself, its answer, subject or relation.
        size: how many items to fit on; None takes all that are left.
        eval_fraction: the share to evaluate on, about that where groups are large.
        eval_size: an exact number to evaluate on instead of a share.
        seed: same seed, same split.

    Returns:
        ``fit`` (n,) and ``eval`` (m,) as indices, ``seen_answer`` (m,) true where the answer of an evaluated
        item is also the answer of a fitted one, and ``pool_size``, the most that could be fitted on.

    Raises:
        DataError: an item has no group, there are fewer than two groups, or more is asked for than there is.

    Example:
        >>> items = [Item(f"{i} is", "odd" if i % 2 else "even") for i in range(10)]
        >>> parts = split(items, by="answer", size=3)
        >>> len(parts.fit), len(parts.eval), parts.seen_answer.any().item()
        (3, 5, False)
    """
    if not 0.0 < eval_fraction < 1.0:
        raise DataError(f"Got eval_fraction={eval_fraction}, wanted a number between 0 and 1; change it.")
    generator = torch.Generator().manual_seed(seed)
    groups = _groups(items, by)
    order = torch.randperm(len(groups), generator=generator).tolist()
    wanted = eval_size if eval_size is not None else max(1, round(eval_fraction * len(items)))
    held: list[int] = []
    for place in order[:-1]:
        if len(held) >= wanted:
            break
        held += groups[place]
    if eval_size is not None:
        if not 1 <= eval_size <= len(held):
            raise DataError(
                f"Got an evaluation size of {eval_size}, but {len(held)} of {len(items)} items can be "
                f"evaluated on when split by {by}; ask for 1 to {len(held)}, or give more data."
            )
        held_out = set(held)
        held = [held[i] for i in torch.randperm(len(held), generator=generator).tolist()[:eval_size]]
    else:
        held_out = set(held)
    pool = [index for index in range(len(items)) if index not in held_out]
    if size is not None and not 1 <= size <= len(pool):
        raise DataError(
            f"Got a data set size of {size}, but {len(pool)} of {len(items)} items are left to fit on after "
            f"{len(held_out)} went to the evaluation; ask for 1 to {len(pool)}, "
            "evaluate on fewer, or give more data."
        )
    drawn = torch.randperm(len(pool), generator=generator).tolist()[:size]
    fit = [pool[i] for i in drawn]
    known = {items[index].answer.strip() for index in fit}
    held.sort()
    return Split(
        fit=torch.tensor(fit, dtype=torch.long),
        eval=torch.tensor(held, dtype=torch.long),
        seen_answer=torch.tensor([items[index].answer.strip() in known for index in held], dtype=torch.bool),
        pool_size=len(pool),
    )


def _groups(items: Sequence[Item], by: SplitBy) -> list[list[int]]:
    if by not in get_args(SplitBy):
        raise DataError(f"Got split by '{by}', wanted one of {', '.join(get_args(SplitBy))}.")
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        name = str(index) if by == "item" else getattr(item, by).strip()
        if not name:
            raise DataError(
                f"Item {index} ({item.prompt[:60]!r}) has no {by}, so the items cannot be split by {by}; "
                f"fill in '{by}' for every item, or split by item or answer."
            )
        groups.setdefault(name, []).append(index)
    if len(groups) < 2:
        raise DataError(
            f"Got {len(items)} items in {len(groups)} group(s) when split by {by}, wanted at least two "
            "groups, one to fit on and one to evaluate on; split by something else, or give more data."
        )
    return list(groups.values())
