"""Rosetta sets: items whose gold answer is one token in both tokenizers."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Literal

import torch

from bridge.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Answers = Literal["one_token", "any"]

# Why an item is dropped: unusable in the source alone, in the target alone, in both.
_UNUSABLE = {
    "one_token": ("not_one_token_in_source", "not_one_token_in_target", "one_token_in_neither"),
    "any": ("no_known_tokens_in_source", "no_known_tokens_in_target", "known_tokens_in_neither"),
}
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
    """Items, the tokens of each gold answer in either tokenizer, and what fell out.

    `gold_source` and `gold_target` (n,) are the first tokens of the answers; with single-token answers that is all
    there is.
    """

    items: list[Item]
    gold_source: torch.Tensor
    gold_target: torch.Tensor
    coverage: dict[str, int]
    answers_source: list[list[int]]
    answers_target: list[list[int]]


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

    The test is ``encode(prompt + join + answer) == encode(prompt) + [gold]``, where ``join`` is one space
    unless the prompt ends or the answer begins with whitespace. An end token that a tokenizer adds is
    left out on both sides; a gold that is the unknown token counts as not one token. Of items with the
    same prompt the first usable one stays: two equal rows could stand on both sides of a split.

    Args:
        items: what a source loaded.
        source_tokenizer: the tokenizer of the source model.
        target_tokenizer: the tokenizer of the target model.
        answers: "one_token", or "any" for answers of 1 to 16 known tokens that follow the tokens of the prompt.

    Returns:
        the kept items in their order, with ``coverage``: ``loaded``, ``kept``, and the number dropped as
        ``empty``, ``not_one_token_in_source``, ``not_one_token_in_target``, ``one_token_in_neither``,
        ``duplicate_prompt``; with "any" the middle three are ``no_known_tokens_in_source``,
        ``no_known_tokens_in_target``, ``known_tokens_in_neither``.

    Raises:
        DataError: no item is left, or `answers` is unknown.
    """
    if answers not in _UNUSABLE:
        raise DataError(f"Got answers={answers}, wanted one of {', '.join(_UNUSABLE)}.")
    only_source, only_target, both = _UNUSABLE[answers]
    counts = ("kept", "empty", only_source, only_target, both, "duplicate_prompt")
    coverage = {"loaded": len(items)} | dict.fromkeys(counts, 0)
    most = 1 if answers == "one_token" else MOST_ANSWER_TOKENS
    full = [item for item in items if item.prompt.strip() and item.answer.strip()]
    coverage["empty"] = len(items) - len(full)
    golds = zip(*(_golds(full, tokenizer, most) for tokenizer in (source_tokenizer, target_tokenizer)), strict=True)
    kept: dict[str, tuple[Item, list[int], list[int]]] = {}
    for item, (in_source, in_target) in zip(full, golds, strict=True):
        if in_source is None and in_target is None:
            coverage[both] += 1
        elif in_source is None:
            coverage[only_source] += 1
        elif in_target is None:
            coverage[only_target] += 1
        elif item.prompt in kept:
            coverage["duplicate_prompt"] += 1
        else:
            kept[item.prompt] = (item, in_source, in_target)
    coverage["kept"] = len(kept)
    if not kept:
        wanted = "one token" if answers == "one_token" else f"1 to {MOST_ANSWER_TOKENS} known tokens"
        raise DataError(
            f"No usable item: {describe_coverage(coverage)}. "
            f"Wanted answers that are {wanted} in both tokenizers; use shorter, commoner answers, "
            "end the prompts without a space, or choose another data set."
        )
    rows = list(kept.values())
    return RosettaSet(
        items=[item for item, _, _ in rows],
        gold_source=torch.tensor([gold[0] for _, gold, _ in rows], dtype=torch.long),
        gold_target=torch.tensor([gold[0] for _, _, gold in rows], dtype=torch.long),
        coverage=coverage,
        answers_source=[gold for _, gold, _ in rows],
        answers_target=[gold for _, _, gold in rows],
    )


def _golds(items: list[Item], tokenizer: "PreTrainedTokenizerBase", most: int) -> list[list[int] | None]:
    """The tokens of each answer, or None where they do not follow the prompt's, are too many, or one is unknown."""
    if not items:
        return []
    prompts = _encode([item.prompt for item in items], tokenizer)
    answered = _encode([_join(item.prompt, item.answer) for item in items], tokenizer)
    golds: list[list[int] | None] = []
    for short, long in zip(prompts, answered, strict=True):
        gold = long[len(short) :]
        usable = long[: len(short)] == short and 0 < len(gold) <= most and tokenizer.unk_token_id not in gold
        golds.append(gold if usable else None)
    return golds


def _encode(texts: list[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    end = tokenizer.eos_token_id
    rows: list[list[int]] = tokenizer(texts, padding=False, truncation=False)["input_ids"]
    return [row[:-1] if end is not None and row[-1:] == [end] else row for row in rows]


def _join(prompt: str, answer: str) -> str:
    touching = prompt[-1:].isspace() or answer[:1].isspace()
    return f"{prompt}{answer.rstrip()}" if touching else f"{prompt} {answer.rstrip()}"
