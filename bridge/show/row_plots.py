"""Plots with one row for each condition: leads with their intervals, and scores on each part of the items."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.results.comparison import Comparison
from bridge.results.curves import conditions_in, identity
from bridge.results.verdicts import p_of
from bridge.show.looks import INK, QUIET, SETTINGS, accessible, inline, line, weight
from bridge.tasks.base import Task


def leads(c: Comparison) -> str:
    """The estimate minus every other condition with its 95 % interval as an inline SVG, by the head metric."""
    task, metric = c.task, c.task.by_name[c.head]
    contrasts = {n: by_metric[c.head] for n in task.conditions
                 if (by_metric := c.contrasts.get(n, {})).get(c.head, {}).get("difference") is not None}  # fmt: skip
    names = list(contrasts)
    with mpl.rc_context(SETTINGS):
        figure, ax = _rows(task, names, right=1.06)
        ax.axvline(0, color=INK, linewidth=0.9, zorder=1)
        for i, (name, contrast) in enumerate(contrasts.items()):
            color = task.conditions.look(name).color
            if contrast["low"] is not None and contrast["high"] is not None:
                ax.plot([contrast["low"], contrast["high"]], [i, i], color=color, linewidth=2, zorder=2)
            ax.plot([contrast["difference"]], [i], **_point(task, name, c.valid))
            ax.text(1.03, i, _lead_text(task, name, contrast).replace("-", "−"), va="center", fontsize=8,
                    color=QUIET, transform=ax.get_yaxis_transform())  # fmt: skip
        if metric.is_unit:
            ax.set_xlim(-1.05, 1.05)
        paired = "" if metric.items is None else ", paired by item"
        ax.set_xlabel(f"{c.estimate} − control, {metric.word}{paired}", labelpad=3)
        label = f"{c.estimate} minus control, {metric.name}"
        return inline(figure, f"leads {metric.name} {identity([c])}", accessible(label))


def _lead_text(task: Task, name: str, contrast: dict[str, Any]) -> str:
    """A difference with its p; a mark is not tested and has none."""
    p, condition = p_of(contrast), task.conditions[name]
    if p is None or (condition.drawn and not condition.ranked):
        return f"{contrast['difference']:+.2f}"
    return f"{contrast['difference']:+.2f}, p {f'{p:.3f}' if p >= 0.001 else '<0.001'}"


def by_part(c: Comparison) -> str:
    """Scores on each part of the items, condition by condition, as an inline SVG; on all where there are no parts."""
    task, metric = c.task, c.task.by_name[c.head]
    parts = [part.name for part in task.parts] or ["all"]
    names = conditions_in(on for part in parts if (on := c.on(part)) is not None)
    with mpl.rc_context(SETTINGS):
        figure, ax = _rows(task, names, right=0.12)
        for k, part in enumerate(parts):
            offset = -0.17 + 0.34 * k / (len(parts) - 1) if len(parts) > 1 else 0.0
            for i, name in enumerate(names):
                score = c.scores_of(part).get(name, {}).get(metric.name)
                if score is not None and score["mean"] is not None:
                    _score(ax, task.conditions.look(name).color, score, i + offset, k == 0, c.valid)
        for i in range(1, len(names)):
            ax.axhline(i - 0.5, color="#e6e9ec", linewidth=0.7, zorder=0)
        if metric.is_unit:
            ax.set_xlim(-0.03, 1.03)
        ax.set_xlabel(metric.title, labelpad=3)
        label = f"{metric.name} on {' and on '.join(c.title_of(part) for part in parts)}"
        return inline(figure, f"{label} {identity([c])}", accessible(label))


def _score(ax: Axes, color: str, score: dict[str, Any], y: float, is_headline: bool, is_valid: bool) -> None:
    """A mark with its interval; that of the headline part is bold, the others are faint."""
    if score["low"] is not None and score["high"] is not None:
        ax.plot([score["low"], score["high"]], [y] * 2, color=color, zorder=2,
                linewidth=2 if is_headline else 1, alpha=1 if is_headline else 0.6)  # fmt: skip
    ax.plot([score["mean"]], [y], linestyle="", color=color, zorder=3, markersize=5.5,
            marker="o" if is_headline else "|", markerfacecolor=color if is_valid else "white",
            markeredgewidth=1.4)  # fmt: skip


def _point(task: Task, name: str, is_valid: bool) -> dict[str, Any]:
    face = task.conditions.look(name).color if is_valid else "white"
    return line(task, name) | {"linestyle": "", "markersize": 6, "markerfacecolor": face, "zorder": 3}


def _rows(task: Task, names: Sequence[str], right: float) -> tuple[Figure, Axes]:
    """A figure with one row per condition, named on the left."""
    height = 0.62 + 0.25 * max(len(names), 1)
    figure = Figure(figsize=(4.2, height))
    ax = figure.add_axes((1.24 / 4.2, 0.47 / height, (4.2 - 1.24 - right - 0.05) / 4.2, (height - 0.55) / height))
    ax.set(ylim=(max(len(names), 1) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), names)
    for tick, name in zip(ax.get_yticklabels(), names, strict=True):
        tick.set(color=task.conditions.look(name).color, weight=weight(task, name))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return figure, ax
