"""Sparsity and likeness of features: a table for a terminal and one for a report."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

from bridge.results.comparison import Comparison
from bridge.results.curves import pair_label
from bridge.tasks.base import Section

# Over a column, the metric, and the condition.
COLUMNS = (
    ("L0\nown", "l0", "native"),
    ("L0\nrot.", "l0", "rotated"),
    ("dead\nown", "dead_share", "native"),
    ("dead\nrot.", "dead_share", "rotated"),
    ("cos\nrot.", "cosine_above_half", "rotated"),
    ("cos\nsec.", "cosine_above_half", "second"),
    ("cos\nspec.", "cosine_above_half", "spectrum"),
    ("cos\nshar.", "cosine_above_half", "shared_start"),
    ("fire\nrot.", "firing", "rotated"),
    ("fire\nrand.", "firing", "random"),
    ("loss\nrot.", "loss_recovered", "rotated"),
    ("loss\ninp.", "loss_recovered", "inputs"),
    ("loss\nrand.", "loss_recovered", "random"),
)
LEGEND = (
    "own: the target's SAE; rot.: the source's, rotated. L0: features that fire at a token; dead: the share that "
    "never fires on held-out strings. cos: of the features that fire, the share whose decoder has a cosine above "
    "0.5 with one of the target's SAE, beside the target's second SAE (sec.), a rotation that matches the "
    "covariances alone (spec.), and SAEs that were started alike and are not rotated (shar.). fire: the largest "
    "correlation of firing patterns, beside a random rotation (rand.). loss: recovered by reconstructions in "
    "place of the target's own states, 0 for its mean state, beside what the tokens predict (inp.) and a random "
    "rotation."
)


def print_features(data: Mapping[str, Any], console: Console) -> None:
    """A row for each site: how sparse features are, and how like the target's own."""
    task = data["config"]["task"]
    table = Table(title=f"features, {task['kind']} x{task['expansion']}", title_justify="left", title_style="bold",
                  pad_edge=False, box=None, padding=(0, 1, 0, 0))  # fmt: skip
    table.add_column("site", no_wrap=True)
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in _rows(data):
        table.add_row(*row)
    console.print(table)
    console.print(LEGEND, style="dim", highlight=False)


def _rows(data: Mapping[str, Any]) -> list[list[str]]:
    return [
        [site, *(_cell(point["scores"].get(condition, {}), metric) for _, metric, condition in COLUMNS)]
        for site, point in zip(data["sites"], data["points"], strict=True)
    ]


def _cell(scores: Mapping[str, Any], metric: str) -> str:
    mean = scores.get(metric, {}).get("mean")
    return "-" if mean is None else f"{mean:.1f}" if metric == "l0" else f"{mean:.2f}"


def section(comparisons: Sequence[Comparison]) -> list[Section]:
    """One table for each record."""
    records = {c.data["run_id"]: c for c in comparisons}
    head = "".join(f"<th>{escape(heading).replace(chr(10), '<br>')}</th>" for heading, _, _ in COLUMNS)
    tables = []
    for c in records.values():
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(c.data))
        title = f"{pair_label(c.config)}, step {c.place('step')}, x{c.config['task']['expansion']}"
        tables.append(f"<h3>{escape(title)}</h3><table><tr><th>site</th>{head}</tr>{body}</table>")
    return [Section("features", "Features", "".join(tables), LEGEND)]
