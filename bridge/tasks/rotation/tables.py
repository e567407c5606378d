"""What fitted rotations look like: a table for a terminal and one for a report."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

from bridge.results.comparison import Comparison
from bridge.results.curves import pair_label
from bridge.tasks.base import Section

COLUMNS = (
    "site",
    "rank",
    "arbi-\ntrary",
    "||R-I||",
    "Haar\np",
    "its\nshuffle",
    "plain\nKS p",
    "det",
    "stable",
    "halves",
)
LEGEND = (
    "rank: directions that the states of source and target vary in; arbitrary: the share of directions that the "
    "rows do not determine, which are mapped at random. ||R - I||_F: Haar draws have {mean:.2f} ± {sd:.2f}. Haar "
    "p: the calibrated test whether R looks like a Haar draw, and the same of a fit on shuffled rows. A large p "
    "does not show that R is random: the test misses many alternatives (bridge haar --power). plain KS p: takes "
    "the angles for independent, and accepts nearly every rotation. stable: principal directions that the fits of "
    "two halves of the strings map alike (cosine above 0.9). halves: ||R1 - R2||_F of these fits, divided by "
    "sqrt(2d), its value for unrelated rotations."
)


def print_shapes(data: Mapping[str, Any], console: Console) -> None:
    """A row for each site: what its rotation looks like."""
    table = Table(title="what the rotations look like", title_justify="left", title_style="bold", pad_edge=False,
                  box=None, padding=(0, 1, 0, 0))  # fmt: skip
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "site" else "right", no_wrap=True)
    for row in _rows(data):
        table.add_row(*row)
    console.print(table)
    console.print(_legend(data), style="dim", highlight=False)


def _legend(data: Mapping[str, Any]) -> str:
    width = next(iter(data["sites"].values()))["width"]
    return LEGEND.format(mean=(2 * width) ** 0.5, sd=(2 * width) ** -0.5)


def _rows(data: Mapping[str, Any]) -> list[list[str]]:
    distances = [p["scores"].get("rotated", {}).get("distance", {}).get("mean") for p in data["points"]]
    return [
        [
            site,
            f"{about['rank']['source']}, {about['rank']['target']}",
            f"{about['null_share']:.0%}",
            "-" if distance is None else f"{distance:.2f}",
            f"{about['haar']['p']['all']:.2f}",
            f"{about['haar_of_shuffled']['all']:.2f}",
            f"{about['plain_ks_p']:.2f}",
            f"{about['determinant']:+d}",
            f"{about['split_half']['n_stable']}",
            f"{about['split_half']['distance']:.2f}",
        ]
        for (site, about), distance in zip(data["sites"].items(), distances, strict=True)
    ]


def section(comparisons: Sequence[Comparison]) -> list[Section]:
    """One table for each record."""
    records = {c.data["run_id"]: c for c in comparisons}
    tables = []
    names = [column.replace("-\n", "").replace("\n", " ") for column in COLUMNS]
    for c in records.values():
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(c.data))
        step = c.place("step")
        tables.append(
            f"<h3>{escape(pair_label(c.config))}, step {escape(step)}</h3><table><tr>{head}</tr>{body}</table>"
        )
    lead = _legend(next(iter(records.values())).data)
    return [Section("shapes", "What the rotations look like", "".join(tables), lead, "rotations")]
