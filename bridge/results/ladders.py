"""Ladders: learning curves of several maps, from cells that differ only in their map and along one axis.

A learning curve is a score over the number of rows that were fitted on; it is also called a sample-efficiency curve.

Source: Viering and Loog (2021), "The shape of learning curves: a review", arXiv:2103.10948.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import place_of, settings, telling
from bridge.results.joining import sortable
from bridge.tasks.base import Task


def along(task: Task) -> Axis | None:
    """The axis of a ladder: the first that is not searched and is set by a config key."""
    return next((axis for axis in task.axes if not axis.searched and axis.keys), None)


def measured_by(task: Task) -> str:
    """The metric of a ladder: the share of the reference's head metric if the task has one, else the head metric."""
    return next((m.name for m in task.metrics if m.share_of == task.head.name), task.head.name)


@dataclass(frozen=True)
class Rung:
    """The learning curve of one map: its cells along the axis, in order."""

    name: str
    cells: tuple[Comparison, ...]
    axis: Axis

    def at(self, place: Any) -> Comparison | None:
        """The cell at a place."""
        return next((c for c in self.cells if self.axis.value(c.axes) == place), None)


@dataclass(frozen=True)
class Ladder:
    """Maps of one setting, along one axis."""

    task: Task
    axis: Axis
    pair: str
    title: str
    rungs: tuple[Rung, ...]

    @property
    def metric(self) -> str:
        """The metric that maps are compared by."""
        return measured_by(self.task)

    @property
    def places(self) -> list[Any]:
        """Every place on the axis that a map has a cell at."""
        return sorted({self.axis.value(c.axes) for c in self.cells}, key=sortable)

    @property
    def cells(self) -> list[Comparison]:
        """All cells."""
        return [c for rung in self.rungs for c in rung.cells]

    def envelope(self, condition: str, place: Any) -> tuple[float, float] | None:
        """Lowest and highest bound of a condition among the maps at a place; None where there is none."""
        here = [c.scores.get(condition, {}).get(self.metric) for c in self.cells if self.axis.value(c.axes) == place]
        scored = [score for score in here if score is not None and score["low"] is not None]
        if not scored:
            return None
        return min(float(s["low"]) for s in scored), max(float(s["high"]) for s in scored)


def ladders(cells: Iterable[Comparison], part: str = "all") -> list[Ladder]:
    """Group comparisons into ladders of at least two maps.

    Args:
        cells: comparisons, as joined from records.
        part: "all" items, or a part that the task names. Where the headline part has every item, its cells are in
            that one alone.
    """
    groups: dict[str, list[Comparison]] = {}
    for c in cells:
        axis = along(c.task)
        if axis is None or "map" not in c.task.uses or (part != "all" and part not in c.parts):
            continue
        if (part == "all" and c.is_all_headline) or (on := c.on(part)) is None:
            continue
        kept = {k: v for k, v in settings(c.config).items() if not k.startswith("map.")}
        places = {a.name: a.value(c.axes) for a in c.task.axes if a is not axis}
        groups.setdefault(json.dumps([kept, places], sort_keys=True), []).append(on)
    several = [group for group in groups.values() if len({_map(c) for c in group}) > 1]
    return sorted((_ladder(group, several) for group in several), key=lambda ladder: (ladder.pair, ladder.title))


def _ladder(group: list[Comparison], others: Sequence[list[Comparison]]) -> Ladder:
    first = group[0]
    task, axis = first.task, along(first.task)
    assert axis is not None
    pair = place_of(task, first.config)
    beside = [other[0] for other in others if place_of(other[0].task, other[0].config) == pair]
    own = settings(first.config)
    # Settings that the title names already are left out.
    named = {"map", *(key.split(".")[0] for a in task.axes if a is not axis for key in a.keys)}
    named |= {name.split(".")[0] for name, value in own.items() if value == task.setting(first.config)}
    differing = [k for k in telling([settings(c.config) for c in beside]) if k.split(".")[0] not in named]
    more = [f"{k.removesuffix('.name')}={own.get(k)}" for k in differing]
    where = [f"{a.word} {a.label(first.axes)}" for a in task.axes if a is not axis]
    title = ", ".join([task.setting(first.config), *where, *more, first.title_of(first.part)])
    by_map: dict[str, list[Comparison]] = {}
    for c in group:
        by_map.setdefault(_map(c), []).append(c)
    names = _names([cells[0] for cells in by_map.values()])
    rungs = [
        Rung(name, tuple(sorted(cells, key=lambda c: sortable(axis.value(c.axes)))), axis)
        for name, cells in zip(names, by_map.values(), strict=True)
    ]
    return Ladder(task, axis, pair, title, tuple(sorted(rungs, key=_place)))


def _map(c: Comparison) -> str:
    return json.dumps({k: v for k, v in settings(c.config).items() if k.startswith("map.")}, sort_keys=True)


def _names(cells: Sequence[Comparison]) -> list[str]:
    """The name of each map, with the options in which maps of one name differ."""
    names = []
    for c in cells:
        own = {k: v for k, v in settings(c.config).items() if k.startswith("map.")}
        alike = [s for other in cells if (s := settings(other.config))["map.name"] == own["map.name"]]
        options = [f"{k.removeprefix('map.')}={own.get(k)}" for k in telling(alike) if k in own]
        names.append(" ".join([str(own["map.name"]), *options]))
    return names


def _place(rung: Rung) -> tuple[int, str]:
    name, rungs = rung.name.split()[0], rung.cells[0].task.rungs
    return (rungs.index(name) if name in rungs else len(rungs), rung.name)


def hardest(c: Comparison, metric: str) -> tuple[str, dict[str, Any]] | None:
    """The negative control with the best score, with it; None where none was scored."""
    better = 1.0 if c.task.by_name[metric].higher_is_better else -1.0
    scored = {n: s[metric] for n, s in c.scores.items() if n in c.task.conditions.negatives and metric in s}
    if not scored:
        return None
    name = max(scored, key=lambda n: better * float(scored[n]["mean"]))
    return name, scored[name]
