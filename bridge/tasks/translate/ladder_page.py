"""The ladder of a report: learning curves of maps, as shares of the target's own score over the number of fit rows."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.errors import RecordError
from bridge.records.record import write_whole
from bridge.results.comparison import Comparison
from bridge.results.curves import identity
from bridge.results.ladders import Ladder, Rung, hardest
from bridge.show.looks import QUIET, SETTINGS, accessible, inline, png, standalone
from bridge.show.page import MANY_PANELS, Cell, figure, number, table, text
from bridge.tasks.translate.conditions import CONDITIONS

SHARE, SHARE_F1 = "fraction_of_native", "fraction_of_native_f1"
BASELINES = CONDITIONS.baselines
RIBBONS = ("same_model", *BASELINES, "clustered", "shuffled_within", "shuffled", "random", "identity", "mean")
# A map trained through the target has the colour of the same map fitted on states, and a dashed line.
COLORS = {
    "orthogonal": "#1b1f24",
    "linear": "#0b5cad",
    "affine": "#56b4e9",
    "lora": "#d55e00",
    "mlp": "#cc3d8f",
}
MORE_COLORS = ("#2f6b3a", "#8a6d00", "#7b3fb5", "#8c8c8c", "#a6471d", "#3f7d8c", "#b8a000", "#555555")
MARKERS = "osD^vP*X<>hd"
LEAD = (
    "Top-1 as a share of the target's own top-1 on the same items, over the number of rows that a map was fitted on. "
    "Lines are maps with 95 % intervals; solid ones are fitted on states, dashed ones are trained through the frozen "
    "target. Ribbons are controls: from the lowest to the highest 95 % bound that the control has beside any of the "
    "maps. The map that a reader would choose after looking at this figure has been searched for."
)


def section(some: Sequence[Ladder]) -> str:
    """Figure and table of every ladder; empty where there is none."""
    if not some:
        return ""
    panels = "".join(_panel(one) for one in some[:MANY_PANELS])
    more = len(some) - MANY_PANELS
    note = f'<p class="quiet">{more} more ladders as numbers only.</p>' if more > 0 else ""
    return f'<div class="panels wide">{panels}</div>{note}' + "".join(_numbers(one) for one in some)


def _panel(one: Ladder) -> str:
    off = sum(not c.valid for c in one.cells)
    note = f'<p class="note bad">{off} of {len(one.cells)} cells are dead or invalid (hollow).</p>' if off else ""
    return figure(f"{one.pair}, {one.title}", ladder_plot(one), note, one.cells[0].sizes)


def ladder_plot(one: Ladder) -> str:
    """The figure of one ladder as an inline SVG."""
    with mpl.rc_context(SETTINGS):
        drawn = Figure(figsize=(6.4, 4.4))
        draw_ladder(drawn.add_axes((0.095, 0.115, 0.67, 0.83)), one)
        return inline(
            drawn, f"ladder {identity(one.cells)}", accessible(f"share of native top-1 of {len(one.rungs)} maps")
        )


def draw_ladder(ax: Axes, one: Ladder) -> None:
    """Draw into `ax` what `ladder_plot` shows."""
    sizes = one.places
    xs = {n: math.log10(n) for n in sizes}
    gap = min((xs[b] - xs[a] for a, b in pairwise(sizes)), default=0.3)
    ends: list[tuple[float, str, str, bool]] = []
    for control in RIBBONS:
        envelopes = {n: bounds for n in sizes if (bounds := one.envelope(control, n)) is not None}
        if not envelopes:
            continue
        at = [xs[n] for n in envelopes]
        low, high = ([bounds[i] for bounds in envelopes.values()] for i in (0, 1))
        if len(at) == 1:
            at, low, high = [at[0] - gap / 4, at[0] + gap / 4], low * 2, high * 2
        color = CONDITIONS.look(control).color
        ax.fill_between(at, low, high, color=color, alpha=0.22, linewidth=0, zorder=1)
        ends.append(((low[-1] + high[-1]) / 2, control, color, False))
    ax.axhline(1.0, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    n_rungs = len(one.rungs)
    for i, rung in enumerate(one.rungs):
        cells = [(c, c.scores["fitted"][SHARE]) for c in rung.cells if SHARE in c.scores.get("fitted", {})]
        if not cells:
            continue
        look = _look(rung, i)
        shift = (i - (n_rungs - 1) / 2) * 0.3 * gap / max(n_rungs, 2)
        at = [xs[c.axes["n_fit"]] + shift for c, _ in cells]
        mean, low, high = ([float(s[k]) for _, s in cells] for k in ("mean", "low", "high"))
        ax.vlines(at, low, high, color=look["color"], linewidth=1, alpha=0.55, zorder=2)
        ax.plot(at, mean, **look | {"marker": ""}, zorder=3)
        for is_valid, face in ((True, look["color"]), (False, "white")):
            some = [k for k, (c, _) in enumerate(cells) if c.valid == is_valid]
            dots = look | {"linestyle": "", "markerfacecolor": face, "zorder": 4}
            ax.plot([at[k] for k in some], [mean[k] for k in some], **dots)
        ends.append((mean[-1], rung.name, look["color"], True))
    top = max([1.0, *(e[0] for e in ends)]) + 0.06
    ax.set(ylim=(-0.03, top), xlim=(xs[sizes[0]] - 0.4 * gap, xs[sizes[-1]] + 0.4 * gap))
    ax.set_xticks([xs[n] for n in sizes], [str(n) for n in sizes])
    ax.set_xlabel("rows to fit on, n (log scale)", labelpad=3)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.grid(axis="y", color="#e6e9ec", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.text(-0.07, 1.02, "share of the target's own top-1", transform=ax.transAxes, va="bottom", color=QUIET)
    _name(ax, ends, top)


def _name(ax: Axes, ends: Sequence[tuple[float, str, str, bool]], top: float) -> None:
    """Label each line and ribbon beside its end; labels that would overlap are moved apart."""
    least = 0.052 * (top + 0.03)
    ordered = sorted(ends, key=lambda end: end[0])
    heights: list[float] = []
    for value, *_ in ordered:
        heights.append(max(value, heights[-1] + least) if heights else max(value, -0.01))
    # Labels above the top edge move down, and push those below them.
    limit = top - 0.01
    for i in range(len(heights) - 1, -1, -1):
        heights[i] = min(heights[i], limit)
        limit = heights[i] - least
    right = ax.get_xlim()[1]
    for height, (value, name, color, is_map) in zip(heights, ordered, strict=True):
        weight = "bold" if is_map else "normal"
        to_end = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 0}
        ax.annotate(
            name,
            (right, value),
            xytext=(1.035, (height + 0.03) / (top + 0.03)),
            textcoords="axes fraction",
            va="center",
            ha="left",
            color=color,
            fontsize=9,
            weight=weight,
            annotation_clip=False,
            arrowprops=to_end | {"relpos": (0, 0.5)},
        )


def _look(rung: Rung, i: int) -> dict[str, Any]:
    name = rung.name.split()[0]
    base = name.removesuffix("_target")
    color = COLORS.get(base, MORE_COLORS[i % len(MORE_COLORS)])
    if " " in rung.name:
        color = MORE_COLORS[i % len(MORE_COLORS)]
    dashed = name != base
    return {
        "color": color,
        "linewidth": 2.0,
        "linestyle": (0, (4, 2)) if dashed else "-",
        "marker": MARKERS[i % len(MARKERS)],
        "markersize": 5.5,
        "markeredgewidth": 1.1,
    }


def _numbers(one: Ladder) -> str:
    """A table of every map and size: its share, the hardest control, and further facts about the map."""
    whole = any(SHARE_F1 in c.scores.get("fitted", {}) for c in one.cells)
    heading = [
        "map",
        "n",
        "parameters",
        "share of native",
        "hardest negative control",
        *(name.replace("_", " ") for name in BASELINES),
        "clustered",
        "same_model",
    ]
    heading += ["share of native F1"] * whole
    heading += [
        "gold log-prob (nats; uniform, prior)",
        "held-out relative error (mean: 1)",
        "cycle error (permuted rows; mean: 1)",
        "held-back loss, nats (start; uniform, prior)",
        "verdict",
    ]
    rows = []
    muted = []
    for rung in one.rungs:
        for c in rung.cells:
            rows.append(_row(rung, c, whole))
            muted.append(not c.valid)
    body = table(heading, rows, muted)
    return f"<details><summary>{escape(one.pair)}, {escape(one.title)}: numbers</summary>{body}</details>"


def _row(rung: Rung, c: Comparison, whole: bool) -> list[str]:
    fit, chance = c.data["fit"], c.data["chance"]
    against = hardest(c, SHARE)
    logprob = c.scores.get("fitted", {}).get("logprob_nats")
    error = c.scores.get("fitted", {}).get("relative_error")
    training = fit.get("training")
    row: list[str] = [
        text(rung.name, "text tight"),
        c.place("n_fit"),
        f"{fit['n_parameters']:,}",
        _share(c.scores.get("fitted", {}).get(SHARE)),
        "–" if against is None else Cell(f"{_share(against[1])}<br><span class=quiet>{escape(against[0])}</span>"),
        *(_share(c.scores.get(name, {}).get(SHARE)) for name in (*BASELINES, "clustered", "same_model")),
    ]
    if whole:
        row.append(_share(c.scores.get("fitted", {}).get(SHARE_F1)))
    row += [
        "–"
        if logprob is None
        else f"{number(logprob['mean'])} ({number(chance['uniform_logprob_nats'])}, "
        f"{number(chance['prior_logprob_nats'])})",
        "–" if error is None else number(error["mean"]),
        "–"
        if "cycle" not in fit
        else f"{number(fit['cycle']['relative_error'])} ({number(fit['cycle']['permuted_relative_error'])})",
        "–"
        if training is None
        else f"{number(training['held_loss_nats'])} ({number(training['start_loss_nats'])}; "
        f"{number(-chance['uniform_logprob_nats'])}, {number(-chance['prior_logprob_nats'])})",
        text(c.verdict(), "text long" if c.valid else "text long bad"),
    ]
    return row


def _share(score: dict[str, float] | None) -> str:
    if score is None:
        return "–"
    bounds = f"[{score['low']:.0%}, {score['high']:.0%}]"
    return Cell(f"{score['mean']:.0%}<br><span class=quiet>{bounds}</span>", "tight")


def write_ladders(some: Sequence[Ladder], path: str | Path) -> Path:
    """Write ladders as one figure, two in a row.

    Args:
        some: from `bridge.results.ladders.ladders`.
        path: where to; .svg or .png.

    Raises:
        RecordError: no ladder, or `path` cannot be written.
    """
    if not some:
        raise RecordError(
            "no ladder to draw; wanted cells of at least two maps: run bridge experiment=interlingua first"
        )
    path = Path(path)
    with mpl.rc_context(SETTINGS):
        n_columns = min(2, len(some))
        n_rows = -(-len(some) // n_columns)
        drawn = Figure(figsize=(6.2 * n_columns, 4.6 * n_rows), facecolor="white")
        for i, one in enumerate(some):
            row, column = divmod(i, n_columns)
            left, bottom = (column + 0.085) / n_columns, (n_rows - 1 - row + 0.11) / n_rows
            ax = drawn.add_axes((left, bottom, 0.68 / n_columns, 0.75 / n_rows))
            draw_ladder(ax, one)
            ax.set_title(f"{one.pair}\n{one.title}", fontsize=9.5, weight="bold", pad=22, loc="left")
        write_whole(path, png(drawn) if path.suffix == ".png" else standalone(drawn).encode())
    return path
