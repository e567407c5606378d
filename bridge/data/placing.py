"""Which tokens belong to the answer, and which to the context before it, when both are tokenized as one text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.models.encoding import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Placed:
    """The tokens that are read before an answer, and those of the answer.

    `gold` is empty where no token covers the answer. `context` is empty where no token of the text stands before the
    answer, special tokens aside. `prompt_changes` says that a slow tokenizer cannot separate the two.
    """

    context: tuple[int, ...]
    gold: list[int]
    prompt_changes: bool = False


def placed(questions: Sequence[tuple[str, str]], tokenizer: "PreTrainedTokenizerBase") -> list[Placed]:
    """Find the tokens of each answer by the place of its characters.

    Prompt and answer are joined by one space, unless the prompt ends or the answer begins with whitespace, and
    tokenized together. The answer's tokens are those from the first that covers one of its characters to the last
    of the text, whitespace around the answer not counted; the context is all tokens before them, with the special
    tokens that the tokenizer puts in front. So an answer may be part of a token that begins before it (``is Paris``),
    and may change the last token of the prompt (``is`` to ``is_``).

    A slow tokenizer gives no offsets. For it the answer's tokens are those that follow the prompt's own tokens, unless
    these change when the answer is appended.

    Args:
        questions: n prompts, each with its answer, neither blank.
        tokenizer: a fast or a slow tokenizer.
    """
    if not questions:
        return []
    answers = [answer.strip() for _, answer in questions]
    texts = [joined(prompt, answer) for prompt, answer in questions]
    if not tokenizer.is_fast:
        prompts = encode(tokenizer, [prompt for prompt, _ in questions])
        return [_following(short, long) for short, long in zip(prompts, encode(tokenizer, texts), strict=True)]
    rows = tokenizer(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    columns = (rows["input_ids"], rows["offset_mapping"], rows["special_tokens_mask"])
    starts = [len(text) - len(answer) for text, answer in zip(texts, answers, strict=True)]
    return [_covering(start, *row) for start, *row in zip(starts, *columns, strict=True)]


def joined(prompt: str, answer: str) -> str:
    """Prompt and answer as one text, which ends with the answer.

    >>> joined("The capital of France is", "Paris "), joined("Capital of France?\\n", "Paris")
    ('The capital of France is Paris', 'Capital of France?\\nParis')
    """
    touching = prompt[-1:].isspace() or answer[:1].isspace()
    return f"{prompt}{answer.rstrip()}" if touching else f"{prompt} {answer.rstrip()}"


def _covering(start: int, ids: list[int], offsets: list[tuple[int, int]], special: list[int]) -> Placed:
    """The tokens that cover characters from `start` on, where a text ends with its answer."""
    own = [place for place, added in enumerate(special) if not added]
    first = next((place for place in own if offsets[place][1] > start), None)
    if first is None:
        return Placed(tuple(ids), [])
    return Placed(tuple(ids[:first]) if first > own[0] else (), ids[first : own[-1] + 1])


def _following(short: list[int], long: list[int]) -> Placed:
    return Placed(tuple(short), long[len(short) :], prompt_changes=long[: len(short)] != short)
