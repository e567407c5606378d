"""Texts as the token ids that a model reads."""

from __future__ import annotations

from collections.abc import Sequence

import transformers

# A text, or its token ids as they are read.
Text = str | tuple[int, ...]


def encode(
    tokenizer: transformers.PreTrainedTokenizerBase, texts: Sequence[Text], ends_texts: bool = False
) -> list[list[int]]:
    """Token ids of each text, with the special tokens the tokenizer adds, but no end-of-text at the end.

    An end-of-text token is removed only if the tokenizer adds one after every text, and not with `ends_texts`. Token
    ids given in place of a text come back unchanged.
    """
    written = [text for text in texts if isinstance(text, str)]
    rows = iter(_encoded(tokenizer, written, ends_texts))
    return [next(rows) if isinstance(text, str) else list(text) for text in texts]


def _encoded(tokenizer: transformers.PreTrainedTokenizerBase, texts: list[str], ends_texts: bool) -> list[list[int]]:
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(texts, add_special_tokens=True)["input_ids"]
    cut = not ends_texts and _ends_a_text(tokenizer, _added(tokenizer)[1])
    return [row[:-1] for row in rows] if cut else rows


def added_tokens(tokenizer: transformers.PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that a tokenizer puts before every text, and those after it that `encode` leaves there.

    They are identified by their position, since another token of a text may have the same id.
    """
    before, after = _added(tokenizer)
    return before, after[:-1] if _ends_a_text(tokenizer, after) else after


def _ends_a_text(tokenizer: transformers.PreTrainedTokenizerBase, after: tuple[int, ...]) -> bool:
    return after[-1:] == (tokenizer.eos_token_id,)


def _added(tokenizer: transformers.PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    whole: list[int] = tokenizer("a", add_special_tokens=True)["input_ids"]
    if tokenizer.is_fast:
        special = tokenizer("a", add_special_tokens=True, return_special_tokens_mask=True)["special_tokens_mask"]
        n_before = special.index(0) if 0 in special else len(special)
        n_after = special[::-1].index(0) if 0 in special else 0
    else:
        bare: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
        places = [at for at in range(len(whole) - len(bare) + 1) if whole[at : at + len(bare)] == bare]
        # of several places the last one: many tokenizers put something before a text, few put something after it
        n_before = places[-1] if places else 0
        n_after = len(whole) - len(bare) - n_before if places else 0
    return tuple(whole[:n_before]), tuple(whole[len(whole) - n_after :])


def shown(text: Text) -> str:
    """A text as it stands in a message of one line.

    >>> shown("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'"
    >>> shown((1, 5, 6))
    'the token ids [1, 5, 6]'
    """
    if isinstance(text, str):
        return repr(text if len(text) <= 60 else text[:60] + "...")
    ids = [*map(str, text[:12]), *(["..."] if len(text) > 12 else [])]
    return f"the token ids [{', '.join(ids)}]"
