"""Points: the one shape of every result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.results.scores import Branch, Part, contrast, key_of, summarize
from bridge.statistics.units import effective_units

if TYPE_CHECKING:
    from bridge.tasks.base import Task

# Columns of a table of items, by name.
Columns = dict[str, list[Any]]


@dataclass
class Result:
    """What a task hands to the record.

    Attributes:
        points: each with `axes` {name: place}, `n` items, `n_units`, `n_effective`, `unit`, `sizes` {metric: {n,
            n_units}} of metrics that are of other items than the head metric, `scores`
            {condition: {metric: {mean, low, high}}}, `contrasts` {condition: {metric: {difference, low, high, p}}} of
            the estimate minus a condition, and `parts` {name: the same of some of the items}.
        items: table -> columns, one row for each point, condition, draw and item; without scores by item empty.
        gates: name -> {passed, value, threshold}.
        absent: every condition that was left out, asked for or not -> the reason.
        facts: further entries of the record, which only the task itself reads.
        warnings: shown with the scores.
    """

    points: list[dict[str, Any]]
    items: dict[str, Columns] = field(default_factory=dict)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class PointScores:
    """The scores of one point: each condition is scored when it is first asked for, and its summary is cached.

    All intervals and p values use the same resamples of the units, so no number depends on which other conditions are
    scored, or in which order, as long as `score` does not.

    Args:
        task: declares metrics, conditions and parts.
        axes: where the point lies.
        parts: "all" and the task's own parts.
        unit: what the units of inference are, such as "answer".
        score: name -> the scores of a condition that has none yet.
    """

    def __init__(
        self,
        task: "Task",
        axes: Mapping[str, Any],
        parts: Mapping[str, Part],
        unit: str,
        score: Callable[[str], Branch],
    ) -> None:
        self.task = task
        self.axes = dict(axes)
        self.parts = parts
        self.unit = unit
        self.branches: dict[str, Branch] = {}
        self._score = score
        self._scores: dict[tuple[str, str], Any] = {}
        self._contrasts: dict[tuple[str, str], Any] = {}

    def branch(self, name: str) -> Branch:
        """The scores of a condition, item by item."""
        if name not in self.branches:
            self.branches[name] = self._score(name)
        return self.branches[name]

    def point(self, names: Sequence[str]) -> dict[str, Any]:
        """The entry of some conditions in a record."""
        for name in names:
            self.branch(name)
        names = self.task.conditions.ordered(names)
        head = self.task.head
        units = self.parts["all"].units[key_of(head)[0]]
        sizes = self._sizes("all") | {"n_effective": effective_units(units), "unit": self.unit}
        parts: dict[str, Any] = {}
        for part in self.task.parts:
            parts[part.name] = self._sizes(part.name)
            if self.parts[part.name].is_scored:
                parts[part.name] |= self._numbers(names, part.name)
        return {"axes": self.axes, **sizes, **self._numbers(names, "all"), "parts": parts}

    def _sizes(self, part: str) -> dict[str, Any]:
        """Items and units that the head metric is of, and in `sizes` those of metrics that are of other items."""
        head, of = self.task.head, self.parts[part]
        others = {m.name: of.sizes(m) for m in self.task.metrics
                  if m.items is not None and key_of(m) != key_of(head) and key_of(m) in of.masks
                  and any(m.name in branch.metrics for branch in self.branches.values())}  # fmt: skip
        return {**of.sizes(head), **({"sizes": others} if others else {})}

    def _numbers(self, names: Sequence[str], part: str) -> dict[str, Any]:
        estimate = self.task.conditions.estimate
        against = [name for name in names if name != estimate] if estimate in names else []
        scores = {name: self._summary(name, part) for name in names}
        if part == "all":
            scores = {name: {**summary, **self.branches[name].totals} for name, summary in scores.items()}
        return {"scores": scores, "contrasts": {name: self._contrast(name, part) for name in against}}

    def _summary(self, name: str, part: str) -> dict[str, Any]:
        key = name, part
        if key not in self._scores:
            reference = None if self.task.reference is None else self.branch(self.task.reference)
            self._scores[key] = summarize(self.branches[name], reference, self.parts[part], self.task.by_name)
        return self._scores[key]

    def _contrast(self, name: str, part: str) -> dict[str, Any]:
        key = name, part
        if key not in self._contrasts:
            conditions = self.task.conditions
            self._contrasts[key] = contrast(
                self.branches[conditions.estimate],
                self.branches[name],
                self.parts[part],
                self.task.by_name,
                conditions[name],
                part in self.task.part_names,
            )
        return self._contrasts[key]

    def columns(self, names: Sequence[str], about: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, Columns]:
        """The scores by item of some conditions.

        Args:
            names: of the conditions, in order.
            about: table -> name -> (m,) further columns, such as a label of each item.

        Returns:
            table -> columns: point, control, draw, item, the further columns, unit, one mask for each part, and the
            scores, null where a condition lacks a metric.
        """
        return {table: self._table(names, table, known) for table, known in about.items()}

    def _table(self, names: Sequence[str], table: str, about: Mapping[str, Sequence[Any]]) -> Columns:
        whole = self.parts["all"]
        units = whole.units[table]
        known: Columns = {name: list(values) for name, values in about.items()} | {"unit": units.tolist()}
        for part in self.task.parts:
            for (of, mask), rows in self.parts[part.name].masks.items():
                if of == table:
                    known[mask_column(part.name, mask)] = rows.tolist()
        some = [self.task.conditions.ordered(names), [m.name for m in self.task.metrics if m.items == table]]
        metrics = [m for m in some[1] if any(m in self.branches[name].metrics for name in names)]
        columns: Columns = {name: [] for name in ("point", "control", "draw", "item", *known, *metrics)}
        m = len(units)
        for name in some[0]:
            n_draws = self.branches[name].n_draws
            columns["point"] += [0] * (n_draws * m)
            columns["control"] += [name] * (n_draws * m)
            columns["draw"] += [d for d in range(n_draws) for _ in range(m)]
            columns["item"] += list(range(m)) * n_draws
            for label, values in known.items():
                columns[label] += values * n_draws
            for metric in metrics:
                scores = self.branches[name].metrics.get(metric)
                columns[metric] += [None] * (n_draws * m) if scores is None else scores.flatten().tolist()
        return columns


def result_of(points: Sequence[PointScores], names: Sequence[str], about: Sequence[Mapping[str, Any]]) -> Result:
    """The result of points that were scored alike, with their items below each other.

    Args:
        points: at least one.
        names: of the conditions that were asked for.
        about: for each point the argument of `PointScores.columns`.
    """
    result = Result([scores.point(names) for scores in points])
    for number, (scores, known) in enumerate(zip(points, about, strict=True)):
        for table, columns in scores.columns(names, known).items():
            columns["point"] = [number] * len(columns["point"])
            home = result.items.setdefault(table, {name: [] for name in columns})
            for name, values in columns.items():
                home[name] += values
    return result


def mask_column(part: str, mask: str) -> str:
    """The column of a table of items that says which of them belong to a part."""
    return f"{part}_{mask}" if mask else part
