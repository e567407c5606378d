"""Plots: a fitted score beside its controls, one look per control wherever it appears."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bridge.controls.names import KINDS
from bridge.errors import RecordError
from bridge.records.record import read_all, runs_folder, write_whole
from bridge.results.comparison import Comparison, comparisons
from bridge.results.curves import Grid, controls_in, grids, identity, layer_label, layers, state, withhold
from bridge.show.looks import (
    BAD,
    INK,
    LOOKS,
    METRIC_LABELS,
    QUIET,
    SETTINGS,
    accessible,
    fields,
    inline,
    legend_line,
    line,
    png,
    standalone,
)


def curves(cells: Sequence[Comparison], metric: str, along: str) -> str:
    """Scores along layers or sizes as an inline SVG: a line and a ribbon for every control.

    Args:
        cells: one per point, in order.
        metric: a key of `METRIC_LABELS`.
        along: "layers" or "sizes".
    """
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(4.2, 3.2))
        ax = figure.add_axes((0.115, 0.16, 0.865, 0.735))
        draw_curves(ax, cells, metric, along)
        label = f"{METRIC_LABELS[metric]} along {along}"
        return inline(figure, f"{label} {identity(cells)}", accessible(label))


def draw_curves(ax: Axes, cells: Sequence[Comparison], metric: str, along: str) -> None:
    """Draw into `ax` what `curves` shows. Points of cells whose gates failed are hollow."""
    xs, labels, title = _axis(cells, along)
    names = controls_in(cells)
    gap = min((b - a for a, b in pairwise(xs)), default=1.0)
    shift = _side_by_side(names, gap) if len(xs) <= 8 else {}
    for rank, name in enumerate(reversed(names)):
        points = [
            (x + shift.get(name, 0.0), c, c.scores[name][metric])
            for x, c in zip(xs, cells, strict=True)
            if metric in c.scores.get(name, {})
        ]
        if not points:
            continue
        at = [x for x, _, _ in points]
        mean, low, high = ([s[k] for _, _, s in points] for k in ("mean", "low", "high"))
        style = line(name) | {"zorder": 3 + rank * 0.1}
        faint = KINDS[name].kind in ("ceiling", "reference")
        if len(points) > 1:
            ax.fill_between(at, low, high, color=style["color"], alpha=0.08 if faint else 0.2, linewidth=0, zorder=2)
        else:
            ax.vlines(at, low, high, color=style["color"], linewidth=style["linewidth"], alpha=0.6, zorder=2)
        if len(xs) > 12:
            style["markersize"] *= 0.6
        # Dashes fill each other's pauses only where the lines begin at the same place; the markers stand apart.
        ax.plot([x - shift.get(name, 0.0) for x in at] if faint else at, mean, **style | {"marker": ""})
        for is_valid, face in ((True, style["color"]), (False, "white")):
            some = [i for i, (_, c, _) in enumerate(points) if c.valid == is_valid]
            ax.plot(
                [at[i] for i in some], [mean[i] for i in some], **style | {"linestyle": "", "markerfacecolor": face}
            )
    margin = max(0.45 * gap, 0.06 * (xs[-1] - xs[0]))
    ax.set_xlim(xs[0] - margin, xs[-1] + margin)
    kept = _thinned(xs, 0.055 + 0.014 * max(map(len, labels)))
    ax.set_xticks([xs[i] for i in kept], [labels[i] for i in kept])
    ax.set_xlabel(title, labelpad=3)
    _score_axis(ax, metric)
    off = list(dict.fromkeys(state(c) for c in cells if not c.valid))
    if off:
        ax.text(1.0, 1.03, f"hollow: {' or '.join(off)}", transform=ax.transAxes, ha="right", va="bottom", color=BAD)


def heat_map(cells: Sequence[Comparison], metric: str = "top1") -> str:
    """Controls by layers as an inline SVG, the score written into each field."""
    names = controls_in(cells)
    with mpl.rc_context(SETTINGS):
        width = max(4.2, 1.35 + 0.42 * len(cells))
        _, labels, title = _axis(cells, "layers")
        is_upright = len(cells) <= 8 or max(map(len, labels)) <= 3
        low = 0.47 if is_upright else 0.75
        height = low + 0.28 + 0.235 * len(names)
        figure = Figure(figsize=(width, height))
        ax = figure.add_axes((1.24 / width, low / height, (width - 1.31) / width, (height - low - 0.25) / height))
        colors = mpl.colormaps["Blues"]
        filled: list[tuple[tuple[int, int], Any]] = []
        for i, name in enumerate(names):
            for j, c in enumerate(cells):
                found = c.scores.get(name, {}).get(metric)
                value = 0.0 if found is None else float(found["mean"])
                filled.append(((j, i), "white" if found is None else colors(0.9 * value)))
                label = "·" if found is None else f"{value:.2f}"
                bold = "bold" if name == "fitted" else "normal"
                ax.text(
                    j + 0.5,
                    i + 0.5,
                    label,
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    weight=bold,
                    color="white" if value > 0.55 else INK,
                )
        fields(ax, *zip(*filled, strict=True))
        ax.set(xlim=(0, len(cells)), ylim=(len(names), 0))
        ax.set_yticks([i + 0.5 for i in range(len(names))], names)
        ax.set_xticks([j + 0.5 for j in range(len(cells))], labels)
        ax.tick_params(length=0)
        for tick, name in zip(ax.get_yticklabels(), names, strict=True):
            tick.set(color=LOOKS[name].color, weight="bold" if name == "fitted" else "normal")
        for tick, c in zip(ax.get_xticklabels(), cells, strict=True):
            if not c.valid:
                tick.set(color=BAD)
        ax.spines[:].set_visible(False)
        if not is_upright:
            ax.tick_params(axis="x", rotation=60)
        ax.set_xlabel(title, labelpad=3)
        off = list(dict.fromkeys(state(c) for c in cells if not c.valid))
        if off:
            ax.text(1.0, 1.02, f"red: {' or '.join(off)}", transform=ax.transAxes, ha="right", va="bottom", color=BAD)
        ax.text(0.0, 1.02, METRIC_LABELS[metric], transform=ax.transAxes, ha="left", va="bottom", color=QUIET)
        return inline(
            figure,
            f"heat map {metric} {identity(cells)}",
            accessible(f"{metric} by control and layer", width if width > 4.2 else None),
        )


def write_figure(found: str | Path | Sequence[Comparison], path: str | Path) -> Path:
    """Write curves over layers of every grid, on new answers and on all, with all controls in one legend.

    Args:
        found: an outputs folder, or comparisons.
        path: where to; .svg or .png.

    Raises:
        RecordError: no finished cell, or `path` cannot be written.
    """
    cells = comparisons(read_all(found)) if isinstance(found, str | Path) else list(found)
    if not cells:
        where = runs_folder(found) if isinstance(found, str | Path) else "what was given"
        raise RecordError(f"no finished cell in {where}; run bridge first, then draw the figure")
    shown = grids([withhold(c) for c in cells])
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
            for ax, (title, on) in zip(row, strip, strict=False):
                draw_curves(ax, on, "top1", "layers")
                ax.set_title(f"{title}, n={on[0].data['n_fit']}", fontsize=9.5, pad=20, loc="left")
            for ax in row[len(strip) :]:
                ax.set_axis_off()
            box = row[0].get_position()
            figure.text(box.x0, box.y1 + 0.45 / height, heading, fontsize=11, weight="bold", va="bottom")
        names = controls_in(c for _, strip in strips for _, on in strip for c in on)
        handles = [Line2D([], [], **legend_line(n), label=n) for n in names]
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


_Strip = tuple[str, list[tuple[str, list[Comparison]]]]


def _strips(shown: Sequence[Grid]) -> list[_Strip]:
    """Rows of at most three panels: a heading, then the title and the curve of each; new answers first."""
    rows: dict[str, list[tuple[str, list[Comparison]]]] = {}
    for heading in dict.fromkeys(grid.heading for grid in shown):
        for part in ("new", "all"):
            for grid in shown:
                if grid.heading == heading and (on := _on(grid.along_layers(), part)):
                    rows.setdefault(f"{heading}: {part} answers", []).append((grid.title, on))
    return [(heading, row[i : i + 3]) for heading, row in rows.items() for i in range(0, len(row), 3)]


def _on(cells: Sequence[Comparison], part: str) -> list[Comparison]:
    """The cells of a curve on a part of the items; none where all items are new and `part` is "all"."""
    if part == "all" and all(c.is_all_new for c in cells):
        return []
    return [on for c in cells if (on := c.on(part)) is not None]


def _side_by_side(names: Sequence[str], gap: float) -> dict[str, float]:
    """Small shifts along the axis, so that points of lines that lie on top of each other stay tellable."""
    shift: dict[str, float] = {}
    for kinds, share in ((("negative", "baseline", "mark"), 0.5), (("ceiling", "reference"), 0.25)):
        some = [n for n in names if KINDS[n].kind in kinds]
        shift |= {n: (i - (len(some) - 1) / 2) * gap * share / len(some) for i, n in enumerate(some)}
    return shift


def _score_axis(ax: Axes, metric: str) -> None:
    if metric == "top1":
        ax.set_ylim(-0.025, 1.025)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    ax.grid(axis="y", color="#e6e9ec", linewidth=0.7)
    ax.set_axisbelow(True)
    # Beside a narrow plot an upright label costs width; above it, it reads like the rest of the text.
    ax.text(-0.1, 1.03, METRIC_LABELS[metric], transform=ax.transAxes, ha="left", va="bottom", color=QUIET)


def _axis(cells: Sequence[Comparison], along: str) -> tuple[list[float], list[str], str]:
    """Positions, tick labels and title of the axis that the cells lie along."""
    if along == "sizes":
        sizes = [c.data["n_fit"] for c in cells]
        return [math.log10(n) for n in sizes], [str(n) for n in sizes], "items to fit on, n (log scale)"
    both = [layers(c) for c in cells]
    sources = [float(source) for source, _ in both]
    if len(set(sources)) < len(sources):
        return [float(i) for i in range(len(both))], [layer_label(c) for c in cells], "layer, source → target"
    if all(source == target for source, target in both):
        return sources, [str(source) for source, _ in both], "layer, the same in both models"
    targets = {target for _, target in both}
    if len(both) > 1 and len(targets) == 1:
        return sources, [str(source) for source, _ in both], f"layer of the source, into {targets.pop()} of the target"
    return sources, [layer_label(c) for c in cells], "layer, source → target"


def _thinned(xs: Sequence[float], apart: float) -> list[int]:
    """Indices of ticks that leave each other room; the last always stays."""
    least = apart * (xs[-1] - xs[0])
    kept = [len(xs) - 1]
    for i in range(len(xs) - 2, -1, -1):
        if xs[kept[-1]] - xs[i] >= least:
            kept.append(i)
    return kept[::-1]
