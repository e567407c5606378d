"""Grids: comparisons that differ in layer and data set size alone, which is what a curve may join."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.controls.names import CONTROLS, KINDS, NEGATIVES
from bridge.records.record import NOT_IN_RUN_ID
from bridge.results.comparison import Comparison, dataset_label, injection_label

# Share of the points of the longest curve that a curve needs to be drawn in its place.
ENOUGH = 0.75


@dataclass(frozen=True)
class Grid:
    """Cells of one pair, data set, injection, map and seed over layers and data set sizes.

    `pair` names the two models, and `dataset` the data set where there are several; `title` names the injection and
    whatever else tells this grid from its neighbours.
    """

    pair: str
    title: str
    cells: tuple[Comparison, ...]
    dataset: str = ""

    @property
    def heading(self) -> str:
        """What grids shown side by side share: the pair, and the data set where there are several."""
        return f"{self.pair}, {self.dataset}" if self.dataset else self.pair

    @property
    def place(self) -> str:
        """`heading` without the names of the models."""
        name = self.pair.split(":")[0]
        return f"{name}, {self.dataset}" if self.dataset else name

    @property
    def fixed(self) -> Comparison:
        """The cell of the largest size and, at that size, of the deepest layers: chosen without looking at scores."""
        return max(self.cells, key=lambda c: (c.data["n_fit"], *layers(c)))

    def along_layers(self) -> list[Comparison]:
        """The cells of the largest size with (nearly) as many layers as any, from the first layer to the last."""
        size = self._most(lambda c: c.data["n_fit"])
        return _by(layers, (c for c in self.cells if c.data["n_fit"] == size))

    def along_sizes(self) -> list[Comparison]:
        """The cells at the deepest layers with (nearly) as many sizes as any, from the smallest size to the largest."""
        at = self._most(layers)
        return _by(lambda c: c.data["n_fit"], (c for c in self.cells if layers(c) == at))

    def curves(self) -> list[list[Comparison]]:
        """One curve over layers for every data set size, from the smallest size to the largest."""
        sizes = sorted({c.data["n_fit"] for c in self.cells})
        return [_by(layers, (c for c in self.cells if c.data["n_fit"] == size)) for size in sizes]

    def _most(self, kind: Callable[[Comparison], Any]) -> Any:
        counts = Counter(kind(c) for c in self.cells)
        # One cell that failed must not move the whole curve elsewhere.
        return max(k for k in counts if counts[k] >= ENOUGH * max(counts.values()))


def _by(place: Callable[[Comparison], Any], cells: Iterable[Comparison]) -> list[Comparison]:
    """One cell for each place, in order; layer=-1 and layer=4 can be one and the same."""
    found = {place(c): c for c in cells}
    return [found[at] for at in sorted(found)]


def layers(c: Comparison) -> tuple[int, int]:
    """Source and target layer, as numbers."""
    found = c.data["layers"]
    return found["source"], found["target"]


def layer_label(c: Comparison) -> str:
    """Source and target layer, as in every table."""
    source, target = layers(c)
    return f"{source}→{target}"


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers with runs drawn together: 0–3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def failed_gates(c: Comparison) -> list[str]:
    """Names of the gates that did not pass in any of the cells joined in `c`."""
    return list(dict.fromkeys(n for r in c.records for n, gate in r.data["gates"].items() if not gate["passed"]))


def state(c: Comparison) -> str:
    """`valid`; `dead` where nothing that is put in could be right, as the verdict says; else `invalid`."""
    if c.valid:
        return "valid"
    return "dead" if c.verdict().startswith("dead") else "invalid"


def hardest_negative(c: Comparison, metric: str = "top1") -> str | None:
    """The negative control with the highest score, or None where none was scored."""
    scored = [n for n in NEGATIVES if n in c.scores]
    return max(scored, key=lambda n: float(c.scores[n][metric]["mean"]), default=None)


def is_withheld(c: Comparison) -> bool:
    """Whether a fitted score was computed for `c` that stands without a single negative control."""
    return hardest_negative(c) is None and any("fitted" in r.data["scores"] for r in c.records)


def verdict(c: Comparison) -> str:
    """What may be concluded from a cell, in one line."""
    if c.valid and is_withheld(c):
        return "fitted score not shown, because no negative control was scored beside it; run it with control=all"
    return c.verdict()


def withhold(c: Comparison) -> Comparison:
    """`c` without its fitted numbers where no negative control stands beside them."""
    if not is_withheld(c):
        return c

    def rest(scores: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in scores.items() if name != "fitted"}

    by_answer = {
        label: {**part, "scores": rest(part["scores"]), "contrasts": {}} if "scores" in part else part
        for label, part in c.by_answer.items()
    }
    return replace(c, scores=rest(c.scores), contrasts={}, state_scores=rest(c.state_scores), by_answer=by_answer)


def controls_in(cells: Iterable[Comparison]) -> list[str]:
    """What was scored in any of `cells`, in the order of every table and plot."""
    found = {name for c in cells for name in c.scores}
    return [name for name in KINDS if name in found]


def identity(cells: Iterable[Comparison]) -> str:
    """What tells a plot of `cells` from every other."""
    return " ".join(f"{c.part} {r.data['run_id']}" for c in cells for r in c.records)


def missing_in(cells: Iterable[Comparison]) -> list[str]:
    """Controls that at least one of `cells` lacks."""
    found = {name for c in cells for name in c.missing}
    return [name for name in CONTROLS if name in found]


def pair_label(config: dict[str, Any]) -> str:
    """The pair's name with the two models behind it."""
    pair = config["pair"]
    return f"{pair['name']}: {pair['source']['name']} → {pair['target']['name']}"


def grids(cells: Iterable[Comparison]) -> list[Grid]:
    """Group comparisons into grids, with titles that tell grids of one pair apart."""
    groups: dict[str, list[Comparison]] = {}
    for c in cells:
        kept = settings(c.config)
        groups.setdefault(json.dumps(kept, sort_keys=True), []).append(c)
    first = [group[0].config for group in groups.values()]
    several = len({dataset_label(config) for config in first}) > 1
    made = [
        Grid(pair_label(config), _title(config, first), tuple(group), dataset_label(config) if several else "")
        for config, group in zip(first, groups.values(), strict=True)
    ]
    return sorted(made, key=lambda grid: (grid.heading, _counted(grid.title)))


def _counted(title: str) -> list[tuple[str, int]]:
    """A key by which seed=2 stands before seed=10."""
    return [(words, int(number or 0)) for words, number in re.findall(r"(\D*)(\d*)", title)]


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Dotted name -> value of all that a grid holds fixed."""
    flat = _flat({k: v for k, v in config.items() if k not in NOT_IN_RUN_ID})
    free = ("layer.source", "layer.target", "dataset.size", "control.names")
    return {k: v for k, v in flat.items() if k not in free}


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _title(config: dict[str, Any], others: list[dict[str, Any]]) -> str:
    def place(c: dict[str, Any]) -> tuple[str, str, str]:
        return pair_label(c), dataset_label(c), injection_label(c)

    own = settings(config)
    told = telling([settings(other) for other in others if place(other) == place(config)])
    return ", ".join([injection_label(config), *(f"{n.removesuffix('.name')}={own[n]}" for n in told if n in own)])


def telling(alike: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that tell configs apart, in a reader's words.

    Options of a group tell nothing beside the group's name where each name has one value of them.

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
