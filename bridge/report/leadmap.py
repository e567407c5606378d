"""One picture of a whole sweep: every cell by its lead over the negative control that is hardest to beat."""

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, identity
from bridge.results.joining import sortable
from bridge.show.looks import BAD, INK, SETTINGS, accessible, fields, inline
from bridge.show.places import LOG_NOTE, joined_text, others
from bridge.show.planes import short

# The position of a place among others, and its label.
Place = tuple[Any, str]


def lead_map(rows: Sequence[tuple[Grid, Sequence[Comparison]]], axis: Axis | None) -> str:
    """Curves by places as an inline SVG: the estimate minus the hardest negative control in every cell.

    Bold where the cell is above every negative control, a cross where a gate failed, a dot where there is no estimate
    beside a negative control.

    Args:
        rows: grids with one curve each.
        axis: along which the curves lie; None where the task has none.
    """
    places = [[_place(c, curve, axis) for c in curve] for _, curve in rows]
    columns = sorted({place for row in places for place in row})
    labels = [label for _, label in columns]
    names = [joined_text(grid.title, others(curve[0], axis)) for grid, curve in rows]
    left = 0.35 + 0.068 * max(map(len, names))
    is_upright = max(map(len, labels)) <= 3
    low = 0.47 if is_upright else 0.75
    width, height = left + 0.44 * len(columns) + 0.1, low + 0.08 + 0.225 * len(rows)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height))
        ax = figure.add_axes((left / width, low / height, 0.44 * len(columns) / width, (height - low - 0.08) / height))
        colors, most = mpl.colormaps["RdBu"], _largest(rows)
        filled: list[tuple[tuple[int, int], Any]] = []
        for i, ((_, curve), row) in enumerate(zip(rows, places, strict=True)):
            for place, c in zip(row, curve, strict=True):
                j, lead = columns.index(place), _lead(c)
                shade = 0.0 if lead is None else lead / most
                filled.append(((j, i), "#eceff2" if lead is None else colors(0.5 + 0.45 * shade)))
                ink = BAD if not c.valid else "white" if abs(shade) > 0.6 else INK
                weight = "bold" if c.valid and c.has_estimate and c.finding(c.part).is_above else "normal"
                ax.text(j + 0.5, i + 0.5, _label(c, lead), ha="center", va="center", color=ink, weight=weight,
                        fontsize=8 if most <= 1 else 6.5)  # fmt: skip
        fields(ax, *zip(*filled, strict=True))
        ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
        ax.set_yticks([i + 0.5 for i in range(len(rows))], names)
        ax.set_xticks([j + 0.5 for j in range(len(columns))], labels)
        ax.tick_params(length=0)
        if not is_upright:
            ax.tick_params(axis="x", rotation=60)
        ax.spines[:].set_visible(False)
        # With few columns the label is wider than the map, and there is room on the left.
        where: Literal["right", "center"] = "right" if len(columns) < 4 else "center"
        if axis is not None:
            ax.set_xlabel(_title(axis, rows, is_upright), labelpad=3, loc=where)
        shown = identity(c for _, curve in rows for c in curve)
        along = "nothing" if axis is None else axis.one
        return inline(figure, f"lead map {shown}", accessible(f"lead by curve and {along}", width))


def _place(c: Comparison, curve: Sequence[Comparison], axis: Axis | None) -> Place:
    """The place of a cell on the axis; of a pair the first, with the second added where a first occurs twice."""
    if axis is None:
        return (), ""
    value = axis.value(c.axes)
    if not isinstance(value, tuple):
        return (sortable(value), ()), axis.label(c.axes)
    if sum(axis.value(other.axes)[0] == value[0] for other in curve) > 1:
        return (sortable(value[0]), sortable(value[1:])), axis.label(c.axes)
    return (sortable(value[0]), ()), str(value[0])


def _title(axis: Axis, rows: Sequence[tuple[Grid, Sequence[Comparison]]], is_upright: bool) -> str:
    is_pair = any(isinstance(axis.value(c.axes), tuple) for _, curve in rows for c in curve)
    return f"{axis.one} of the source" if is_pair and is_upright else axis.title.removesuffix(LOG_NOTE)


def _largest(rows: Sequence[tuple[Grid, Sequence[Comparison]]]) -> float:
    """The lead that has the darkest colour: 1 for a score from 0 to 1, else the largest of all."""
    cells = [c for _, curve in rows for c in curve]
    if all(c.task.by_name[c.head].is_unit for c in cells):
        return 1.0
    return max((abs(lead) for c in cells if (lead := _lead(c)) is not None), default=1.0) or 1.0


def _lead(c: Comparison) -> float | None:
    """How much better the estimate is; positive is better whichever way the metric points."""
    estimate, hardest = c.mean(c.estimate), c.hardest
    if not c.valid or hardest is None or estimate is None:
        return None
    control = c.mean(hardest)
    assert control is not None
    return estimate - control if c.task.by_name[c.head].higher_is_better else control - estimate


def _label(c: Comparison, lead: float | None) -> str:
    if not c.valid:
        return "×"
    return "·" if lead is None else short(lead, "+")
