"""Which tokens of a text a state is read at."""

from __future__ import annotations

from collections.abc import Sequence

import transformers

from bridge.errors import ConfigError, DataError
from bridge.models.encoding import Text, added_tokens, shown


def wanted_tokens(
    tokenizer: transformers.PreTrainedTokenizerBase,
    texts: Sequence[Text],
    ids: Sequence[Sequence[int]],
    position: str,
    positions: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """For every text the token positions whose states are wanted.

    Args:
        texts: n texts, for the messages.
        ids: their token ids, special tokens included.
        position: "last"; "all"; "mean" for all tokens but those that the tokenizer puts before and after a text;
            "last:K"; or "index" for `positions`.
        positions: for "index", one list per text.

    Raises:
        ConfigError: `position` is unknown, or does not go with `positions`.
        DataError: a text has too few tokens, or a position lies outside it.
    """
    if (position == "index") != (positions is not None):
        given = "without" if positions is None else "with"
        raise ConfigError(
            f"position={position!r} was given {given} a list of positions; wanted a list with position=index alone: "
            "change one of them"
        )
    if positions is not None:
        return _checked(positions, texts, ids)
    if position == "all":
        return [list(range(len(row))) for row in ids]
    if position == "mean":
        before, after = added_tokens(tokenizer)
        return _at_least(1, [_between(before, row, after) for row in ids], texts)
    k = n_last(position)
    return _at_least(k, [list(range(max(len(row) - k, 0), len(row))) for row in ids], texts)


def n_last(position: str) -> int:
    """K of "last:K", and 1 for "last".

    >>> n_last("last:3")
    3

    Raises:
        ConfigError: `position` is neither.
    """
    head, colon, number = position.partition(":")
    if head != "last" or (colon and not (number.isdecimal() and int(number) >= 1)):
        raise ConfigError(
            f"position={position!r} is unknown; wanted a position: give last, mean, all, last:K with K >= 1, or index"
        )
    return int(number) if colon else 1


def _checked(
    positions: Sequence[Sequence[int]], texts: Sequence[Text], ids: Sequence[Sequence[int]]
) -> list[list[int]]:
    if len(positions) != len(texts):
        raise DataError(
            f"{len(positions)} lists of positions for {len(texts)} texts; wanted as many lists as texts: give one "
            "per text"
        )
    for text, tokens, row in zip(texts, positions, ids, strict=True):
        if any(not 0 <= token < len(row) for token in tokens):
            raise DataError(
                f"positions {list(tokens)} do not all lie in the {len(row)} tokens of {shown(text)}; wanted "
                f"0..{len(row) - 1}: change them"
            )
    return [list(tokens) for tokens in positions]


def _between(before: Sequence[int], row: Sequence[int], after: Sequence[int]) -> list[int]:
    """The positions of a row without the tokens added before and after it, if any.

    >>> _between([2], [2, 5, 2], []), _between([2], [5, 2], [])
    ([1, 2], [0, 1])
    """
    tokens = tuple(row)
    start = len(before) if tokens[: len(before)] == tuple(before) else 0
    stop = len(tokens) - len(after) if after and tokens[-len(after) :] == tuple(after) else len(tokens)
    return list(range(start, stop))


def _at_least(k: int, chosen: list[list[int]], texts: Sequence[Text]) -> list[list[int]]:
    for tokens, text in zip(chosen, texts, strict=True):
        if len(tokens) < k:
            raise DataError(f"{shown(text)} has {len(tokens)} tokens; wanted at least {k}: leave this text out")
    return chosen
