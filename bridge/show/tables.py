"""Tables for a terminal: an estimate never stands without its controls."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.results.comparison import Comparison
from bridge.results.metrics import Metric
from bridge.results.verdicts import counted, p_of, units_note, wanted
from bridge.show.fitting import fitting

KIND_STYLE = {
    "estimate": "bold",
    "negative": "",
    "baseline": "magenta",
    "mark": "magenta",
    "ceiling": "cyan",
    "reference": "dim",
}


def comparison_table(c: Comparison, width: int) -> Table:
    """One point: every condition a row, on the headline part and on all items, with the estimate's paired lead.

    On a narrow screen columns are left out one by one; the record has them all.
    """
    optional = [*(m.name for m in _further(c)), "draws", "lead"]
    return fitting(lambda form: _comparison_table(c, optional[form:]), len(optional) + 1, width)


def _further(c: Comparison) -> list[Metric]:
    """Metrics that have a column beside the one that heads the table."""
    scored = {name for scores in c.scores.values() for name in scores}
    return [m for m in c.task.metrics if m.heading and not m.heads and m.name in scored]


def _parts(c: Comparison) -> list[str]:
    """The parts that have columns: those that are tested."""
    return list(c.task.part_names)


def _comparison_table(c: Comparison, also: Sequence[str]) -> Table:
    task, head = c.task, c.task.by_name[c.head]
    place = c.config["pair"]["name"] if "pair" in task.uses else task.name
    table = Table(title=f"{place}: {c.label}, {c.sizes}", title_justify="left", title_style="bold", box=None)
    table.pad_edge = False
    table.add_column("control", no_wrap=True)
    for part in _parts(c):
        n = c.point["n"] if part == "all" else c.parts[part]["n"]
        table.add_column(f"{c.title_of(part)} ({n})\n{head.word} [95 %]", justify="right", no_wrap=True)
    for metric in _further(c):
        if metric.name in also:
            table.add_column(metric.heading, justify="right", no_wrap=True)
    lead = f"{c.estimate} - control\n{head.word}, all [95 %]" if "lead" in also else "lead\nall"
    for heading in (lead, *(f"p\n{part}" for part in _parts(c))):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, scores in c.scores.items():
        table.add_row(*_row(c, name, scores, also), style=KIND_STYLE[task.conditions[name].kind])
    for name in c.absent:
        table.add_row(name, *["absent"] * len(_parts(c)), style="dim")
    return table


def _row(c: Comparison, name: str, scores: Mapping[str, Any], also: Sequence[str]) -> list[str]:
    head, condition = c.head, c.task.conditions[name]
    draws = f" x{scores[head]['n_draws']}" if "n_draws" in scores.get(head, {}) and "draws" in also else ""
    row = [f"{name}{draws}", *(_interval(c.scores_of(part).get(name, {}).get(head)) for part in _parts(c))]
    further = [m for m in _further(c) if m.name in also]
    row += [_short(m, scores.get(m.name)) if condition.comparable or not m.share_of else "" for m in further]
    leads = [c.contrasts_of(part).get(name, {}).get(head) for part in _parts(c)]
    row.append("" if leads[-1] is None else _lead(leads[-1], "lead" in also))
    # A mark is not tested.
    return row + ["" if lead is None or condition.kind == "mark" else _p(p_of(lead)) for lead in leads]


def _interval(score: Mapping[str, Any] | None) -> str:
    if score is None or score["mean"] is None:
        return "-"
    return f"{score['mean']:.3f}" + ("" if score["low"] is None else f" [{score['low']:.2f}, {score['high']:.2f}]")


def _short(metric: Metric, score: Mapping[str, Any] | None) -> str:
    if score is None or score["mean"] is None:
        return ""
    return f"{score['mean']:.0%}" if metric.share_of else f"{score['mean']:.2f}"


def _lead(contrast: Mapping[str, Any], with_interval: bool) -> str:
    if contrast["difference"] is None:
        return "-"
    is_wide = with_interval and contrast["low"] is not None
    interval = f" [{contrast['low']:+.2f}, {contrast['high']:+.2f}]" if is_wide else ""
    return f"{contrast['difference']:+.3f}{interval}"


def print_comparison(c: Comparison, console: Console) -> None:
    """Print the table of one point, its numbers of units and items, the gates, and the verdict."""
    console.print(comparison_table(c, console.width))
    for line in (*_lines(c), *c.task.lines(c)):
        console.print(Text(line))
    if c.gates:
        console.print(gates_line(c))
    if c.missing:
        console.print(f"not scored here: {', '.join(c.missing)} (control=all scores everything)", style="yellow")
    console.print(Text(c.verdict(), style="bold green" if c.is_above_everywhere else "bold yellow"))


def _lines(c: Comparison) -> list[str]:
    """The units that intervals and p values are computed from, and the sizes of the parts of the items."""
    lines = []
    if c.task.by_name[c.head].items is not None:
        head = {name: scores[c.head] for name, scores in c.scores.items() if c.head in scores}
        draws = ", ".join(f"{name} x{score['n_draws']}" for name, score in head.items() if "n_draws" in score)
        drawn = f"; of {draws} the lowest and the highest draw" if draws else ""
        unit = c.point["unit"]
        lines.append(
            f"[95 %]: over units ({unit}), resampled whole{drawn}. p: flips of units, and the rank among draws"
        )
    if c.parts:
        sizes = ", ".join(
            f"{label} {counted(part['n'], 'item')} of {counted(part['n_units'], 'unit')}"
            for label, part in c.parts.items()
        )
        what = "; ".join(f"{part.name}: {part.what}" for part in c.task.parts if part.tested and part.what)
        lines.append(f"{c.task.noun}: {sizes}" + (f"; {what}" if what else ""))
    note = units_note(c.point)
    return [*lines, note] if note else lines


def gates_line(c: Comparison) -> Text:
    """The gates, each with its value and threshold."""
    line = Text("gates: ")
    for i, (name, gate) in enumerate(c.gates.items()):
        line.append(", " if i else "")
        passed = "passed" if gate["passed"] else "FAILED"
        line.append(
            f"{name} {passed} ({gate['value']:.2g}, wanted {wanted(gate)})", style="" if gate["passed"] else "bold red"
        )
    return line


def _p(value: float | None) -> str:
    return "-" if value is None else "<.001" if value < 0.001 else f"{value:.3f}"
