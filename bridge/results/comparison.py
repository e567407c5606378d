"""An estimate beside the conditions of its point, whether they were computed in one cell or in several."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.records.record import Record
from bridge.results.verdicts import Finding, finding, gate_verdict, joined
from bridge.tasks.base import Task


@dataclass(frozen=True)
class Comparison:
    """One point of cells whose configs differ in nothing but `control.names`.

    `scores`, `contrasts` and `parts` are those of the point, joined; `missing` are the conditions that no cell has
    scored, and `absent` those that were left out, with the reason. `part` says which items `scores` and `contrasts` are
    of (`on`), and `number` which of the record's points this is.

    The estimate is withheld where it stands beside no negative control: a comparison holds none of its scores and
    contrasts by a metric, on a part of the items, that no negative control was scored by there.
    """

    task: Task
    records: tuple[Record, ...]
    number: int
    scores: dict[str, Any]
    contrasts: dict[str, Any]
    parts: dict[str, Any]
    missing: tuple[str, ...]
    part: str = "all"

    def __post_init__(self) -> None:
        """Withhold what the estimate has without a negative control."""
        parts = {label: {**part, **self._withheld(part)} if "scores" in part else part
                 for label, part in self.parts.items()}  # fmt: skip
        whole = self._withheld({"scores": self.scores, "contrasts": self.contrasts})
        for name, value in {**whole, "parts": parts}.items():
            object.__setattr__(self, name, value)

    def _withheld(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Scores and contrasts of some items without those of the estimate that stand beside no negative control."""
        scores = self.task.conditions.beside_negatives(part["scores"])
        own = scores.get(self.estimate, {})
        contrasts = {name: {metric: x for metric, x in by_metric.items() if metric in own}
                     for name, by_metric in part.get("contrasts", {}).items() if own}  # fmt: skip
        return {"scores": scores, "contrasts": contrasts}

    @property
    def config(self) -> dict[str, Any]:
        """The config of the first cell."""
        config: dict[str, Any] = self.records[0].data["config"]
        return config

    @property
    def data(self) -> dict[str, Any]:
        """record.json of the first cell."""
        return self.records[0].data

    @property
    def point(self) -> dict[str, Any]:
        """The point of the first cell, for what all cells share: axes, items and units."""
        point: dict[str, Any] = self.data["points"][self.number]
        return point

    @property
    def axes(self) -> dict[str, Any]:
        """Where the point lies."""
        axes: dict[str, Any] = self.point["axes"]
        return axes

    def place(self, axis: str) -> str:
        """Where the point lies on one axis, as in every table."""
        (one,) = (a for a in self.task.axes if a.name == axis)
        return one.label(self.axes)

    @property
    def absent(self) -> dict[str, str]:
        """Conditions that were left out -> the reason."""
        absent: dict[str, str] = self.data["absent"]
        return absent

    @property
    def valid(self) -> bool:
        """Whether every gate of every cell passed."""
        return all(r.data["valid"] for r in self.records)

    @property
    def gates(self) -> dict[str, Any]:
        """Gate name -> {passed, value, threshold}; of a gate that failed in a cell, that cell's values."""
        gates: dict[str, Any] = {}
        for record in self.records:
            for name, gate in record.data["gates"].items():
                if name not in gates or (gates[name]["passed"] and not gate["passed"]):
                    gates[name] = gate
        return gates

    @property
    def head(self) -> str:
        """The metric that heads tables and verdicts: the task's, or the first that was scored."""
        name = self.task.head.name
        scored: Mapping[str, Any] = next(iter(self.scores.values()), {})
        return name if name in scored or not scored else next(iter(scored))

    @property
    def estimate(self) -> str:
        """The name of the estimate."""
        return self.task.conditions.estimate

    @property
    def has_estimate(self) -> bool:
        """Whether the estimate was scored."""
        return self.estimate in self.scores

    @property
    def label(self) -> str:
        """A short name: its place on the searched axis, its setting, and the other places."""
        task = self.task
        first = [f"{axis.word} {axis.label(self.axes)}" for axis in task.axes if axis is task.searched]
        others = [f"{axis.word}={axis.label(self.axes)}" for axis in task.axes if axis is not task.searched]
        return ", ".join([*first, task.setting(self.config), *others])

    def counts(self, part: str = "all", metric: str | None = None) -> dict[str, Any]:
        """Items (`n`) and units (`n_units`) that the scores by a metric, the head metric if none is named, are of."""
        of = self.point if part == "all" else self.parts[part]
        return {**of, **of.get("sizes", {}).get(metric or self.head, {})}

    @property
    def sizes(self) -> str:
        """The numbers of items and units of `scores`."""
        unit = self.point["unit"]
        if self.part == "all":
            return f"{self.point['n']} items, {self.point['n_units']} units ({unit})"
        part = self.parts[self.part]
        return f"{part['n']} items with {self.title_of(self.part)}, {part['n_units']} units ({unit})"

    def title_of(self, part: str) -> str:
        """The name of a part of the items, such as "new answers"."""
        return f"{part} {self.task.noun}"

    def mean(self, condition: str, metric: str | None = None) -> float | None:
        """The mean score of a condition, by the head metric where none is named; None where it was not computed."""
        score = self.scores.get(condition, {}).get(metric or self.head)
        return None if score is None or score["mean"] is None else float(score["mean"])

    def contrasts_of(self, part: str) -> dict[str, Any]:
        """Contrasts on "all" items or on a part of them."""
        contrasts: dict[str, Any] = self.contrasts if part == "all" else self.parts[part].get("contrasts", {})
        return contrasts

    def scores_of(self, part: str) -> dict[str, Any]:
        """Scores on "all" items or on a part of them."""
        scores: dict[str, Any] = self.scores if part == "all" else self.parts[part].get("scores", {})
        return scores

    @property
    def headline(self) -> str:
        """The part that comes first in tables and verdicts."""
        return self.task.part_names[0]

    @property
    def shown_parts(self) -> tuple[str, ...]:
        """The tested parts, the headline first; without "all" where the headline has every item."""
        names = self.task.part_names
        return names[:1] if self.is_all_headline else names

    @property
    def is_all_headline(self) -> bool:
        """Whether the headline part has every item."""
        return self.headline != "all" and bool(self.parts[self.headline]["n"] == self.point["n"])

    def on(self, part: str) -> "Comparison | None":
        """The same comparison on "all" items or on a part of them alone; None where that part was not scored."""
        if part == "all":
            return self
        scored = self.parts[part]
        if "scores" not in scored:
            return None
        return replace(self, scores=scored["scores"], contrasts=scored.get("contrasts", {}), part=part)

    def finding(self, part: str = "all", metric: str | None = None) -> Finding:
        """The finding on "all" items or a part of them, without regard to gates.

        Where a family has been corrected (`bridge.results.families`), its p values take the place of the cell's own.
        Where the headline part has every item, the verdict on all of them is that on it.
        """
        part = self.headline if part == "all" and self.is_all_headline else part
        chosen = self.task.by_name[metric or self.head]
        return finding(
            self.contrasts_of(part), self.counts(part, chosen.name), self.absent, self.task.conditions, chosen
        )

    @property
    def is_above(self) -> bool:
        """Whether every gate passed and the estimate is above every negative control, over all items."""
        return self.valid and self.has_estimate and self.finding().is_above

    @property
    def is_above_everywhere(self) -> bool:
        """The same, on every tested part of the items as well."""
        return self.is_above and all(self.finding(part).is_above for part in self.task.part_names)

    def verdict(self, metric: str | None = None) -> str:
        """What may be concluded, in one line: on the headline part first, then on all items."""
        if reason := self.task.gate_verdict(self) or gate_verdict(self.gates):
            return reason
        if self.is_withheld:
            return (
                f"{self.estimate} score not shown, because no negative control was scored beside it; run it with "
                "control=all"
            )
        if not self.has_estimate:
            return f"no {self.estimate} score here; run control={self.estimate}"
        if self.is_all_headline:
            parts = [f"all {self.task.noun} are {self.headline}: {self.finding(self.headline, metric)}"]
        elif self.task.parts:
            parts = [f"{self.title_of(part)}: {self.finding(part, metric)}" for part in self.task.part_names]
        else:
            parts = [str(self.finding("all", metric))]
        return joined([*parts, *(f"no {name}: {why}" for name, why in self.absent.items())])

    @property
    def state(self) -> str:
        """`valid`; `dead` where the injection cannot give a right answer whatever is injected; else `invalid`."""
        if self.valid:
            return "valid"
        return "dead" if self.verdict().startswith("dead") else "invalid"

    @property
    def hardest(self) -> str | None:
        """The negative control with the best score, or None where none was scored."""
        better = 1.0 if self.task.by_name[self.head].higher_is_better else -1.0
        scored = {n: m for n in self.task.conditions.negatives if (m := self.mean(n)) is not None}
        return max(scored, key=lambda n: better * scored[n], default=None)

    @property
    def is_withheld(self) -> bool:
        """Whether the estimate was scored and is left out, because no negative control was scored beside it."""
        scored = any(self.estimate in r.data["points"][self.number]["scores"] for r in self.records)
        return scored and not self.has_estimate
