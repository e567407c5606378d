"""What stands behind the scores in a report: gates, warnings, coverage, and what is missing or failed."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from bridge.controls.names import CONTROLS
from bridge.records.record import Record
from bridge.results.comparison import Comparison, injection_label
from bridge.results.curves import Grid, is_withheld, layer_label, layers, pair_label, spans
from bridge.results.verdicts import units_note, wanted
from bridge.show.page import MANY, Cell, table, text
from bridge.tasks.similarity.matrices import is_similarity

GATES = {
    "states": "stored states, put into the stream of their own texts, give both models' own logits (largest "
    "difference, relative)",
    "drift": "texts read alone, and behind padding, have the stored states (largest difference, relative)",
    "pairing": "permuting rows worsens a probe fitted from source to target, a ridge regression whatever the cell's "
    "map (rank p; of rows permuted freely and inside their relation the larger)",
    "known": "the target's own top-1 is above that of always saying the commonest answer",
    "alive": "the target's own states, put in without a map, reach 70 to 143 % of its native top-1",
    "planted": "a known rotation is found again (relative error on the span of the fit rows)",
}


def gates(cells: Sequence[Comparison], found: Sequence[Grid]) -> str:
    """The value of each gate against its threshold: a row per finished cell, or per curve where there are many."""
    done = [(c, r) for c in cells for r in c.records]
    names = [n for n in dict.fromkeys([*GATES, *(n for _, r in done for n in r.data["gates"])])
             if any(n in r.data["gates"] for _, r in done)]  # fmt: skip
    meaning = "".join(f"<li><b>{escape(n)}</b>: {escape(GATES[n])}</li>" for n in names if n in GATES)
    shown = _gates_by_cell(done, names) if len(done) <= MANY else _gates_by_curve(found, names)
    return f"{shown}<ul>{meaning}</ul>"


def _gates_by_cell(done: Sequence[tuple[Comparison, Record]], names: Sequence[str]) -> str:
    rows = []
    for c, found in done:
        valid = found.data["valid"]
        row: list[str] = [*_cell_names(c), text("valid" if valid else "invalid", "text" if valid else "text bad")]
        for name in names:
            gate = found.data["gates"].get(name)
            if gate is None:
                row.append("–")
                continue
            mark = "" if gate["passed"] else "FAILED "
            shown = escape(f"{mark}{_against(gate)}")
            row.append(Cell(shown, "tight" if gate["passed"] else "tight bad"))
        rows.append([*row, text(found.data["run_id"], "text tight")])
    heading = ["pair", "injection", "layer", "n", "gates", *names, "run id"]
    return table(heading, rows, [not r.data["valid"] for _, r in done])


def _gates_by_curve(found: Sequence[Grid], names: Sequence[str]) -> str:
    rows, muted = [], []
    for grid in found:
        for curve in grid.curves():
            valid = [c for c in curve if c.valid]
            row: list[str] = [text(grid.heading), text(grid.title, "text tight"), str(curve[0].data["n_fit"])]
            row.append(text(f"{len(valid)} of {len(curve)}", "text" if len(valid) == len(curve) else "text bad"))
            for name in names:
                failed = [c for c in curve if not c.gates.get(name, {"passed": True})["passed"]]
                if not failed:
                    row.append(text("passed"))
                    continue
                worst = max((c.gates[name] for c in failed), key=lambda gate: abs(gate["value"] - gate["threshold"]))
                at = spans(layers(c)[0] for c in failed)
                row.append(Cell(escape(f"FAILED at layer {at}, worst {_against(worst)}"), "text bad"))
            rows.append(row)
            muted.append(not valid)
    return table(["pair", "injection", "n", "valid", *names], rows, muted)


def _against(gate: dict[str, Any]) -> str:
    return f"{gate['value']:.2g} ({wanted(gate).replace('<=', '≤')})"


def warnings(cells: Sequence[Comparison]) -> str:
    """Warnings of the cells, controls that are missing, and cells that saw different inputs."""
    alike: dict[str, dict[str, list[str]]] = {}
    for c in cells:
        for found in c.records:
            for warning in found.data["warnings"]:
                # Those of a sweep differ in their numbers.
                kind = alike.setdefault(re.sub(r"\d+(\.\d+)?", "#", warning), {})
                kind.setdefault(warning, []).append(found.data["run_id"])
    told = []
    for lines in alike.values():
        ids = [one for some in lines.values() for one in some]
        other = f", with other numbers in some: {len(lines)} kinds" if len(lines) > 1 else ""
        told.append(f"{escape(next(iter(lines)))} <span class=quiet>({_several(ids)}{other})</span>")
    absent: dict[str, list[Comparison]] = {}
    for c in cells:
        if is_withheld(c):
            line = "its fitted score is not shown</b>, because no negative control was scored beside it"
            absent.setdefault(f"{line}; run it with control=all", []).append(c)
        for name, why in c.absent.items():
            absent.setdefault(f"no {escape(name)}</b>: {escape(why)}", []).append(c)
        if note := units_note(c.data):
            absent.setdefault(f"few units</b>: {escape(note)}", []).append(c)
        if c.missing:
            line = f"not scored: {escape(', '.join(c.missing))}</b>; control=all scores everything"
            absent.setdefault(line, []).append(c)
    told += [f'<b class="bad">{escape(_where(some))}: {line}' for line, some in absent.items()]
    for pair, inputs in _inputs(cells).items():
        if len(inputs) > 1:
            told.append(
                f'<b class="bad">the cells of {escape(pair)} were computed on {len(inputs)} different sets of '
                "weights or items</b>; run them again before comparing them"
            )
    return "<ul>" + "".join(f"<li>{line}</li>" for line in told) + "</ul>" if told else '<p class="quiet">none</p>'


def missing(configs: Sequence[dict[str, Any]], sweep: str | None) -> str:
    """Cells of a sweep that have no record, one row per pair and injection."""
    if not configs:
        return '<p class="quiet">none</p>'
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for config in configs:
        groups.setdefault((config["pair"]["name"], injection_label(config)), []).append(config)
    rows = [
        [
            text(pair),
            text(injection, "text tight"),
            str(len(some)),
            text(_values(config["layer"]["source"] for config in some)),
            text(_values(config["dataset"]["size"] for config in some)),
            text(controls_label({name for config in some for name in config["control"]["names"]})),
        ]
        for (pair, injection), some in groups.items()
    ]
    told = f'<p class="bad">bridge sweep {escape(str(sweep))} runs them.</p>'
    return told + table(["pair", "injection", "cells", "layers", "sizes", "controls"], rows)


def coverage(cells: Sequence[Comparison]) -> str:
    """How many items were loaded and kept, and why the others fell out, for each pair and data set."""
    seen: dict[str, list[str]] = {}
    reasons: list[str] = list(dict.fromkeys(k for c in cells for k in c.data["coverage"]))
    for c in cells:
        config, counts = c.config, c.data["coverage"]
        row: list[str] = [text(pair_label(config), "text tight"), text(config["dataset"]["name"])]
        row += [str(counts.get(reason, "–")) for reason in reasons]
        row += [str(c.data["n_eval"]), f"{c.data['n_units']} ({escape(c.data['unit'])})"]
        seen["|".join(row)] = row
    return table(["pair", "data set", *(r.replace("_", " ") for r in reasons), "eval items", "units"], seen.values())


def failures(records: Sequence[Record]) -> str:
    """Every failed cell; those with the same error together, with the folded traceback of the first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for found in records:
        if not found.ok:
            groups.setdefault(found.data["error"], []).append(found.data)
    told = []
    for error, some in groups.items():
        first = some[0]
        trace = f"<pre>{escape(first['traceback'])}</pre>" if first.get("traceback") else ""
        others = ""
        if len(some) > 1:
            listed = "".join(f"<li>{_failed(data)}</li>" for data in some)
            others = f"<details><summary>all {len(some)} cells with this error</summary><ul>{listed}</ul></details>"
        what = _failed(first) + (f" and {len(some) - 1} more" if others else "")
        told.append(
            f'<li><b class="bad">{what}</b>: {escape(error)}<details><summary>traceback</summary>{trace}</details>'
            f"{others}</li>"
        )
    return f"<ul>{''.join(told)}</ul>" if told else '<p class="quiet">none</p>'


def _failed(data: dict[str, Any]) -> str:
    config = data["config"]
    if is_similarity(data):
        what = f"{config['pair']['name']}, similarity, size {config['dataset']['size']}"
        return f"{escape(what)} <code>{escape(data['run_id'])}</code>"
    what = f"{config['pair']['name']}, {injection_label(config)}, layer {config['layer']['source']}, "
    what += f"size {config['dataset']['size']}, {controls_label(config['control']['names'])}"
    return f"{escape(what)} <code>{escape(data['run_id'])}</code>"


def controls_label(names: Iterable[str]) -> str:
    """Names of controls in the order of every table, or that they are all."""
    some = set(names)
    return "all controls" if some == set(CONTROLS) else ", ".join(n for n in CONTROLS if n in some)


def _values(values: Iterable[Any]) -> str:
    """Distinct values of an axis, in order."""
    distinct = {str(v): v for v in values}
    if all(re.fullmatch(r"\d+", v) for v in distinct):
        return spans(map(int, distinct))
    return ", ".join(sorted(distinct))


def _where(cells: Sequence[Comparison]) -> str:
    """Which cells, in a few words."""
    if len(cells) == 1:
        return f"{cells[0].config['pair']['name']}, {cells[0].label}"
    return f"in {len(cells)} cells (layer {spans(layers(c)[0] for c in cells)})"


def _cell_names(c: Comparison) -> list[str]:
    names = [text(c.config["pair"]["name"], "text tight"), text(injection_label(c.config), "text tight")]
    return [*names, Cell(layer_label(c), "tight"), str(c.data["n_fit"])]


def _inputs(cells: Iterable[Comparison]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for r in (r for c in cells for r in c.records):
        if r.data.get("inputs"):
            config = r.data["config"]
            home = found.setdefault(f"{pair_label(config)} ({config['dataset']['name']})", set())
            home.add(str(sorted(r.data["inputs"].items())))
    return found


def _several(ids: Sequence[Any]) -> str:
    return f"cell {escape(ids[0])}" if len(ids) == 1 else f"{len(ids)} cells"
