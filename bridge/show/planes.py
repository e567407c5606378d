"""Heat maps over two axes: one score at every place, marked where it is above its controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import identity
from bridge.results.joining import sortable
from bridge.results.metrics import Metric
from bridge.show.looks import BAD, INK, QUIET, SETTINGS, accessible, fields, inline
from bridge.show.places import LOG_NOTE
from bridge.show.plots import Shades

# With more places than this on an axis there is no room for numbers.
MOST_NUMBERS = 8
MOST_TICKS = 12
WIDTH, EDGE, CELL = 4.2, 0.62, 0.56
# Width of a letter of a label on the left, in inches.
LETTER = 0.075
EMPTY = "#eceff2"
WITHOUT_NUMBERS = "Dots in place of bold numbers, crosses in place of grey ones"

Mark = Literal["bold", "plain", "quiet", "bad"]


@dataclass(frozen=True)
class Field:
    """One field of a map.

    Attributes:
        value: the number in it; None where there is none.
        shade: from 0 to 1, the darkest.
        mark: bold, plain, quiet (grey) or bad (a red cross in place of the number).
    """

    value: float | None
    shade: float
    mark: Mark = "plain"


def has_numbers(n_rows: int, n_columns: int) -> bool:
    """Whether there is room for numbers in the fields of a map."""
    return max(n_rows, n_columns) <= MOST_NUMBERS


def plane(
    rows: Sequence[str],
    columns: Sequence[str],
    filled: Mapping[tuple[int, int], Field],
    titles: tuple[str, str],
    label: str,
    salt: str,
) -> str:
    """A map as an inline SVG; places without a field stay white.

    Args:
        rows: labels on the left, from above.
        columns: labels below.
        filled: (row, column) -> its field.
        titles: of the rows and of the columns.
        label: what a screen reader says.
        salt: what tells the picture from all others.
    """
    with_numbers = has_numbers(len(rows), len(columns))
    edge = max(EDGE, 0.34 + LETTER * max(map(len, rows)))
    width = min(CELL, (WIDTH - edge - 0.1) / len(columns))
    height = min(0.6 * CELL, 3.4 / len(rows)) if with_numbers else width
    low, across = 0.42, WIDTH - edge - 0.1 if len(columns) <= MOST_NUMBERS else width * len(columns)
    total = low + 0.08 + height * len(rows)
    with mpl.rc_context(SETTINGS):
        drawn = Figure(figsize=(WIDTH, total))
        ax = drawn.add_axes((edge / WIDTH, low / total, across / WIDTH, height * len(rows) / total))
        colors = mpl.colormaps["Blues"]
        squares: list[tuple[tuple[int, int], Any]] = []
        for (i, j), field in filled.items():
            squares.append(((j, i), EMPTY if field.value is None else colors(0.9 * field.shade)))
            _write(ax, i, j, field, with_numbers)
        fields(ax, *zip(*squares, strict=True))
        ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
        for axis, labels in ((ax.yaxis, rows), (ax.xaxis, columns)):
            step = -(-len(labels) // MOST_TICKS)
            axis.set_ticks([k + 0.5 for k in range(0, len(labels), step)], list(labels[::step]))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel(titles[1], labelpad=2)
        ax.set_ylabel(titles[0], labelpad=2)
        return inline(drawn, salt, accessible(label))


def _write(ax: Axes, i: int, j: int, field: Field, with_numbers: bool) -> None:
    """Write the number of a field, or a sign if there is no room for a number."""
    size, is_bold = 8.5, field.mark == "bold"
    if field.mark == "bad":
        text = "×"
    elif with_numbers:
        text = "–" if field.value is None else short(field.value)
    else:
        text = "" if field.mark == "plain" else "·" if is_bold else "×"
        size = 9.0 if is_bold else 4.0
    ink = BAD if field.mark == "bad" else QUIET if field.mark == "quiet" else INK
    ink = "white" if field.shade > 0.6 and field.mark != "bad" else ink
    ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=size, color=ink,
            weight="bold" if is_bold else "normal")  # fmt: skip


def short(value: float, sign: str = "") -> str:
    """A number of two decimals for a small field, without a zero before the point.

    Example:
        >>> short(0.25), short(-0.5), short(10.25), short(0.25, "+")
        ('.25', '−.50', '10.25', '+.25')
    """
    text = f"{value:{sign}.2f}"
    whole, point, rest = text.partition(".")
    whole = whole[:-1] if whole.lstrip("+-") == "0" else whole
    return f"{whole}{point}{rest}".replace("-", "−")


def score_plane(cells: Sequence[Comparison], condition: str | None, metric: Metric, rows: Axis, columns: Axis) -> str:
    """A condition's score over two axes as an inline SVG.

    Bold where the estimate is above every negative control there, grey where it is not, a red cross where a gate
    failed.

    Args:
        cells: one for each pair of places.
        condition: its name; None for the negative control that is hardest to beat at each place.
        metric: which score.
        rows: the axis on the left.
        columns: the axis below.
    """
    shades = Shades(cells, metric)
    places = [
        sorted({sortable(axis.value(c.axes)): axis.label(c.axes) for c in cells}.items()) for axis in (rows, columns)
    ]
    index = [{place: k for k, (place, _) in enumerate(some)} for some in places]
    filled: dict[tuple[int, int], Field] = {}
    for c in cells:
        name = c.hardest if condition is None else condition
        value = None if name is None else c.mean(name, metric.name)
        at = index[0][sortable(rows.value(c.axes))], index[1][sortable(columns.value(c.axes))]
        filled[at] = Field(value, 0.0 if value is None else shades.of(value), _mark(c, metric))
    labels = [[label for _, label in some] for some in places]
    what = "hardest negative control" if condition is None else condition
    name = f"{what}, {metric.title}, by {rows.one} and {columns.one}"
    # Beside few rows there is room for a word alone.
    titles = rows.word.replace("_", " "), columns.title.removesuffix(LOG_NOTE)
    return plane(labels[0], labels[1], filled, titles, name, f"{name} {identity(cells)}")


def _mark(c: Comparison, metric: Metric) -> Mark:
    if not c.valid:
        return "bad"
    if not c.has_estimate:
        return "plain"
    return "bold" if c.finding(c.part, metric.name).is_above else "quiet"
