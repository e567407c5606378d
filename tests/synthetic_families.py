"""Families of synthetic cells, and their differences item by item."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from synthetic_records import write_cell

from bridge.records.record import Record
from bridge.results.comparison import Comparison, comparisons
from bridge.results.curves import grids, withhold
from bridge.results.families import Best, Family
from bridge.results.items import item_scores


def cell(outputs: Path, **made: Any) -> Record:
    """A cell with top-1 alone, unless more is asked for."""
    return write_cell(outputs, **{"metrics": ("top1",), **made})


def family_of(made: Sequence[Any], metrics: Sequence[str] = ("top1",)) -> Family:
    return Family(comparisons(made), metrics)


def best_layers(made: Sequence[Any]) -> tuple[Family, list[Best]]:
    family = family_of(made)
    return family, family.best_layers(grids([withhold(c) for c in family.cells]))


def differences(c: Comparison, name: str, part: str = "all") -> tuple[torch.Tensor, torch.Tensor]:
    """Fitted less control item by item, and the units."""
    items = item_scores(c.records, ["fitted", name], ["top1"])
    mask = items.part(part, 1, 0).token
    scores = items.branches["fitted"].metrics["top1"][0] - items.branches[name].metrics["top1"].mean(0)
    return scores[mask], items.units[mask]
