"""Plots with one row for each control: leads with their intervals, and scores on new and on known answers."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.controls.names import KINDS
from bridge.results.comparison import Comparison
from bridge.results.curves import identity
from bridge.results.verdicts import p_of
from bridge.show.looks import INK, LOOKS, METRIC_LABELS, QUIET, SETTINGS, accessible, inline, line


def leads(c: Comparison, metric: str = "top1") -> str:
    """Fitted minus every control with its 95 % interval as an inline SVG."""
    names = [n for n in KINDS if metric in c.contrasts.get(n, {})]
    with mpl.rc_context(SETTINGS):
        figure, ax = _rows(names, right=1.06)
        ax.axvline(0, color=INK, linewidth=0.9, zorder=1)
        for i, name in enumerate(names):
            found = c.contrasts[name][metric]
            ax.plot([found["low"], found["high"]], [i, i], color=LOOKS[name].color, linewidth=2, zorder=2)
            ax.plot([found["difference"]], [i], **_point(name, c.valid))
            ax.text(
                1.03,
                i,
                _lead_text(name, found).replace("-", "−"),
                va="center",
                fontsize=8,
                color=QUIET,
                transform=ax.get_yaxis_transform(),
            )
        ax.set_xlim(-1.05, 1.05)
        ax.set_xlabel("fitted − control, top-1, paired by item", labelpad=3)
        return inline(figure, f"leads {metric} {identity([c])}", accessible(f"fitted minus control, {metric}"))


def _lead_text(name: str, contrast: dict[str, Any]) -> str:
    """A difference with its p, which a mark to read a score against has not."""
    p = p_of(contrast)
    if p is None or (KINDS[name].drawn and not KINDS[name].ranked):
        return f"{contrast['difference']:+.2f}"
    return f"{contrast['difference']:+.2f}, p {f'{p:.3f}' if p >= 0.001 else '<0.001'}"


def by_answer(c: Comparison, metric: str = "top1") -> str:
    """Scores on new and on known answers, control by control, as an inline SVG."""
    names = [n for n in KINDS if any(n in part.get("scores", {}) for part in c.by_answer.values())]
    with mpl.rc_context(SETTINGS):
        figure, ax = _rows(names, right=0.12)
        for label, offset in (("new", -0.17), ("known", 0.17)):
            for i, name in enumerate(names):
                found = c.by_answer[label].get("scores", {}).get(name, {}).get(metric)
                if found is None:
                    continue
                color, is_new = LOOKS[name].color, label == "new"
                ax.plot(
                    [found["low"], found["high"]],
                    [i + offset] * 2,
                    color=color,
                    zorder=2,
                    linewidth=2 if is_new else 1,
                    alpha=1 if is_new else 0.6,
                )
                ax.plot(
                    [found["mean"]],
                    [i + offset],
                    linestyle="",
                    color=color,
                    zorder=3,
                    markersize=5.5,
                    marker="o" if is_new else "|",
                    markerfacecolor=color if c.valid else "white",
                    markeredgewidth=1.4,
                )
        for i in range(1, len(names)):
            ax.axhline(i - 0.5, color="#e6e9ec", linewidth=0.7, zorder=0)
        ax.set_xlim(-0.03, 1.03)
        ax.set_xlabel(METRIC_LABELS[metric], labelpad=3)
        label = f"{metric} on new and on known answers"
        return inline(figure, f"{label} {identity([c])}", accessible(label))


def _point(control: str, is_valid: bool) -> dict[str, Any]:
    face = LOOKS[control].color if is_valid else "white"
    return line(control) | {"linestyle": "", "markersize": 6, "markerfacecolor": face, "zorder": 3}


def _rows(names: Sequence[str], right: float) -> tuple[Figure, Axes]:
    """A figure with one row per control, named on the left."""
    height = 0.62 + 0.25 * max(len(names), 1)
    figure = Figure(figsize=(4.2, height))
    ax = figure.add_axes((1.24 / 4.2, 0.47 / height, (4.2 - 1.24 - right - 0.05) / 4.2, (height - 0.55) / height))
    ax.set(ylim=(max(len(names), 1) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), names)
    for tick, name in zip(ax.get_yticklabels(), names, strict=True):
        tick.set(color=LOOKS[name].color, weight="bold" if name == "fitted" else "normal")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return figure, ax
