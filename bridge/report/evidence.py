"""The evidence section of a report: gates, warnings, and missing or failed cells."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from bridge.records.record import Record
from bridge.report.gathered import Gathered, points_of
from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, curve_place, place_of, places, spans
from bridge.results.joining import dataset_label
from bridge.results.verdicts import units_note, wanted
from bridge.show.page import MANY, Cell, table, text
from bridge.tasks.base import Task
from bridge.tasks.registry import get, task_of


def gates(one: Gathered) -> str:
    """The value of each gate against its threshold: a row per finished cell, or per curve where there are many."""
    done = [(points, r) for points in points_of(one.cells) for r in points[0].records]
    every = [n for _, r in done for n in r.data["gates"]]
    names = [n for n in dict.fromkeys([*one.task.gates, *every]) if n in every]
    known = one.task.gates
    meaning = "".join(f"<li><b>{escape(n)}</b>: {escape(known[n])}</li>" for n in names if n in known)
    shown = _by_cell(one.task, done, names) if len(done) <= MANY else _by_curve(one.grids, names)
    return shown + (f"<ul>{meaning}</ul>" if meaning else "")


def _by_cell(task: Task, done: Sequence[tuple[Sequence[Comparison], Record]], names: Sequence[str]) -> str:
    rows = []
    for points, record in done:
        valid = record.data["valid"]
        row: list[str] = [*cell_names(points), text("valid" if valid else "invalid", "text" if valid else "text bad")]
        for name in names:
            gate = record.data["gates"].get(name)
            if gate is None:
                row.append("–")
                continue
            mark = "" if gate["passed"] else "FAILED "
            row.append(Cell(escape(f"{mark}{_against(gate)}"), "tight" if gate["passed"] else "tight bad"))
        rows.append([*row, text(record.data["run_id"], "text tight")])
    heading = [*cell_headings(task), "gates", *names, "run id"]
    return table(heading, rows, [not r.data["valid"] for _, r in done])


def _by_curve(grids: Sequence[Grid], names: Sequence[str]) -> str:
    rows, muted = [], []
    axis = grids[0].task.searched
    for grid in grids:
        for curve in grid.curves():
            valid = [c for c in curve if c.valid]
            row: list[str] = [
                text(grid.heading),
                text(grid.title, "text tight"),
                text(curve_place(curve), "text tight"),
            ]
            row.append(text(f"{len(valid)} of {len(curve)}", "text" if len(valid) == len(curve) else "text bad"))
            for name in names:
                failed = [c for c in curve if not c.gates.get(name, {"passed": True})["passed"]]
                if not failed:
                    row.append(text("passed"))
                    continue
                worst = max((c.gates[name] for c in failed), key=lambda gate: abs(gate["value"] - gate["threshold"]))
                at = "" if axis is None else f" at {axis.word} {places(axis, failed)}"
                row.append(Cell(escape(f"FAILED{at}, worst {_against(worst)}"), "text bad"))
            rows.append(row)
            muted.append(not valid)
    return table(["pair", grids[0].task.heading, "at", "valid", *names], rows, muted)


def _against(gate: dict[str, Any]) -> str:
    return f"{gate['value']:.2g} ({wanted(gate).replace('<=', '≤')})"


def warnings(cells: Sequence[Comparison]) -> str:
    """Warnings of the cells, missing controls, and cells that were computed on different inputs."""
    alike: dict[str, dict[str, list[str]]] = {}
    for points in points_of(cells):
        for record in points[0].records:
            for warning in record.data["warnings"]:
                # Warnings of one kind differ between cells in their numbers alone.
                kind = alike.setdefault(re.sub(r"\d+(\.\d+)?", "#", warning), {})
                kind.setdefault(warning, []).append(record.data["run_id"])
    entries = []
    for lines in alike.values():
        ids = [one for some in lines.values() for one in some]
        other = f", with other numbers in some: {len(lines)} kinds" if len(lines) > 1 else ""
        entries.append(f"{escape(next(iter(lines)))} <span class=quiet>({_several(ids)}{other})</span>")
    absent: dict[str, list[Comparison]] = {}
    for c in cells:
        if c.is_withheld:
            line = f"its {escape(c.estimate)} score is not shown</b>, because no negative control was scored beside it"
            absent.setdefault(f"{line}; run it with control=all", []).append(c)
        for name, why in c.absent.items():
            absent.setdefault(f"no {escape(name)}</b>: {escape(why)}", []).append(c)
        if note := units_note(c.point):
            absent.setdefault(f"few units</b>: {escape(note)}", []).append(c)
        if c.missing:
            line = f"not scored: {escape(', '.join(c.missing))}</b>; control=all scores everything"
            absent.setdefault(line, []).append(c)
    entries += [f'<b class="bad">{escape(_where(some))}: {line}' for line, some in absent.items()]
    for place, inputs in _inputs(cells).items():
        if len(inputs) > 1:
            entries.append(
                f'<b class="bad">the cells of {escape(place)} were computed on {len(inputs)} different sets of '
                "weights or items</b>; run them again before comparing them"
            )
    if not entries:
        return '<p class="quiet">none</p>'
    return f"<ul>{''.join(f'<li>{line}</li>' for line in entries)}</ul>"


def missing(configs: Sequence[dict[str, Any]], sweep: str | None) -> str:
    """Cells of a sweep that have no record, one row per pair and setting."""
    if not configs:
        return '<p class="quiet">none</p>'
    by_task: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = {}
    for config in configs:
        task = get(config["task"]["name"])
        groups = by_task.setdefault(task.name, {})
        groups.setdefault((_pair(task, config), task.setting(config)), []).append(config)
    markup = f'<p class="bad">bridge sweep {escape(str(sweep))} runs them.</p>'
    for name, groups in by_task.items():
        task = get(name)
        keyed = [axis for axis in task.axes if axis.keys]
        rows = [
            [
                *([text(pair)] if "pair" in task.uses else []), text(setting, "text tight"), str(len(some)),
                *(text(_values(at_key(config, axis) for config in some)) for axis in keyed),
                *([text(controls_label(task, (n for config in some for n in config["control"]["names"])))]
                  if "control" in task.uses else []),
            ]
            for (pair, setting), some in groups.items()
        ]  # fmt: skip
        heading = ["pair"] * ("pair" in task.uses) + [task.heading, "cells", *(f"{axis.many}" for axis in keyed)]
        markup += table(heading + ["controls"] * ("control" in task.uses), rows)
    return markup


def failures(records: Sequence[Record]) -> str:
    """Every failed cell; those with the same error together, with the folded traceback of the first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if not record.ok:
            groups.setdefault(record.data["error"], []).append(record.data)
    entries = []
    for error, some in groups.items():
        first = some[0]
        trace = f"<pre>{escape(first['traceback'])}</pre>" if first.get("traceback") else ""
        others = ""
        if len(some) > 1:
            listed = "".join(f"<li>{_failed(data)}</li>" for data in some)
            others = f"<details><summary>all {len(some)} cells with this error</summary><ul>{listed}</ul></details>"
        what = _failed(first) + (f" and {len(some) - 1} more" if others else "")
        entries.append(
            f'<li><b class="bad">{what}</b>: {escape(error)}<details><summary>traceback</summary>{trace}</details>'
            f"{others}</li>"
        )
    return f"<ul>{''.join(entries)}</ul>" if entries else '<p class="quiet">none</p>'


def _failed(data: dict[str, Any]) -> str:
    task, config = task_of(data), data["config"]
    what = [_pair(task, config)] if "pair" in task.uses else []
    what += [task.setting(config), *(f"{axis.one} {at_key(config, axis)}" for axis in task.axes if axis.keys)]
    if "control" in task.uses:
        what.append(controls_label(task, config["control"]["names"]))
    return f"{escape(', '.join(what))} <code>{escape(data['run_id'])}</code>"


def controls_label(task: Task, names: Iterable[str]) -> str:
    """The names of conditions in the order of every table, or "all"."""
    some = set(names)
    return "all controls" if some == set(task.conditions.chosen) else ", ".join(task.conditions.ordered(some))


def at_key(config: dict[str, Any], axis: Axis) -> Any:
    """The place on an axis that a config asks for; of several keys the first counts."""
    node: Any = config
    for name in axis.keys[0].split("."):
        node = node[name]
    return node


def cell_headings(task: Task) -> list[str]:
    """Headings of `cell_names`."""
    return [*(["pair"] if "pair" in task.uses else []), task.heading, *(axis.word for axis in task.axes)]


def cell_names(points: Sequence[Comparison]) -> list[str]:
    """The columns that tell a cell from others in a table: its setting, and the places of its points."""
    c = points[0]
    names = [text(_pair(c.task, c.config), "text tight")] if "pair" in c.task.uses else []
    return [*names, text(c.task.setting(c.config), "text tight"),
            *(Cell(escape(places(a, points) if len(points) > 1 else a.label(c.axes)), "tight") for a in c.task.axes),
            ]  # fmt: skip


def _pair(task: Task, config: dict[str, Any]) -> str:
    return str(config["pair"]["name"]) if "pair" in task.uses else task.name


def _values(values: Iterable[Any]) -> str:
    """Distinct values of an axis, in order."""
    distinct = {str(v): v for v in values}
    if all(re.fullmatch(r"\d+", v) for v in distinct):
        return spans(map(int, distinct))
    return ", ".join(sorted(distinct))


def _where(cells: Sequence[Comparison]) -> str:
    """A short description of some cells."""
    first = cells[0]
    if len(cells) == 1:
        return f"{_pair(first.task, first.config)}, {first.label}"
    axis, n = first.task.searched, len(points_of(cells))
    at = "" if axis is None or any(c.task is not first.task for c in cells) else f" ({axis.word} {places(axis, cells)})"
    return f"in {n} {'cell' if n == 1 else 'cells'}{at}"


def _inputs(cells: Iterable[Comparison]) -> dict[str, set[str]]:
    by_place: dict[str, set[str]] = {}
    for c in cells:
        for inputs in (r.data["inputs"] for r in c.records if r.data.get("inputs")):
            dataset = f" ({dataset_label(c.config)})" if "dataset" in c.task.uses else ""
            by_place.setdefault(f"{place_of(c.task, c.config)}{dataset}", set()).add(str(sorted(inputs.items())))
    return by_place


def _several(ids: Sequence[Any]) -> str:
    return f"cell {escape(ids[0])}" if len(ids) == 1 else f"{len(ids)} cells"
