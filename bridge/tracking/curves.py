"""Curves: one W&B run for each condition and setting, whose history has a row for every place on the axis x."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from bridge.tasks.base import Task
from bridge.tasks.registry import get

TAG_LENGTH = 64


@dataclass(frozen=True)
class Curve:
    """One W&B run.

    Attributes:
        id: of the W&B run.
        base: an id that curves share if they differ only in the condition.
        control: the condition, which is the W&B job type; "cell" where one run is one cell.
        name: of the W&B run.
        group: the W&B group.
        tags: short texts of what is fixed.
        config: all that is fixed.
        x: the step metric; None if one run is one cell.
    """

    id: str
    base: str
    control: str
    name: str
    group: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    x: str | None

    @cached_property
    def task(self) -> Task:
        """The task of its scores."""
        return get(self.config["task"]["name"])

    @property
    def is_estimate(self) -> bool:
        """Whether it shows the estimate itself."""
        return self.control == self.task.conditions.estimate


@dataclass(frozen=True)
class Row:
    """One row of a curve's history.

    Attributes:
        kind: "scores", or "lead" where the estimate was scored in another cell than the condition.
        x: place on the curve.
        source: run ids of its cells.
        values: the values sent to W&B, besides x.
    """

    kind: str
    x: float
    source: str
    values: dict[str, float]


def shown(task: Task) -> tuple[str, ...]:
    """The metrics that curves show: those with `tabled`, or all metrics of a task that has none."""
    tabled = [m for m in task.metrics if m.tabled or m.heads]
    every = tabled if any(m.tabled for m in task.metrics) else task.metrics
    return tuple(m.name for m in every if m.share_of is None)


def compared(task: Task) -> tuple[str, ...]:
    """The metrics of comparisons: those with scores by item, or all metrics of a task that has none."""
    names = shown(task)
    return tuple(name for name in names if task.by_name[name].items is not None) or names


def headline(task: Task) -> str | None:
    """The name at W&B of the head metric on the headline part; None without such a part.

    Example:
        >>> headline(get("translate"))
        'new/top1'
    """
    part = task.part_names[0]
    return None if part == "all" else f"{part}/{task.head.name}"


def leading(task: Task) -> tuple[str, ...]:
    """The metrics by which the estimate's lead is shown, on the headline part first, then on all items."""
    first = headline(task)
    return compared(task) if first is None else (first, *compared(task))


def values(task: Task, point: Mapping[str, Any], condition: str) -> dict[str, float]:
    """The values of a row: the scores of one condition at one point, and the estimate's lead over it."""
    first, head = task.part_names[0], task.head.name
    of_first = point["parts"].get(first, {})
    here: dict[str, float] = {}
    scores = point["scores"][condition]
    for metric in shown(task):
        here |= _with_ends(metric, scores.get(metric, {}), "mean")
    here |= _with_ends(f"{first}/{head}", of_first.get("scores", {}).get(condition, {}).get(head, {}), "mean")
    leads = point["contrasts"].get(condition, {})
    for metric in compared(task):
        here |= _with_ends(f"lead/{metric}", leads.get(metric, {}), "difference")
    of_first = of_first.get("contrasts", {}).get(condition, {}).get(head, {})
    return here | _with_ends(f"lead/{first}/{head}", of_first, "difference")


def _with_ends(name: str, score: Mapping[str, Any], key: str) -> dict[str, float]:
    """A number and the ends of its interval, without missing ones."""
    ends = {name: score.get(key), f"{name}_low": score.get("low"), f"{name}_high": score.get("high")}
    return {} if ends[name] is None else {label: x for label, x in ends.items() if x is not None}


def lead_row(task: Task, control: Row, estimate: Row) -> Row:
    """Estimate minus condition where the two come from different cells.

    Both are scored on the same items, so the difference of the means is the paired one; its interval needs the
    scores by item and is in the report.
    """
    both = [m for m in leading(task) if m in control.values and m in estimate.values]
    leads = {f"lead/{m}": estimate.values[m] - control.values[m] for m in both}
    return Row("lead", control.x, f"{estimate.source}-{control.source}", leads)


def means(task: Task, rows: Mapping[float, Row]) -> Iterator[tuple[str, float]]:
    """The mean of a curve for each metric that all its rows have, every place counting once.

    Args:
        task: of the curve.
        rows: place -> its row.
    """
    for metric in compared(task):
        if all(metric in row.values for row in rows.values()):
            yield f"mean/{metric}", sum(row.values[metric] for row in rows.values()) / len(rows)


def tag(override: str) -> str:
    """The W&B tag of an override; the filters of wandb-workspaces take `=` for an operator.

    Example:
        >>> tag("layer='8'")
        'layer:8'
    """
    return override.replace("=", ":", 1).replace("'", "")[:TAG_LENGTH]


def axis_name(x: str) -> str:
    """The name of an axis in W&B, where a dot would mean a nested value.

    Example:
        >>> axis_name("dataset.size")
        'dataset_size'
    """
    return x.replace(".", "_")


def as_plain(curve: Curve) -> dict[str, Any]:
    """A curve as JSON keeps it."""
    return asdict(curve)


def from_plain(plain: dict[str, Any]) -> Curve:
    """The curve that `as_plain` made `plain` of."""
    return Curve(**{**plain, "tags": tuple(plain["tags"])})
