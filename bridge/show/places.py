"""Places of points along an axis: positions in a plot, and labels."""

import math
from collections.abc import Iterable, Sequence

from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid
from bridge.results.joining import sortable

LOG_NOTE = " (log scale)"


def main_axis(grid: Grid) -> Axis | None:
    """The horizontal axis of plots of a whole grid: the searched one, or the first with several places."""
    return grid.task.searched or next(iter(grid.axes or grid.task.axes), None)


def lines(grid: Grid, axis: Axis | None) -> list[list[Comparison]]:
    """The cells of a grid along an axis, one line for every place on the others; one cell a line without an axis."""
    if axis is None:
        return [[c] for c in grid.cells]
    by_place: dict[tuple[object, ...], dict[object, Comparison]] = {}
    for c in grid.cells:
        others = tuple(sortable(other.value(c.axes)) for other in grid.task.axes if other is not axis)
        by_place.setdefault(others, {})[sortable(axis.value(c.axes))] = c
    return [[line[at] for at in sorted(line)] for _, line in sorted(by_place.items())]  # type: ignore[type-var]


def place_text(c: Comparison, axes: Iterable[Axis] | None = None) -> str:
    """Where a point lies, as in a caption: on some axes, or on all of its task.

    Example:
        The layer, which is searched, as "layer 2→4", the others as "n=200".
    """
    return ", ".join(
        f"{axis.word} {axis.label(c.axes)}" if axis.searched else f"{axis.word}={axis.label(c.axes)}"
        for axis in (c.task.axes if axes is None else axes)
    )


def others(c: Comparison, axis: Axis | None) -> str:
    """Where a point lies on all axes but one."""
    return place_text(c, (other for other in c.task.axes if other is not axis))


def joined_text(*texts: str) -> str:
    """Parts of a caption; empty ones fall away."""
    return ", ".join(text for text in texts if text)


def positions(cells: Sequence[Comparison], axis: Axis | None) -> tuple[list[float], list[str], str]:
    """Positions, tick labels and title of the axis that cells lie along, one cell for each place.

    Numbers stand where they are, or by their logarithm where the axis says so; names side by side.
    """
    if axis is None:
        return [float(i) for i in range(len(cells))], [""] * len(cells), ""
    places = [axis.value(c.axes) for c in cells]
    labels = [axis.label(c.axes) for c in cells]
    if places and all(isinstance(place, tuple) for place in places):
        return _of_pairs(places, labels, axis)
    if not all(isinstance(place, int | float) for place in places):
        return [float(i) for i in range(len(cells))], labels, axis.title
    if axis.log and all(place > 0 for place in places):
        return [math.log10(place) for place in places], labels, axis.title.removesuffix(LOG_NOTE) + LOG_NOTE
    return [float(place) for place in places], labels, axis.title.removesuffix(LOG_NOTE)


def _of_pairs(
    places: Sequence[tuple[object, ...]], labels: list[str], axis: Axis
) -> tuple[list[float], list[str], str]:
    """The first of each pair, if these are distinct."""
    sources = [place[0] for place in places]
    targets = {place[-1] for place in places}
    if len(set(sources)) < len(sources) or not all(isinstance(source, int | float) for source in sources):
        return [float(i) for i in range(len(places))], labels, axis.title
    xs = [float(source) for source in sources]  # type: ignore[arg-type]
    if all(place[0] == place[-1] for place in places):
        return xs, [str(source) for source in sources], f"{axis.one}, the same in both models"
    if len(places) > 1 and len(targets) == 1:
        title = f"{axis.one} of the source, into {targets.pop()} of the target"
        return xs, [str(source) for source in sources], title
    return xs, labels, axis.title


def thinned(xs: Sequence[float], apart: float) -> list[int]:
    """Indices of ticks that leave each other room; the last always stays."""
    least = apart * (xs[-1] - xs[0])
    kept = [len(xs) - 1]
    for i in range(len(xs) - 2, -1, -1):
        if xs[kept[-1]] - xs[i] >= least:
            kept.append(i)
    return kept[::-1]
