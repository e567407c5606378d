"""Draw docs/two_worlds.svg from the records of two sweeps.

bridge sweep two_worlds && bridge sweep limits
python docs/draw_two_worlds.py outputs docs/two_worlds.svg
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.comparison import Comparison, comparisons
from bridge.errors import BridgeError
from bridge.looks import LOOKS, QUIET, SETTINGS, png, standalone
from bridge.record import read_all
from bridge.sweep.manifest import read

SPLITS = {
    "attributes": ("nouns", "-", "o"),
    "attributes_unseen_combination": ("nouns of pairs of values\nthat no fit row has", "--", "s"),
    "attributes_unseen_value": ("nouns of a value\nthat no fit row has", ":", "v"),
}
# Where something else is on the axis: the layer that carries most, and the most fit rows.
LAYER, N_FIT = 1, 200


def draw(outputs: Path, path: Path) -> None:
    """Three panels: both worlds over layers, and what the rotation carries over fit rows and over missing values."""
    worlds = _new(outputs, "two_worlds", lambda c: c.config["injection"]["name"] == "lm_head")
    limits = _new(outputs, "limits", lambda c: True)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(11.0, 4.6), facecolor="white")
        axes = figure.subplots(1, 3)
        _over_layers(axes[0], worlds)
        _over_rows(axes[1], [c for c in limits if _layer(c) == LAYER and c.config["dataset"]["n_missing"] == 0])
        _over_missing(axes[2], [c for c in limits if _layer(c) == LAYER and c.data["n_fit"] == N_FIT])
        for ax in axes:
            ax.set_ylim(-0.03, 1.05)
            ax.grid(axis="y", color="#e6e9ec", linewidth=0.7)
            ax.set_axisbelow(True)
            ax.set_ylabel("top-1 on new answers")
        handles = dict(zip(*reversed(axes[1].get_legend_handles_labels()), strict=True))
        handles |= dict(zip(*reversed(axes[2].get_legend_handles_labels()), strict=True))
        figure.subplots_adjust(left=0.06, right=0.99, top=0.87, bottom=0.27, wspace=0.28)
        style: Any = {"frameon": False, "fontsize": 8.5, "ncols": 4, "loc": "lower right"}
        figure.legend(handles.values(), handles.keys(), bbox_to_anchor=(1.0, 0.0), **style)
        path.write_bytes(png(figure) if path.suffix == ".png" else standalone(figure).encode())


def _new(outputs: Path, sweep: str, wanted: Callable[[Comparison], bool]) -> list[Comparison]:
    cells = comparisons(read_all(outputs, read(outputs, sweep).run_ids))
    return [on for c in cells if wanted(c) and c.valid and (on := c.on("new")) is not None]


def _layer(c: Comparison) -> int:
    return int(c.data["layers"]["source"])


def _over_layers(ax: Axes, cells: Sequence[Comparison]) -> None:
    ax.set_title("a  five seeds of both models", loc="left", fontweight="bold", fontsize=10.5, pad=14)
    seeds = sorted({c.config["pair"]["source"]["zoo"]["seed"] for c in cells})
    lines = [("attributes", "same_model", 260), ("attributes", "fitted", 260), ("attributes", "fitted", 1)]
    lines += [("facts", "fitted", 260), ("attributes", "shuffled_within", 260), ("attributes", "lookup", 260)]
    for world, control, n_steps in lines:
        look = LOOKS[control]
        label = f"{control}, {world}" + (", untrained source" if n_steps == 1 else "")
        for seed in seeds:
            some = [c for c in cells if _is(c, world, seed, n_steps) and control in c.scores]
            xs, ys = [_layer(c) for c in some], [c.scores[control]["top1"]["mean"] for c in some]
            style: Any = {"marker": look.marker, "linestyle": "-" if world == "attributes" else "--"}
            color = QUIET if n_steps == 1 else look.color
            ax.plot(xs, ys, color=color, linewidth=1.0, markersize=4, alpha=0.75, label=label, **style)
            label = "_nolegend_"
    ax.set_xticks([1, 2, 3, 4])
    ax.set_xlabel("layer of the source (fit: 240 nouns, 568 facts)")
    ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.76), frameon=False, fontsize=8)


def _is(c: Comparison, world: str, seed: int, n_steps: int) -> bool:
    zoo = c.config["pair"]["source"]["zoo"]
    return bool(c.config["dataset"]["name"] == world and (zoo["seed"], zoo["n_steps"]) == (seed, n_steps))


def _over_rows(ax: Axes, cells: Sequence[Comparison]) -> None:
    ax.set_title(f"b  fit rows, layer {LAYER}", loc="left", fontweight="bold", fontsize=10.5, pad=14)
    sizes = sorted({c.data["n_fit"] for c in cells})
    _splits(ax, cells, lambda c: float(sizes.index(c.data["n_fit"])), ("lookup", "shuffled_within", "planted"))
    ax.set_xticks(range(len(sizes)), [str(n) for n in sizes])
    ax.set_xlabel("nouns to fit on, n")


def _over_missing(ax: Axes, cells: Sequence[Comparison]) -> None:
    title = f"c  values left out, layer {LAYER}, n = {N_FIT}"
    ax.set_title(title, loc="left", fontweight="bold", fontsize=10.5, pad=14)
    _splits(
        ax, cells, lambda c: float(c.config["dataset"]["n_missing"]), ("lookup", "shuffled_within", "native_target")
    )
    ax.set_xticks([0, 1, 2, 3])
    ax.set_xlabel("values that the description leaves out, of six")


def _splits(ax: Axes, cells: Sequence[Comparison], x: Callable[[Comparison], float], controls: Sequence[str]) -> None:
    """The fitted map of each split with its 95 % interval; controls of all splits as small marks."""
    for i, (name, (label, dash, marker)) in enumerate(SPLITS.items()):
        some = sorted((c for c in cells if c.config["dataset"]["name"] == name), key=x)
        xs = [x(c) + 0.05 * (i - 1) for c in some]
        scores = [c.scores["fitted"]["top1"] for c in some]
        ys = [s["mean"] for s in scores]
        bars = [[s["mean"] - s["low"] for s in scores], [s["high"] - s["mean"] for s in scores]]
        style: Any = {"linestyle": dash, "marker": marker, "color": LOOKS["fitted"].color}
        ax.errorbar(xs, ys, yerr=bars, label=label, linewidth=1.8, markersize=5, elinewidth=0.9, **style)
        for control in controls:
            look = LOOKS[control]
            ys = [c.scores[control]["top1"]["mean"] for c in some]
            told = control if i == 0 else "_nolegend_"
            ax.plot(
                xs, ys, color=look.color, marker=look.marker, linestyle=dash, linewidth=0.9, markersize=4, label=told
            )
    ax.tick_params(colors=QUIET)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python docs/draw_two_worlds.py OUTPUTS FILE.svg")
    try:
        draw(Path(sys.argv[1]), Path(sys.argv[2]))
    except BridgeError as error:
        sys.exit(f"draw_two_worlds: {error}")
