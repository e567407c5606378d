"""One picture of a whole sweep: every cell by its lead over the negative control that is hardest to beat."""

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, hardest_negative, identity, layer_label, layers
from bridge.show.looks import BAD, INK, SETTINGS, accessible, fields, inline

METRIC = "top1"


def lead_map(rows: Sequence[tuple[Grid, Sequence[Comparison]]]) -> str:
    """Curves by layers as an inline SVG: fitted minus the hardest negative control in every cell.

    Bold where the cell is above every negative control, a cross where a gate failed, a dot where there is no fitted
    score beside a negative control.

    Args:
        rows: grids with one curve each.
    """
    places = [[_place(c, curve) for c in curve] for _, curve in rows]
    columns = sorted({place for row in places for place in row})
    labels = [label for _, _, label in columns]
    names = [f"{grid.title}, n={curve[0].data['n_fit']}" for grid, curve in rows]
    left = 0.35 + 0.068 * max(map(len, names))
    is_upright = max(map(len, labels)) <= 3
    low = 0.47 if is_upright else 0.75
    width, height = left + 0.44 * len(columns) + 0.1, low + 0.08 + 0.225 * len(rows)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height))
        ax = figure.add_axes((left / width, low / height, 0.44 * len(columns) / width, (height - low - 0.08) / height))
        colors = mpl.colormaps["RdBu"]
        filled: list[tuple[tuple[int, int], Any]] = []
        for i, ((_, curve), row) in enumerate(zip(rows, places, strict=True)):
            for place, c in zip(row, curve, strict=True):
                j, lead = columns.index(place), _lead(c)
                color = "#eceff2" if lead is None else colors(0.5 + 0.45 * lead)
                filled.append(((j, i), color))
                ink = BAD if not c.valid else "white" if lead is not None and abs(lead) > 0.6 else INK
                ax.text(
                    j + 0.5,
                    i + 0.5,
                    _label(c, lead),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=ink,
                    weight="bold" if c.is_above else "normal",
                )
        fields(ax, *zip(*filled, strict=True))
        ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
        ax.set_yticks([i + 0.5 for i in range(len(rows))], names)
        ax.set_xticks([j + 0.5 for j in range(len(columns))], labels)
        ax.tick_params(length=0)
        if not is_upright:
            ax.tick_params(axis="x", rotation=60)
        ax.spines[:].set_visible(False)
        # Over few columns the label is wider than they are, and there is room on the left.
        where: Literal["right", "center"] = "right" if len(columns) < 4 else "center"
        ax.set_xlabel("layer of the source" if is_upright else "layer, source → target", labelpad=3, loc=where)
        shown = identity(c for _, curve in rows for c in curve)
        return inline(figure, f"lead map {shown}", accessible("lead by curve and layer", width))


def _place(c: Comparison, curve: Sequence[Comparison]) -> tuple[int, int, str]:
    """Where on the axis a cell stands: its source layer, and the target's where a source layer occurs twice."""
    source, target = layers(c)
    if sum(layers(other)[0] == source for other in curve) > 1:
        return source, target, layer_label(c)
    return source, -1, str(source)


def _lead(c: Comparison) -> float | None:
    hardest = hardest_negative(c, METRIC)
    if not c.valid or hardest is None or "fitted" not in c.scores:
        return None
    return float(c.scores["fitted"][METRIC]["mean"]) - float(c.scores[hardest][METRIC]["mean"])


def _label(c: Comparison, lead: float | None) -> str:
    if not c.valid:
        return "×"
    if lead is None:
        return "·"
    return f"{lead:+.2f}".replace("0.", ".", 1).replace("-", "−")
