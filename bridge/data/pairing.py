"""Token positions at which two tokenizers have read exactly the same text."""

from typing import TYPE_CHECKING

from bridge.data.placing import joined
from bridge.data.rosetta import RosettaSet
from bridge.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def aligned_positions(
    text: str, source_tokenizer: "PreTrainedTokenizerBase", target_tokenizer: "PreTrainedTokenizerBase"
) -> list[tuple[int, int]]:
    """The pairs of token positions that end at the same character of a text in both tokenizers.

    A place in the text is a boundary of a tokenizer when every token lies either before it or after it. Of several
    tokens that end there (the bytes of one character) the last one counts. Both last positions are a pair, even where a
    tokenizer drops whitespace at the end of the text: both have read the whole text.

    Args:
        text: one prompt.
        source_tokenizer: a fast tokenizer.
        target_tokenizer: a fast tokenizer.

    Returns:
        (source position, target position) pairs, both rising; positions count the special tokens that a
        tokenizer puts in front, as in ``tokenizer(text)["input_ids"]``, but never point at one.

    Raises:
        DataError: a tokenizer is slow, or the text has no token.
    """
    source, target = _ends(text, source_tokenizer), _ends(text, target_tokenizer)
    return [(source[end], target[end]) for end in sorted(source.keys() & target.keys())]


def aligned_contexts(
    rosetta: RosettaSet, source_tokenizer: "PreTrainedTokenizerBase", target_tokenizer: "PreTrainedTokenizerBase"
) -> list[list[tuple[int, int]]]:
    """The aligned positions of every item, in the tokens that are read before its answer.

    Both last positions are a pair, as they are in `aligned_positions` of a prompt, even where the answer has taken
    more of the prompt's end in one of the tokenizers: both stand just before the answer's first token.

    Returns:
        for each item the (source position, target position) pairs, both rising, in ``contexts_source`` and
        ``contexts_target``.

    Raises:
        DataError: a tokenizer is slow.
    """
    pairs = []
    for item, of_source, of_target in zip(rosetta.items, rosetta.contexts_source, rosetta.contexts_target, strict=True):
        last = (len(of_source) - 1, len(of_target) - 1)
        whole = aligned_positions(joined(item.prompt, item.answer), source_tokenizer, target_tokenizer)
        pairs.append([*((i, j) for i, j in whole if i < last[0] and j < last[1]), last])
    return pairs


def _ends(text: str, tokenizer: "PreTrainedTokenizerBase") -> dict[int, int]:
    """The boundaries of a text: character where the text read so far ends -> position of the token."""
    if not tokenizer.is_fast:
        raise DataError(
            f"got {type(tokenizer).__name__}, a slow tokenizer; wanted a fast one, as aligned positions need the "
            "characters of each token: load the fast tokenizer of the model, or use the last position"
        )
    encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    rows = zip(encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True)
    spans = [(place, start, end) for place, ((start, end), special) in enumerate(rows) if not special]
    if not spans:
        raise DataError(f"the text {text[:60]!r} has no token; wanted at least one: leave it out")
    # the offsets of the last token may leave out whitespace at the end of the text
    ends = {len(text): spans[-1][0]}
    later_start = spans[-1][1]
    for place, start, end in reversed(spans[:-1]):
        if 0 < end <= later_start and end < len(text):
            ends.setdefault(end, place)
        later_start = min(later_start, start)
    return ends
