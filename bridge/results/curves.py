"""Grids: comparisons that differ only along the axes of their task, so that curves may join them."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.joining import dataset_label, sortable
from bridge.tasks.base import Task
from bridge.tasks.registry import get

# Share of the points of the longest curve that a later curve needs to be drawn instead.
ENOUGH = 0.75


@dataclass(frozen=True)
class Grid:
    """Points of one setting along the axes of its task.

    `pair` names the two models, where the task has any, and `dataset` the data set where there are several; `title` is
    the setting, with whatever else tells this grid from the others.
    """

    task: Task
    pair: str
    title: str
    cells: tuple[Comparison, ...]
    dataset: str = ""

    @property
    def heading(self) -> str:
        """The pair, and the data set if there are several: the heading over grids that are shown side by side."""
        return f"{self.pair}, {self.dataset}" if self.dataset else self.pair

    @property
    def place(self) -> str:
        """`heading` without the names of the models."""
        name = self.pair.split(":")[0]
        return f"{name}, {self.dataset}" if self.dataset else name

    @property
    def fixed(self) -> Comparison:
        """The last cell on every axis, the searched axis compared last; it is chosen without looking at scores."""
        return max(self.cells, key=lambda c: [_at(axis, c) for axis in self._axes()])

    @property
    def axes(self) -> list[Axis]:
        """The axes along which there is more than one place."""
        return [axis for axis in self.task.axes if len({_at(axis, c) for c in self.cells}) > 1]

    def along(self, axis: Axis) -> list[Comparison]:
        """The cells along an axis, in order, at the last place of the other axes with (nearly) the most cells."""
        return self.across(axis)

    def across(self, *axes: Axis) -> list[Comparison]:
        """The cells on some axes, in order, at the last place of the other axes with (nearly) the most cells."""
        others = [other for other in self.task.axes if other not in axes]
        at = self._most(lambda c: tuple(_at(other, c) for other in others))
        cell_at = {tuple(_at(axis, c) for axis in axes): c for c in self.cells
                 if tuple(_at(other, c) for other in others) == at}  # fmt: skip
        return [cell_at[place] for place in sorted(cell_at)]

    def curves(self) -> list[list[Comparison]]:
        """A curve along the searched axis for every place on the others, in order; without one each cell alone."""
        searched = self.task.searched
        others = [axis for axis in self.task.axes if axis is not searched]
        places = sorted({tuple(_at(axis, c) for axis in others) for c in self.cells})
        curves = [[c for c in self.cells if tuple(_at(axis, c) for axis in others) == place] for place in places]
        return [[c] for curve in curves for c in curve] if searched is None else [_by(searched, c) for c in curves]

    def _axes(self) -> list[Axis]:
        """The searched axis last."""
        return sorted(self.task.axes, key=lambda axis: axis.searched)

    def _most(self, kind: Callable[[Comparison], Any]) -> Any:
        counts = Counter(kind(c) for c in self.cells)
        # A single failed cell must not move the whole curve to another place.
        return max(k for k in counts if counts[k] >= ENOUGH * max(counts.values()))


def _at(axis: Axis, c: Comparison) -> Any:
    return sortable(axis.value(c.axes))


def _by(axis: Axis, cells: Iterable[Comparison]) -> list[Comparison]:
    """One cell for each place, in order; layer=-1 and layer=4 can be the same place."""
    cell_at = {_at(axis, c): c for c in cells}
    return [cell_at[at] for at in sorted(cell_at)]


def curve_place(curve: Sequence[Comparison]) -> str:
    """Where a curve lies on the axes that are not searched, as in a title."""
    task = curve[0].task
    return ", ".join(f"{a.word}={a.label(curve[0].axes)}" for a in task.axes if a is not task.searched)


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers with runs drawn together: 0–3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def places(axis: Axis, cells: Iterable[Comparison]) -> str:
    """Where cells lie on an axis, runs drawn together; of a pair of places the first counts."""
    values = [axis.value(c.axes) for c in cells]
    first = [value[0] if isinstance(value, tuple) else value for value in values]
    if all(isinstance(value, int) for value in first):
        return spans(first)
    return ", ".join(dict.fromkeys(map(str, first)))


def conditions_in(cells: Iterable[Comparison]) -> list[str]:
    """The conditions that were scored in any of `cells` of one task, in the order of every table and plot."""
    some = list(cells)
    return some[0].task.conditions.ordered(name for c in some for name in c.scores) if some else []


def missing_in(cells: Iterable[Comparison]) -> list[str]:
    """Conditions that at least one of `cells` lacks, task by task in order."""
    by_task: dict[str, list[Comparison]] = {}
    for c in cells:
        by_task.setdefault(c.task.name, []).append(c)
    some = [(group[0].task, {name for c in group for name in c.missing}) for group in by_task.values()]
    return list(dict.fromkeys(name for task, names in some for name in task.conditions.ordered(names)))


def identity(cells: Iterable[Comparison]) -> str:
    """A text that identifies a plot of `cells`."""
    return " ".join(f"{c.part} {r.data['run_id']} {c.number}" for c in cells for r in c.records)


def pair_label(config: Mapping[str, Any]) -> str:
    """The pair's name with the two models behind it."""
    pair = config["pair"]
    return f"{pair['name']}: {pair['source']['name']} → {pair['target']['name']}"


def place_of(task: Task, config: Mapping[str, Any]) -> str:
    """The pair, or the name of a task that has none."""
    return pair_label(config) if "pair" in task.uses else task.name


def grids(cells: Iterable[Comparison]) -> list[Grid]:
    """Group comparisons into grids, with titles that tell grids of one pair apart."""
    groups: dict[str, list[Comparison]] = {}
    for c in cells:
        kept = [c.task.name, settings(c.config)]
        groups.setdefault(json.dumps(kept, sort_keys=True), []).append(c)
    first = [group[0] for group in groups.values()]
    several = len({dataset_label(c.config) for c in first if "dataset" in c.task.uses}) > 1
    every = [
        Grid(
            c.task,
            place_of(c.task, c.config),
            _title(c, first),
            tuple(group),
            dataset_label(c.config) if several and "dataset" in c.task.uses else "",
        )
        for c, group in zip(first, groups.values(), strict=True)
    ]
    return sorted(every, key=lambda grid: (grid.task.name, grid.heading, _counted(grid.title)))


def _counted(title: str) -> list[tuple[str, int]]:
    """A sorting key that puts seed=2 before seed=10."""
    return [(words, int(number or 0)) for words, number in re.findall(r"(\D*)(\d*)", title)]


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name -> value of all that a grid holds fixed."""
    task = get(config["task"]["name"])
    return {k: v for k, v in _flat(task.used(config)).items() if k not in task.free}


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _title(c: Comparison, others: Sequence[Comparison]) -> str:
    def place(other: Comparison) -> tuple[str, ...]:
        task, config = other.task, other.config
        dataset = dataset_label(config) if "dataset" in task.uses else ""
        return task.name, place_of(task, config), dataset, task.setting(config)

    own = settings(c.config)
    differing = telling([settings(other.config) for other in others if place(other) == place(c)])
    more = (f"{n.removesuffix('.name')}={own[n]}" for n in differing if n in own)
    return ", ".join([c.task.setting(c.config), *more])


def telling(alike: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that tell configs apart, in a reader's words.

    Options of a group are left out where the group's name determines them.

    Args:
        alike: what `settings` gave for each config.

    Example:
        >>> telling([{"map.name": "ridge", "map.penalty": 1}, {"map.name": "lora", "map.rank": 8}])
        ['map.name']
    """
    names = dict.fromkeys(name for one in alike for name in one if not name.endswith("_target_"))
    differ = [n for n in names if len({repr(one.get(n)) for one in alike}) > 1]

    def follows(name: str) -> bool:
        group = f"{name.partition('.')[0]}.name"
        if name == group or group not in differ:
            return False
        return len({(repr(one.get(group)), repr(one.get(name))) for one in alike}) == len(
            {repr(one.get(group)) for one in alike}
        )

    return [n for n in differ if not follows(n)]
