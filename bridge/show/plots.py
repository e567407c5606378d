"""Plots: an estimate beside its controls, one look per condition wherever it appears."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bridge.errors import RecordError
from bridge.records.record import read_all, runs_folder, write_whole
from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, conditions_in, grids, identity
from bridge.results.joining import comparisons
from bridge.results.metrics import Metric
from bridge.show.looks import (
    BAD,
    INK,
    QUIET,
    SETTINGS,
    accessible,
    fields,
    inline,
    legend_line,
    line,
    png,
    standalone,
    weight,
)
from bridge.show.places import joined_text, main_axis, others, positions, thinned
from bridge.tasks.base import Task

# A score without bounds is shaded from the lowest to the highest value of the plot.
LEAST_SPAN = 1e-9


def curves(cells: Sequence[Comparison], metric: Metric, axis: Axis | None) -> str:
    """Scores along an axis as an inline SVG: a line and a ribbon for every condition.

    Args:
        cells: one per place, in order.
        metric: which score.
        axis: along which the cells lie; None where the task has none.
    """
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(4.2, 3.2))
        ax = figure.add_axes((0.115, 0.16, 0.865, 0.735))
        draw_curves(ax, cells, metric, axis)
        label = f"{metric.title} along {'nothing' if axis is None else axis.one}"
        return inline(figure, f"{label} {identity(cells)}", accessible(label))


def draw_curves(ax: Axes, cells: Sequence[Comparison], metric: Metric, axis: Axis | None) -> None:
    """Draw into `ax` what `curves` shows. Points of cells whose gates failed are hollow."""
    task = cells[0].task
    xs, labels, title = positions(cells, axis)
    names = conditions_in(cells)
    gap = min((b - a for a, b in pairwise(xs)), default=1.0)
    shift = _side_by_side(task, names, gap) if len(xs) <= 8 else {}
    for rank, name in enumerate(reversed(names)):
        points = [
            (x, c, score)
            for x, c in zip(xs, cells, strict=True)
            if (score := c.scores.get(name, {}).get(metric.name)) is not None and score["mean"] is not None
        ]
        if points:
            _draw_line(ax, task, name, points, shift.get(name, 0.0), 3 + rank * 0.1, len(xs) > 12)
    margin = max(0.45 * gap, 0.06 * (xs[-1] - xs[0]))
    ax.set_xlim(xs[0] - margin, xs[-1] + margin)
    kept = thinned(xs, 0.055 + 0.014 * max(map(len, labels)))
    ax.set_xticks([xs[i] for i in kept], [labels[i] for i in kept])
    ax.set_xlabel(title, labelpad=3)
    _score_axis(ax, metric)
    off = list(dict.fromkeys(c.state for c in cells if not c.valid))
    if off:
        ax.text(1.0, 1.03, f"hollow: {' or '.join(off)}", transform=ax.transAxes, ha="right", va="bottom", color=BAD)


def _draw_line(
    ax: Axes,
    task: Task,
    name: str,
    points: Sequence[tuple[float, Comparison, dict[str, Any]]],
    shift: float,
    zorder: float,
    is_crowded: bool,
) -> None:
    """One condition: its line, its markers, and the intervals of those points that have one."""
    style = line(task, name) | {"zorder": zorder}
    faint = task.conditions[name].faint
    at = [x + shift for x, _, _ in points]
    mean = [score["mean"] for _, _, score in points]
    bounds = [(x, score["low"], score["high"]) for x, (_, _, score) in zip(at, points, strict=True)
              if score["low"] is not None and score["high"] is not None]  # fmt: skip
    if len(bounds) > 1:
        where, low, high = zip(*bounds, strict=True)
        ax.fill_between(where, low, high, color=style["color"], alpha=0.08 if faint else 0.2, linewidth=0, zorder=2)
    elif bounds:
        ax.vlines(*bounds[0], color=style["color"], linewidth=style["linewidth"], alpha=0.6, zorder=2)
    if is_crowded:
        style["markersize"] *= 0.6
    # Dashes fit into each other's gaps only if lines begin at the same place, so only the markers are shifted.
    ax.plot([x - shift for x in at] if faint else at, mean, **style | {"marker": ""})
    for is_valid, face in ((True, style["color"]), (False, "white")):
        some = [i for i, (_, c, _) in enumerate(points) if c.valid == is_valid]
        ax.plot([at[i] for i in some], [mean[i] for i in some], **style | {"linestyle": "", "markerfacecolor": face})


def heat_map(cells: Sequence[Comparison], metric: Metric, axis: Axis | None) -> str:
    """Conditions by places on an axis as an inline SVG, the score written into each field."""
    names, task = conditions_in(cells), cells[0].task
    with mpl.rc_context(SETTINGS):
        width = max(4.2, 1.35 + 0.42 * len(cells))
        _, labels, title = positions(cells, axis)
        is_upright = len(cells) <= 8 or max(map(len, labels)) <= 3
        low = 0.47 if is_upright else 0.75
        height = low + 0.28 + 0.235 * len(names)
        figure = Figure(figsize=(width, height))
        ax = figure.add_axes((1.24 / width, low / height, (width - 1.31) / width, (height - low - 0.25) / height))
        colors, shades = mpl.colormaps["Blues"], Shades(cells, metric)
        filled: list[tuple[tuple[int, int], Any]] = []
        for i, name in enumerate(names):
            for j, c in enumerate(cells):
                value = c.mean(name, metric.name)
                shade = 0.0 if value is None else shades.of(value)
                filled.append(((j, i), "white" if value is None else colors(0.9 * shade)))
                label = "·" if value is None else f"{value:.2f}"
                ax.text(j + 0.5, i + 0.5, label, ha="center", va="center", fontsize=8.5, weight=weight(task, name),
                        color="white" if shade > 0.55 else INK)  # fmt: skip
        fields(ax, *zip(*filled, strict=True))
        ax.set(xlim=(0, len(cells)), ylim=(len(names), 0))
        ax.set_yticks([i + 0.5 for i in range(len(names))], names)
        ax.set_xticks([j + 0.5 for j in range(len(cells))], labels)
        ax.tick_params(length=0)
        for tick, name in zip(ax.get_yticklabels(), names, strict=True):
            tick.set(color=task.conditions.look(name).color, weight=weight(task, name))
        for tick, c in zip(ax.get_xticklabels(), cells, strict=True):
            if not c.valid:
                tick.set(color=BAD)
        ax.spines[:].set_visible(False)
        if not is_upright:
            ax.tick_params(axis="x", rotation=60)
        ax.set_xlabel(title, labelpad=3)
        off = list(dict.fromkeys(c.state for c in cells if not c.valid))
        if off:
            ax.text(1.0, 1.02, f"red: {' or '.join(off)}", transform=ax.transAxes, ha="right", va="bottom", color=BAD)
        ax.text(0.0, 1.02, metric.title, transform=ax.transAxes, ha="left", va="bottom", color=QUIET)
        label = f"{metric.name} by condition{'' if axis is None else f' and {axis.one}'}"
        return inline(figure, f"heat map {metric.name} {identity(cells)}",
                      accessible(label, width if width > 4.2 else None))  # fmt: skip


class Shades:
    """How dark the field of a score is, from 0 to 1, the best the darkest."""

    def __init__(self, cells: Sequence[Comparison], metric: Metric) -> None:
        means = [m for c in cells for name in c.scores if (m := c.mean(name, metric.name)) is not None]
        self.low, self.high = (0.0, 1.0) if metric.is_unit else (min(means, default=0.0), max(means, default=1.0))
        self.better = metric.higher_is_better

    def of(self, value: float) -> float:
        """The shade of one score."""
        shade = min(max((value - self.low) / max(self.high - self.low, LEAST_SPAN), 0.0), 1.0)
        return shade if self.better else 1.0 - shade


def write_figure(source: str | Path | Sequence[Comparison], path: str | Path) -> Path:
    """Write curves of every grid of one task along its first axis, part by part, with all conditions in one legend.

    Args:
        source: an outputs folder, or comparisons; those of the first task are drawn.
        path: where to; .svg or .png.

    Raises:
        RecordError: no finished cell, or `path` cannot be written.
    """
    cells = comparisons(read_all(source)) if isinstance(source, str | Path) else list(source)
    if not cells:
        where = runs_folder(source) if isinstance(source, str | Path) else "what was given"
        raise RecordError(f"no finished cell in {where}; wanted at least one: run bridge first, then draw the figure")
    # Tasks with an own report draw their own plots.
    task = next((c.task for c in cells if not c.task.own_report), cells[0].task)
    shown = grids([c for c in cells if c.task is task])
    strips = _strips(shown)
    n_columns = max(len(strip) for _, strip in strips)
    with mpl.rc_context(SETTINGS):
        height = 2.6 * len(strips) + 0.8
        figure = Figure(figsize=(max(10.0 * n_columns / 3, 5.0), height), facecolor="white")
        axes = figure.subplots(len(strips), n_columns, squeeze=False)
        figure.subplots_adjust(
            left=0.045, right=0.99, top=1 - 0.72 / height, bottom=1.18 / height, hspace=0.8, wspace=0.14
        )
        for (heading, strip), row in zip(strips, axes, strict=True):
            for ax, (grid, on) in zip(row, strip, strict=False):
                axis = main_axis(grid)
                draw_curves(ax, on, task.by_name[on[0].head], axis)
                ax.set_title(joined_text(grid.title, others(on[0], axis)), fontsize=9.5, pad=20, loc="left")
            for ax in row[len(strip) :]:
                ax.set_axis_off()
            box = row[0].get_position()
            figure.text(box.x0, box.y1 + 0.45 / height, heading, fontsize=11, weight="bold", va="bottom")
        names = conditions_in(c for _, strip in strips for _, on in strip for c in on)
        handles = [Line2D([], [], **legend_line(task, n), label=n) for n in names]
        figure.legend(
            handles=handles,
            loc="lower center",
            ncols=min(6, len(names)),
            frameon=False,
            fontsize=8.5,
            handlelength=2.8,
            columnspacing=1.6,
        )
        path = Path(path)
        write_whole(path, png(figure) if path.suffix == ".png" else standalone(figure).encode())
    return path


_Strip = tuple[str, list[tuple[Grid, list[Comparison]]]]


def _strips(shown: Sequence[Grid]) -> list[_Strip]:
    """Rows of at most three panels: a heading, then the grid and the curve of each; the headline part first."""
    rows: dict[str, list[tuple[Grid, list[Comparison]]]] = {}
    for heading in dict.fromkeys(grid.heading for grid in shown):
        for part in shown[0].task.part_names:
            for grid in shown:
                if grid.heading == heading and (on := on_part(along_main(grid), part)):
                    title = f"{heading}: {on[0].title_of(part)}" if grid.task.parts else heading
                    rows.setdefault(title, []).append((grid, on))
    return [(heading, row[i : i + 3]) for heading, row in rows.items() for i in range(0, len(row), 3)]


def along_main(grid: Grid) -> list[Comparison]:
    """The cells of a grid along its main axis; its fixed cell where it has none."""
    axis = main_axis(grid)
    return [grid.fixed] if axis is None else grid.along(axis)


def on_part(cells: Sequence[Comparison], part: str) -> list[Comparison]:
    """The cells of a curve on a part of the items; none where the headline has all items and `part` is "all"."""
    if part == "all" and all(c.is_all_headline for c in cells):
        return []
    return [on for c in cells if (on := c.on(part)) is not None]


def _side_by_side(task: Task, names: Sequence[str], gap: float) -> dict[str, float]:
    """Small shifts along the axis, so that points of coinciding lines stay distinguishable."""
    shift: dict[str, float] = {}
    for kinds, share in ((("negative", "baseline", "mark"), 0.5), (("ceiling", "reference"), 0.25)):
        some = [n for n in names if task.conditions[n].kind in kinds]
        shift |= {n: (i - (len(some) - 1) / 2) * gap * share / len(some) for i, n in enumerate(some)}
    return shift


def _score_axis(ax: Axes, metric: Metric) -> None:
    if metric.is_unit:
        ax.set_ylim(-0.025, 1.025)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    ax.grid(axis="y", color="#e6e9ec", linewidth=0.7)
    ax.set_axisbelow(True)
    # The label is above the plot, because a rotated label beside it takes width.
    ax.text(-0.1, 1.03, metric.title, transform=ax.transAxes, ha="left", va="bottom", color=QUIET)
