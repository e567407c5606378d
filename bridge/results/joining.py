"""From records to comparisons: cells that differ in their conditions alone are joined, point by point."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bridge.records.record import Record
from bridge.results.comparison import Comparison
from bridge.tasks.registry import task_of


def dataset_label(config: Mapping[str, Any]) -> str:
    """The name of the data set."""
    name: str = config["dataset"]["name"]
    return name


def comparisons(records: Iterable[Record]) -> list[Comparison]:
    """Join the finished records, point by point, in order of task, pair, data set, setting and axes."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.ok:
            groups.setdefault(_shared(record.data), []).append(record)
    every = (_contrasted(c) for group in groups.values() for c in _joined(group))
    return sorted(every, key=_order)


def _shared(data: dict[str, Any]) -> str:
    kept = task_of(data).used(data["config"])
    # Cells of other weights or items are not compared, whatever their configs say.
    kept["inputs"] = data.get("inputs")
    kept["control"] = {k: v for k, v in kept.get("control", {}).items() if k != "names"}
    return json.dumps(kept, sort_keys=True)


def _order(c: Comparison) -> tuple[Any, ...]:
    uses, config = c.task.uses, c.config
    place = [config["pair"]["name"] if "pair" in uses else "", dataset_label(config) if "dataset" in uses else ""]
    axes = [sortable(axis.value(c.axes)) for axis in c.task.axes]
    return (c.task.name, *place, c.task.setting(config), axes, config["seed"], c.data["run_id"], c.number)


def sortable(place: Any) -> tuple[Any, ...]:
    """A sorting key for places on an axis: numbers by size, then names."""
    return tuple((0, x, "") if isinstance(x, int | float) else (1, 0, str(x))
                 for x in (place if isinstance(place, tuple) else (place,)))  # fmt: skip


def _joined(group: list[Record]) -> list[Comparison]:
    group = sorted(group, key=lambda r: (-sum(len(p["scores"]) for p in r.data["points"]), r.data["run_id"]))
    return [_join(group, number) for number in range(len(group[0].data["points"]))]


def _join(group: list[Record], number: int) -> Comparison:
    task = task_of(group[0].data)
    scores: dict[str, Any] = {}
    contrasts: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for record in reversed(group):
        point = record.data["points"][number]
        scores |= point["scores"]
        contrasts |= point["contrasts"]
        for label, part in point["parts"].items():
            entry = parts.setdefault(label, {k: part[k] for k in ("n", "n_units", "sizes") if k in part})
            for kind in ("scores", "contrasts"):
                if kind in part:
                    entry.setdefault(kind, {}).update(part[kind])
    absent = group[0].data["absent"]
    return Comparison(
        task=task,
        records=tuple(group),
        number=number,
        scores={name: scores[name] for name in task.conditions if name in scores},
        contrasts={name: contrasts[name] for name in task.conditions if name in contrasts},
        parts=parts,
        missing=tuple(name for name in task.conditions.chosen if name not in scores and name not in absent),
    )


def _contrasted(c: Comparison) -> Comparison:
    """Add the contrasts of conditions that were scored in another cell than the estimate, which no record has."""
    lacking = [name for name in c.scores if name != c.estimate and name not in c.contrasts]
    if not c.has_estimate or not lacking:
        return c
    # Loads torch, which a comparison within one cell does not need.
    from bridge.results.items import item_scores
    from bridge.results.scores import contrast

    task = c.task
    metrics = [m for m in task.metrics if m.items is not None and m.name in c.scores[c.estimate]]
    items = item_scores(c.records, task, [c.estimate, *lacking], metrics, c.number)
    computed: dict[str, dict[str, Any]] = {}
    for label in ("all", *c.parts):
        part = items.part(label, c.config["task"]["n_resamples"], c.config["seed"])
        if label == "all" or part.is_scored:
            computed[label] = {
                name: contrast(items.branches[c.estimate], items.branches[name], part, task.by_name,
                               task.conditions[name], label in task.part_names)
                for name in lacking
            }  # fmt: skip

    def ordered(label: str) -> dict[str, Any]:
        merged = c.contrasts_of(label) | computed.get(label, {})
        return {name: merged[name] for name in c.scores if name in merged}

    parts = {
        label: {**part, "contrasts": ordered(label)} if "scores" in part else part for label, part in c.parts.items()
    }
    return replace(c, contrasts=ordered("all"), parts=parts)
