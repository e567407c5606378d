"""Splits of items into fit and eval, and the units of inference that items belong to."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, get_args

import torch
from torch import Tensor

from bridge.data.items import Item
from bridge.data.repeats import repeated_facts
from bridge.errors import DataError

SplitBy = Literal["item", "answer", "subject", "relation"]
Unit = Literal["answer", "subject", "fact", "item"]


@dataclass(frozen=True)
class Split:
    """Indices of the fit items, the eval items, and the pool of items to fit on; no group is in both eval and pool."""

    fit: Tensor
    eval: Tensor
    pool: Tensor

    def known(self, labels: Sequence[Hashable]) -> Tensor:
        """Whether the label of an eval item is also the label of a fit item.

        Args:
            labels: of all items.

        Returns:
            (m,) bool.
        """
        fitted = {labels[i] for i in self.fit.tolist()}
        return torch.tensor([labels[i] in fitted for i in self.eval.tolist()], dtype=torch.bool)


def split(
    items: Sequence[Item],
    by: SplitBy = "item",
    size: int | None = None,
    eval_fraction: float = 0.4,
    eval_size: int | None = None,
    seed: int = 0,
) -> Split:
    """Hold out a share of the groups to evaluate on, then draw the items to fit on from the others.

    With ``eval_size`` that many items are drawn from the held-out groups in turn: one of each group, then a second one
    of each, and so on. The other items of these groups are not used. The eval items do not depend on ``size``, and the
    fit items of a smaller ``size`` are the first ones of a larger.

    Args:
        items: the items of a Rosetta set.
        by: what may not be on both sides: the item itself, its answer, subject or relation.
        size: how many items to fit on; None takes all that are left.
        eval_fraction: the share of the groups to evaluate on; at least one group is on either side.
        eval_size: how many items of these groups to evaluate on; None takes all.
        seed: same seed, same split.

    Raises:
        DataError: an item has no group, there are fewer than two groups, several items ask one fact but are split by
            item, or more items are asked for than there are.

    Example:
        >>> items = [Item(f"{i} is", "odd" if i % 2 else "even") for i in range(10)]
        >>> parts = split(items, by="answer", size=3)
        >>> len(parts.fit), len(parts.eval), parts.known([i.answer for i in items]).any().item()
        (3, 5, False)
    """
    if not 0.0 < eval_fraction < 1.0:
        raise DataError(f"got eval_fraction={eval_fraction}; wanted a number between 0 and 1: change it")
    if by == "item" and (n_repeated := repeated_facts(items)):
        raise DataError(
            f"got {n_repeated} items that ask a fact that another item asks too, and split by item can put one fact "
            "on both sides; wanted a split that keeps a fact together: give dataset.split.by=subject or answer"
        )
    generator = torch.Generator().manual_seed(seed)
    groups = _groups(items, by)
    order = torch.randperm(len(groups), generator=generator).tolist()
    n_held = min(max(1, round(eval_fraction * len(groups))), len(groups) - 1)
    held = [groups[place] for place in order[:n_held]]
    held_out = {index for group in held for index in group}
    evaluated = sorted(held_out)
    if eval_size is not None:
        if not 1 <= eval_size <= len(held_out):
            raise DataError(
                f"got an evaluation size of {eval_size}; wanted 1 to {len(held_out)}, as that many of {len(items)} "
                f"items can be evaluated on when split by {by} with eval_fraction={eval_fraction}: ask for fewer, "
                "hold out more, or give more data"
            )
        evaluated = sorted(_across(held, generator)[:eval_size])
    pool = [index for index in range(len(items)) if index not in held_out]
    if size is not None and not 1 <= size <= len(pool):
        raise DataError(
            f"got a data set size of {size}; wanted 1 to {len(pool)}, as that many of {len(items)} items are left to "
            f"fit on after {len(held_out)} went to the evaluation: ask for fewer, evaluate on fewer, or give more "
            "data"
        )
    drawn = torch.randperm(len(pool), generator=generator).tolist()[:size]
    return Split(*(torch.tensor(part, dtype=torch.long) for part in ([pool[i] for i in drawn], evaluated, pool)))


def labels(items: Sequence[Item], by: SplitBy | Unit) -> list[str]:
    """The label that an item shares with the others of its group or unit.

    A fact is a subject in a relation; all wordings of it have one answer.

    Args:
        items: of a Rosetta set.
        by: item, answer, subject, fact or relation.

    Raises:
        DataError: an item does not name what is asked for, or `by` is unknown.
    """
    if by not in (known := tuple(dict.fromkeys((*get_args(SplitBy), *get_args(Unit))))):
        raise DataError(f"got groups by '{by}'; wanted one of {', '.join(known)}: change it")
    if by == "item":
        return [str(index) for index in range(len(items))]
    attribute = "subject" if by == "fact" else by
    names = [getattr(item, attribute).strip() for item in items]
    for index, name in enumerate(names):
        if not name:
            raise DataError(
                f"item {index} ({items[index].prompt[:60]!r}) has no {attribute}, so the items cannot be grouped by "
                f"{by}; wanted one for every item: fill in '{attribute}', or split by item or answer"
            )
    if by == "fact":
        return [f"{item.relation.strip()}\0{name}" for item, name in zip(items, names, strict=True)]
    return names


def numbered(names: Sequence[str]) -> Tensor:
    """Labels as integers (n,), in the order of their names: which items share one, and nothing else.

    Example:
        >>> numbered(["b", "a", "b"]).tolist()
        [1, 0, 1]
    """
    places = {name: k for k, name in enumerate(sorted(set(names)))}
    return torch.tensor([places[name] for name in names], dtype=torch.long)


def _groups(items: Sequence[Item], by: SplitBy) -> list[list[int]]:
    if by not in get_args(SplitBy):
        raise DataError(f"got split by '{by}'; wanted one of {', '.join(get_args(SplitBy))}: change dataset.split.by")
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(labels(items, by)):
        groups.setdefault(name, []).append(index)
    if len(groups) < 2:
        raise DataError(
            f"got {len(items)} items in {len(groups)} group(s) when split by {by}; wanted at least two groups, one "
            "to fit on and one to evaluate on: split by something else, or give more data"
        )
    return list(groups.values())


def _across(groups: Sequence[Sequence[int]], generator: torch.Generator) -> list[int]:
    """The members of all groups in turn: one of each group, then a second one of each group that has one, and so on."""
    shuffled = [[group[i] for i in torch.randperm(len(group), generator=generator).tolist()] for group in groups]
    return [index for turn in zip_longest(*shuffled) for index in turn if index is not None]
