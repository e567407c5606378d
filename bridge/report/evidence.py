"""What stands behind the scores in a report: gates, failures, what was run, and what the numbers mean."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from bridge.comparison import ALPHA, Comparison, injection_label
from bridge.controls import CONTROLS, REFERENCES
from bridge.grids import is_withheld, layer_label, pair_label
from bridge.looks import swatch
from bridge.record import Record
from bridge.report.page import Cell, table, text

GATES = {
    "decode": ("≤", "decoding the stored target states gives the model's own logits (largest difference, relative)"),
    "same_model": ("≥", "the target's own states reach its native top-1 this way (share of native)"),
    "planted": ("≤", "a known rotation is found again (relative error on the span of the fit rows)"),
    "pairing": ("≤", "permuting the rows destroys the fit (rank p of the fitted map's state error)"),
}


def gates(cells: Sequence[Comparison]) -> str:
    """Every finished cell with the value of each gate against its threshold."""
    done = [(c, found) for c in cells for found in c.records]
    names = list(dict.fromkeys([*GATES, *(n for _, r in done for n in r.data["gates"])]))
    names = [n for n in names if any(n in r.data["gates"] for _, r in done)]
    rows = []
    for c, found in done:
        valid = found.data["valid"]
        row: list[str] = [*_cell_names(c), text("valid" if valid else "invalid", "text" if valid else "text bad")]
        for name in names:
            gate = found.data["gates"].get(name)
            if gate is None:
                row.append("–")
                continue
            sign = GATES.get(name, ("against", ""))[0]
            mark = "" if gate["passed"] else "FAILED "
            shown = escape(f"{mark}{gate['value']:.2g} ({sign} {gate['threshold']:g})")
            row.append(Cell(shown, "tight" if gate["passed"] else "tight bad"))
        rows.append([*row, text(found.data["run_id"], "text tight")])
    meaning = "".join(f"<li><b>{escape(n)}</b>: {escape(GATES[n][1])}</li>" for n in names if n in GATES)
    heading = ["pair", "injection", "layer", "n", "gates", *names, "run id"]
    return table(heading, rows, [not r.data["valid"] for _, r in done]) + f"<ul>{meaning}</ul>"


def warnings(cells: Sequence[Comparison]) -> str:
    """Warnings of the cells, controls that are missing, and cells that saw different inputs."""
    lines: dict[str, list[str]] = {}
    for c in cells:
        for found in c.records:
            for warning in found.data["warnings"]:
                lines.setdefault(warning, []).append(found.data["run_id"])
    told = [f"{escape(line)} <span class=quiet>({_several(ids)})</span>" for line, ids in lines.items()]
    absent: dict[str, list[str]] = {}
    for c in cells:
        name = escape(f"{c.config['pair']['name']}, {c.label}")
        if is_withheld(c):
            line = "its fitted score is not shown</b>, because no negative control was scored beside it"
            absent.setdefault(f"{line}; run it with control=all", []).append(name)
        if c.missing:
            line = f"not scored: {escape(', '.join(c.missing))}</b>; control=all scores everything"
            absent.setdefault(line, []).append(name)
    for line, names in absent.items():
        told.append(f'<b class="bad">{names[0] if len(names) == 1 else f"in {len(names)} cells"}: {line}')
    for pair, inputs in _inputs(cells).items():
        if len(inputs) > 1:
            told.append(
                f'<b class="bad">the cells of {escape(pair)} were computed on {len(inputs)} different sets of '
                "weights or items</b>; run them again before comparing them"
            )
    return "<ul>" + "".join(f"<li>{line}</li>" for line in told) + "</ul>" if told else '<p class="quiet">none</p>'


def coverage(cells: Sequence[Comparison]) -> str:
    """How many items were loaded and kept, and why the others fell out, for each pair and data set."""
    seen: dict[str, list[str]] = {}
    reasons: list[str] = list(dict.fromkeys(k for c in cells for k in c.data["coverage"]))
    for c in cells:
        config, counts = c.config, c.data["coverage"]
        row: list[str] = [text(pair_label(config), "text tight"), text(config["dataset"]["name"])]
        row += [str(counts.get(reason, "–")) for reason in reasons]
        row.append(str(c.data["n_eval"]))
        seen["|".join(row)] = row
    return table(["pair", "data set", *(r.replace("_", " ") for r in reasons), "eval items"], seen.values())


def failures(records: Sequence[Record]) -> str:
    """Every failed cell with its error line and the folded traceback."""
    told = []
    for found in records:
        if found.ok:
            continue
        data = found.data
        config = data["config"]
        what = f"{config['pair']['name']}, {injection_label(config)}, layer {config['layer']['source']}, "
        what += f"size {config['dataset']['size']}"
        trace = f"<pre>{escape(data['traceback'])}</pre>" if data.get("traceback") else ""
        told.append(
            f'<li><b class="bad">{escape(what)}</b> <code>{escape(data["run_id"])}</code>: {escape(data["error"])}'
            f"<details><summary>traceback</summary>{trace}</details></li>"
        )
    return f"<ul>{''.join(told)}</ul>" if told else '<p class="quiet">none</p>'


def what_was_run(cells: Sequence[Comparison], failed: Sequence[Record]) -> str:
    """One row per record, failed ones too, then the versions."""
    rows = []
    shown = [*(r for c in cells for r in c.records), *failed]
    for found in shown:
        data, config = found.data, found.data["config"]
        both = f"{data['layers']['source']}→{data['layers']['target']}" if found.ok else config["layer"]["source"]
        scale = config["normalize"].get("scale", "none")
        centre = "center" if config["normalize"].get("center") else "as is"
        rank = f"{data['fit']['rank']} ({data['fit']['n_over_d']:.2f})" if found.ok else "–"
        outside = f"{data['fit']['eval_variance_outside_span']:.0%}" if found.ok else "–"
        commit = (data.get("commit") or "none")[:9] + (" + changes" if data.get("dirty") else "")
        rows.append([
            text(pair_label(config), "text tight"), text(injection_label(config), "text tight"),
            Cell(escape(str(both)), "tight"),
            str(data["n_fit"] if found.ok else config["dataset"]["size"]), str(config["seed"]),
            text(config["map"]["name"]), text(centre if scale == "none" else f"{centre}, {scale}", "text tight"),
            text(_controls(config["control"]["names"]), "text tight"), rank, outside,
            text(data["run_id"], "text tight"),
            text(commit, "text tight"), f"{data['wall_s']:.1f}",
        ])  # fmt: skip
    heading = ["pair", "injection", "layer", "n", "seed", "map", "normalisation", "controls", "rank (n/d)",
               "outside span", "run id", "commit", "wall s"]  # fmt: skip
    return table(heading, rows, [not r.data["valid"] for r in shown])


def versions(records: Sequence[Record]) -> str:
    """Every distinct set of package versions."""
    sets = dict.fromkeys(", ".join(f"{k} {v}" for k, v in r.data["versions"].items()) for r in records)
    return "".join(f"<p>{escape(line)}</p>" for line in sets)


def what_controls_rule_out() -> str:
    """Every control with its look, its kind and the sentence that says what it rules out."""
    rows = [
        [Cell(swatch(c.name), "text"), text(c.name, "text tight"), text(c.kind), text(c.rules_out, "text long")]
        for c in [*CONTROLS.values(), *REFERENCES.values()]
    ]
    return table(["", "control", "kind", "rules out, or is"], rows)


def definitions(records: Sequence[Record]) -> str:
    """How scores, intervals and p values are defined."""
    draws = sorted({r.data["config"]["control"]["n_draws"] for r in records})
    resamples = sorted({r.data["config"]["task"]["n_resamples"] for r in records})
    least = 1 / (1 + draws[-1])
    drawn = ", ".join(c.name for c in CONTROLS.values() if c.drawn)
    lines = [
        "<b>top-1</b>: share of eval items whose gold answer is the most probable token. <b>Gold log-probability</b>: "
        "mean natural logarithm of the gold token's probability. No eval item is among the fit rows.",
        f"<b>Intervals (95 %)</b>: for controls drawn many times ({escape(drawn)}; {_list(draws)} draws) the spread of "
        "the draws, from 2.5 % to 97.5 %; for everything else a percentile bootstrap over eval items "
        f"({_list(resamples)} resamples).",
        "<b>Fitted − control</b>: mean difference paired by item, a control's draws averaged first, with a bootstrap "
        "interval over items.",
        "<b>p</b>: two-sided sign-flip test on the paired differences; for drawn controls also the rank of the fitted "
        f"score among the draws, which {draws[-1]} draws cannot push below {least:.3f}. The larger of the two is "
        f"shown. A map counts as above a control when the difference is positive and both are below {ALPHA:g}. "
        "p is that of one cell; it is not corrected for the number of cells.",
        "<b>Dead</b>: the target's own states, put through the same fit and injection, do not reach its native score, "
        "so the cell says nothing about the map. <b>Invalid</b>: another gate failed.",
        "<b>n/d</b>: items to fit on per dimension of the source. <b>Outside span</b>: share of the eval states' "
        "variance in directions that no fit row has, where the map is undetermined.",
        "<b>Seen, unseen</b>: whether the gold answer of an eval item is also the answer of some fit row.",
    ]
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _cell_names(c: Comparison) -> list[str]:
    names = [text(c.config["pair"]["name"], "text tight"), text(injection_label(c.config), "text tight")]
    return [*names, Cell(layer_label(c), "tight"), str(c.data["n_fit"])]


def _controls(names: Sequence[str]) -> str:
    return "all" if set(names) == set(CONTROLS) else ", ".join(names)


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


def _list(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))
