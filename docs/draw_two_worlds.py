"""Draw docs/two_worlds.svg from the records of two sweeps.

```
bridge sweep two_worlds && bridge sweep limits
python docs/draw_two_worlds.py outputs docs/two_worlds.svg
```
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.errors import BridgeError
from bridge.records.manifest import read
from bridge.records.record import read_all
from bridge.results.comparison import Comparison
from bridge.results.joining import comparisons
from bridge.show.looks import QUIET, SETTINGS, png, standalone
from bridge.tasks.translate import TASK

# Data set -> its panel of the first row, and the part of the items that is shown there.
WORLDS = {
    "facts": ("a  facts, all answers", "all"),
    "attributes": ("b  new nouns", "new"),
    "attributes_unseen_words": ("c  new nouns in new words", "new"),
}
CONTROLS = ("same_model", "lookup", "bag_of_words", "shuffled", "fitted")
SPLITS = {
    "attributes": ("new nouns", "-", "o"),
    "attributes_unseen_words": ("... in unseen words", "-.", "D"),
    "attributes_unseen_combination": ("... of unseen pairs of values", "--", "s"),
    "attributes_unseen_value": ("... of an unseen value", ":", "v"),
}
# Fixed values where the x axis is another one: the layer that carries most, and the largest number of fit rows.
LAYER, N_FIT = 2, 190
TRAINED = 260


def draw(outputs: Path, path: Path) -> None:
    """Draw each data set over layers, then new answers over the number of fit rows and of missing values."""
    worlds = _cells(outputs, "two_worlds", lambda c: c.config["injection"]["name"] == "lm_head")
    limits = [on for c in _cells(outputs, "limits", lambda c: _layer(c) == LAYER) if (on := c.on("new")) is not None]
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(11.0, 8.2), facecolor="white")
        axes = figure.subplots(2, 3)
        for ax, (name, (title, part)) in zip(axes[0], WORLDS.items(), strict=True):
            some = [c for c in worlds if c.config["dataset"]["name"] == name]
            _over_layers(ax, [on for c in some if (on := c if part == "all" else c.on(part)) is not None], title)
        axes[0, 2].legend(loc="center right", bbox_to_anchor=(1.0, 0.68), frameon=False, fontsize=8.5)
        _over_rows(axes[1, 0], [c for c in limits if c.config["dataset"]["n_missing"] == 0])
        _over_missing(axes[1, 1], [c for c in limits if c.axes["n_fit"] == N_FIT])
        for ax in axes.flat[:5]:
            ax.set_ylim(-0.03, 1.05)
            ax.grid(axis="y", color="#e6e9ec", linewidth=0.7)
            ax.set_axisbelow(True)
            ax.tick_params(colors=QUIET)
        for ax in axes[:, 0]:
            ax.set_ylabel("top-1")
        handles = dict(zip(*reversed(axes[1, 0].get_legend_handles_labels()), strict=True))
        handles |= dict(zip(*reversed(axes[1, 1].get_legend_handles_labels()), strict=True))
        axes[1, 2].set_axis_off()
        axes[1, 2].legend(handles.values(), handles.keys(), loc="center left", frameon=False, fontsize=9)
        figure.subplots_adjust(left=0.06, right=0.99, top=0.95, bottom=0.07, wspace=0.2, hspace=0.36)
        path.write_bytes(png(figure) if path.suffix == ".png" else standalone(figure).encode())


def _cells(outputs: Path, sweep: str, wanted: Callable[[Comparison], bool]) -> list[Comparison]:
    """The valid cells of a sweep; those of an untrained source whose pairing gate failed are drawn hollow."""
    cells = comparisons(read_all(outputs, read(outputs, sweep).run_ids))
    return [c for c in cells if wanted(c) and (c.valid or _n_steps(c) != TRAINED)]


def _layer(c: Comparison) -> int:
    return int(c.axes["layer"][0])


def _n_steps(c: Comparison) -> int:
    return int(c.config["pair"]["source"]["zoo"]["n_steps"])


def _over_layers(ax: Axes, cells: Sequence[Comparison], title: str) -> None:
    """A line for each seed of both models."""
    ax.set_title(title, loc="left", fontweight="bold", fontsize=10.5, pad=8)
    seeds = sorted({c.config["pair"]["source"]["zoo"]["seed"] for c in cells})
    for control, is_trained in [*((control, True) for control in CONTROLS), ("fitted", False)]:
        look = TASK.conditions.look(control)
        label = control if is_trained else "fitted, source of one training step"
        color = look.color if is_trained else QUIET
        for seed in seeds:
            some = [c for c in cells if c.config["pair"]["source"]["zoo"]["seed"] == seed]
            some = [c for c in some if (_n_steps(c) == TRAINED) == is_trained and control in c.scores]
            xs, ys = [_layer(c) for c in some], [c.scores[control]["top1"]["mean"] for c in some]
            style: Any = {"color": color, "marker": look.marker, "markersize": 4, "alpha": 0.75}
            ax.plot(xs, ys, linewidth=1.0, label=label, **style)
            label = "_nolegend_"
            off = [(x, y) for x, y, c in zip(xs, ys, some, strict=True) if not c.valid]
            hollow = style | {"linestyle": "", "alpha": 1, "markerfacecolor": "white"}
            ax.plot([x for x, _ in off], [y for _, y in off], **hollow)
    ax.set_xticks([1, 2, 3, 4])
    ax.set_xlabel("layer of the source")


def _over_rows(ax: Axes, cells: Sequence[Comparison]) -> None:
    ax.set_title(f"d  fit rows, layer {LAYER}", loc="left", fontweight="bold", fontsize=10.5, pad=8)
    sizes = sorted({c.axes["n_fit"] for c in cells})
    _splits(ax, cells, lambda c: float(sizes.index(c.axes["n_fit"])), ("lookup", "bag_of_words", "planted"))
    ax.set_xticks(range(len(sizes)), [str(n) for n in sizes])
    ax.set_xlabel("nouns to fit on, n")


def _over_missing(ax: Axes, cells: Sequence[Comparison]) -> None:
    title = f"e  values left out, layer {LAYER}, n = {N_FIT}"
    ax.set_title(title, loc="left", fontweight="bold", fontsize=10.5, pad=8)
    controls = ("lookup", "bag_of_words", "native_target")
    _splits(ax, cells, lambda c: float(c.config["dataset"]["n_missing"]), controls)
    ax.set_xticks([0, 1, 2, 3])
    ax.set_xlabel("values that the description leaves out, of six")


def _splits(ax: Axes, cells: Sequence[Comparison], x: Callable[[Comparison], float], controls: Sequence[str]) -> None:
    """The fitted map of each split with its 95 % interval; controls of all splits as thin lines."""
    for i, (name, (label, dash, marker)) in enumerate(SPLITS.items()):
        some = sorted((c for c in cells if c.config["dataset"]["name"] == name), key=x)
        xs = [x(c) + 0.05 * (i - 1.5) for c in some]
        scores = [c.scores["fitted"]["top1"] for c in some]
        ys = [s["mean"] for s in scores]
        bars = [[s["mean"] - s["low"] for s in scores], [s["high"] - s["mean"] for s in scores]]
        style: Any = {"linestyle": dash, "marker": marker, "color": TASK.conditions.look("fitted").color}
        ax.errorbar(xs, ys, yerr=bars, label=f"fitted: {label}", linewidth=1.8, markersize=5, elinewidth=0.9, **style)
        for control in controls:
            if any(control not in c.scores for c in some):
                continue
            look = TASK.conditions.look(control)
            ys = [c.scores[control]["top1"]["mean"] for c in some]
            told = control if i == 0 else "_nolegend_"
            thin: Any = {"linestyle": dash, "linewidth": 0.9, "markersize": 4, "marker": look.marker}
            ax.plot(xs, ys, color=look.color, label=told, **thin)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python docs/draw_two_worlds.py OUTPUTS FILE.svg")
    try:
        draw(Path(sys.argv[1]), Path(sys.argv[2]))
    except BridgeError as error:
        sys.exit(f"draw_two_worlds: {error}")
