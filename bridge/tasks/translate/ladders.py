"""Ladders: cells that differ in their map and data set size alone, so that maps can be compared."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.results.comparison import Comparison
from bridge.results.curves import pair_label, settings, telling
from bridge.tasks.translate.conditions import CONDITIONS

SHARE = "fraction_of_native"
SHARE_F1 = "fraction_of_native_f1"
# The maps of the October 2025 plan first, in its order; what it is compared with today after them.
ORDER = (
    "orthogonal",
    "linear",
    "affine",
    "lora",
    "linear_target",
    "affine_target",
    "lora_target",
    "mlp",
    "mlp_target",
)


@dataclass(frozen=True)
class Rung:
    """One map of a ladder: its cells from the fewest fit rows to the most."""

    name: str
    cells: tuple[Comparison, ...]

    def at(self, n_rows: int) -> Comparison | None:
        """The cell with so many fit rows."""
        return next((c for c in self.cells if n_fit(c) == n_rows), None)


@dataclass(frozen=True)
class Ladder:
    """Maps between one pair of models at one pair of layers, under one injection."""

    pair: str
    title: str
    rungs: tuple[Rung, ...]

    @property
    def sizes(self) -> list[int]:
        """Every number of fit rows that a map has a cell for."""
        return sorted({n_fit(c) for c in self.cells})

    @property
    def cells(self) -> list[Comparison]:
        """All cells."""
        return [c for rung in self.rungs for c in rung.cells]

    def envelope(self, control: str, n_rows: int, metric: str = SHARE) -> tuple[float, float] | None:
        """Lowest and highest 95 % bound of a control among the maps with so many fit rows; None where there is none."""
        every = [c.scores.get(control, {}).get(metric) for c in self.cells if n_fit(c) == n_rows]
        scored = [score for score in every if score is not None]
        if not scored:
            return None
        return min(float(s["low"]) for s in scored), max(float(s["high"]) for s in scored)


def ladders(cells: Iterable[Comparison], part: str = "all") -> list[Ladder]:
    """Group comparisons into ladders; what no second map stands beside is in none.

    Args:
        cells: comparisons, as joined from records.
        part: "all" items, those with "new" answers, or those with "known" ones. Where all items are new, they are
            among the new ones alone.
    """
    groups: dict[str, list[Comparison]] = {}
    for c in (on for c in cells if not (part == "all" and c.is_all_headline) and (on := c.on(part)) is not None):
        kept = {k: v for k, v in settings(c.config).items() if not k.startswith("map.")}
        groups.setdefault(json.dumps([kept, c.axes["layer"]], sort_keys=True), []).append(c)
    several = [group for group in groups.values() if len({_map(c) for c in group}) > 1]
    made = [_ladder(group, several) for group in several]
    return sorted(made, key=lambda ladder: (ladder.pair, ladder.title))


def _ladder(group: list[Comparison], others: Sequence[list[Comparison]]) -> Ladder:
    first = group[0]
    beside = [other[0] for other in others if pair_label(other[0].config) == pair_label(first.config)]
    own = settings(first.config)
    differing = [k for k in telling([settings(c.config) for c in beside])
                 if not k.startswith(("map.", "injection.", "layer."))]  # fmt: skip
    more = [f"{k.removesuffix('.name')}={own.get(k)}" for k in differing]
    title = ", ".join(
        [first.task.setting(first.config), f"layer {first.place('layer')}", *more, first.title_of(first.part)]
    )
    by_map: dict[str, list[Comparison]] = {}
    for c in group:
        by_map.setdefault(_map(c), []).append(c)
    names = _names([cells[0] for cells in by_map.values()])
    rungs = [
        Rung(name, tuple(sorted(cells, key=n_fit)))
        for name, cells in zip(names, by_map.values(), strict=True)
    ]
    return Ladder(pair_label(first.config), title, tuple(sorted(rungs, key=_place)))


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
    name = rung.name.split()[0]
    return (ORDER.index(name) if name in ORDER else len(ORDER), rung.name)


def n_fit(c: Comparison) -> int:
    """How many rows the map of a cell was fitted on."""
    return int(c.axes["n_fit"])


def hardest(c: Comparison, metric: str = SHARE) -> tuple[str, dict[str, Any]] | None:
    """The negative control with the highest score, with it; None where none was scored."""
    scored = {n: s[metric] for n, s in c.scores.items() if n in CONDITIONS.negatives and metric in s}
    if not scored:
        return None
    name = max(scored, key=lambda n: float(scored[n]["mean"]))
    return name, scored[name]
