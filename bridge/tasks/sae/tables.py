"""Sparsity and likeness of features: a table for a terminal and one for a report."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

from bridge.results.comparison import Comparison
from bridge.results.curves import pair_label
from bridge.tasks.base import Section

# Over a column, the metric, and the conditions side by side in it.
COLUMNS = (
    ("L0\nown, rot.", "l0", ("native", "rotated")),
    ("dead\nown, rot.", "dead_share", ("native", "rotated")),
    ("cos > 0.5\nraw, rot., frozen | second | shared", "cosine_above_half",
     ("recentred", "rotated", "frozen", "second", "shared_start")),
    ("firing\nraw, rot., second", "firing", ("recentred", "rotated", "second")),
    ("loss recovered\nraw, rot., own", "loss_recovered", ("recentred", "rotated", "native")),
)  # fmt: skip
LEGEND = (
    "own: the target's SAE; rot.: the source's, rotated; raw: the source's, recentred. L0: features that fire at a "
    "token; dead: the share that never fires on held-out strings. cos > 0.5: the share of features whose decoder has a "
    "cosine above 0.5 with one of the target's SAE, beside that of random directions (frozen), of the target's second "
    "SAE, and of SAEs that were started alike, without a rotation. firing: correlation of firing patterns. loss "
    "recovered: 0 for the mean state in place of every state, 1 for the target's own."
)


def print_features(data: Mapping[str, Any], console: Console) -> None:
    """A row for each site: how sparse features are, and how like the target's own."""
    task = data["config"]["task"]
    table = Table(title=f"features, {task['kind']} x{task['expansion']}", title_justify="left", title_style="bold",
                  pad_edge=False, box=None, padding=(0, 1, 0, 0))  # fmt: skip
    table.add_column("site", no_wrap=True)
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right")
    for row in _rows(data):
        table.add_row(*row)
    console.print(table)
    console.print(LEGEND, style="dim", highlight=False)


def _rows(data: Mapping[str, Any]) -> list[list[str]]:
    return [
        [site, *(_cell(point["scores"], metric, names) for _, metric, names in COLUMNS)]
        for site, point in zip(data["sites"], data["points"], strict=True)
    ]


def _cell(scores: Mapping[str, Any], metric: str, names: Sequence[str]) -> str:
    each = []
    for name in names:
        mean = scores.get(name, {}).get(metric, {}).get("mean")
        each.append("-" if mean is None else f"{mean:.1f}" if metric == "l0" else f"{mean:.2f}")
    return " ".join(each)


def section(comparisons: Sequence[Comparison]) -> list[Section]:
    """One table for each record."""
    records = {c.data["run_id"]: c for c in comparisons}
    head = "".join(f"<th>{escape(heading).replace(chr(10), '<br>')}</th>" for heading, _, _ in COLUMNS)
    tables = []
    for c in records.values():
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(c.data))
        title = f"{pair_label(c.config)}, step {c.place('step')}, x{c.config['task']['expansion']}"
        tables.append(f"<h3>{escape(title)}</h3><table><tr><th>site</th>{head}</tr>{body}</table>")
    return [Section("features", "Features", "".join(tables), escape(LEGEND))]
