"""Families of synthetic cells, and their differences item by item."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from synthetic_records import TASK, write_cell

from bridge.records.record import Record
from bridge.results.best import Best, best_places
from bridge.results.comparison import Comparison
from bridge.results.curves import grids
from bridge.results.families import Family
from bridge.results.items import item_scores
from bridge.results.joining import comparisons

HEAD = TASK.by_name["top1"]


def cell(outputs: Path, **made: Any) -> Record:
    """A cell with top-1 alone, unless more is asked for."""
    return write_cell(outputs, **{"metrics": ("top1",), **made})


def family_of(made: Sequence[Any], metrics: Sequence[str] = ("top1",)) -> Family:
    return Family(comparisons(made), metrics)


def best_layers(made: Sequence[Any]) -> tuple[Family, list[Best]]:
    family = family_of(made)
    return family, best_places(grids(family.cells))


def differences(c: Comparison, name: str, part: str = "all") -> tuple[torch.Tensor, torch.Tensor]:
    """Fitted less control item by item, and the units."""
    items = item_scores(c.records, TASK, ["fitted", name], [HEAD])
    mask = items.masks[part]["items", "token"]
    scores = items.branches["fitted"].metrics["top1"][0] - items.branches[name].metrics["top1"].mean(0)
    return scores[mask], items.units["items"][mask]
