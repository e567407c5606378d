"""Prompts in both models' tokens, for tasks that ask for no answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.data.items import Item
from bridge.errors import DataError

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Prompts:
    """Items with the tokens that each model reads of them, and how many items were loaded and kept.

    Attributes:
        items: n items.
        contexts_source: their n tokenizations for the source.
        contexts_target: their n tokenizations for the target.
        coverage: ``loaded``, ``kept``, and for each reason that occurred the number of items dropped for it.
    """

    items: list[Item]
    contexts_source: list[Tokens]
    contexts_target: list[Tokens]
    coverage: dict[str, int]


Encode = Callable[[Sequence[str]], list[list[int]]]


def prompts_of(items: Sequence[Item], source: Encode, target: Encode) -> Prompts:
    """Items without an answer, in both models' tokens; of equal prompts, the first stays.

    Args:
        items: what a data set loaded.
        source: texts -> the token ids that the source reads; `target` alike.

    Raises:
        DataError: no item has a prompt.

    Example:
        >>> letters = lambda texts: [[ord(c) for c in text] for text in texts]
        >>> prompts_of([Item("a"), Item("b"), Item("a"), Item(" ")], letters, letters).coverage
        {'loaded': 4, 'kept': 2, 'empty': 1, 'duplicate_prompt': 1}
    """
    full = [item for item in items if item.prompt.strip()]
    kept = list({item.prompt: item for item in reversed(full)}.values())[::-1]
    if not kept:
        raise DataError(f"none of the {len(items)} items has a prompt; wanted some: fill in 'prompt'")
    dropped = {"empty": len(items) - len(full), "duplicate_prompt": len(full) - len(kept)}
    texts = [item.prompt for item in kept]
    return Prompts(
        items=kept,
        contexts_source=[tuple(ids) for ids in source(texts)],
        contexts_target=[tuple(ids) for ids in target(texts)],
        coverage={"loaded": len(items), "kept": len(kept)} | {why: n for why, n in dropped.items() if n},
    )
