"""Draw docs/polymorphism.svg from the records of an experiment.

```
bridge experiment=polymorphism_features
python docs/draw_polymorphism.py outputs docs/polymorphism.svg
```
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.errors import BridgeError
from bridge.records.record import read_all
from bridge.results.comparison import Comparison
from bridge.results.joining import comparisons
from bridge.show.looks import QUIET, SETTINGS, png, standalone
from bridge.tasks import rotation, sae

# Task -> its row, and the conditions that are drawn, the first on top.
ROWS = {
    "rotation": ("states", rotation.TASK, ("rotated", "inputs", "shuffled_within", "random", "linear")),
    "sae": (
        "SAE features",
        sae.TASK,
        ("rotated", "inputs", "shuffled_within", "spectrum", "frozen", "random", "second"),
    ),
}


def draw(outputs: Path, path: Path) -> None:
    """Draw explained variance over sites: a row for each task, a column for each training step."""
    cells = [c for c in comparisons(read_all(outputs)) if c.task.name in ROWS and c.valid]
    steps = sorted({c.axes["step"] for c in cells})
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(11.0, 6.6), facecolor="white")
        axes = figure.subplots(2, len(steps), sharey="row", squeeze=False)
        for row, (name, (title, task, conditions)) in zip(axes, ROWS.items(), strict=True):
            for ax, step in zip(row, steps, strict=True):
                some = [c for c in cells if c.task.name == name and c.axes["step"] == step]
                _panel(ax, sorted(some, key=lambda c: float(c.axes["depth"])), task, conditions)
                when = "never trained" if step == 0 else f"step {step}"
                ax.set_title(f"{title}, {when}", loc="left", fontweight="bold", fontsize=10.5, pad=8)
            row[0].set_ylim(top=1.05)
            row[0].set_ylabel("explained variance")
            handles, labels = row[-1].get_legend_handles_labels()
            row[-1].legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        figure.subplots_adjust(left=0.06, right=0.86, top=0.94, bottom=0.13, wspace=0.07, hspace=0.55)
        path.write_bytes(png(figure) if path.suffix == ".png" else standalone(figure).encode())


def _panel(ax: Axes, cells: Sequence[Comparison], task: Any, conditions: Sequence[str]) -> None:
    """A line for each condition over sites; random controls with the range of their draws."""
    places = range(len(cells))
    for name in reversed(conditions):
        look = task.conditions.look(name)
        scores = [c.scores[name]["ev"] for c in cells]
        style: Any = {"color": look.color, "marker": look.marker, "markersize": 5, "linewidth": look.width}
        if look.dash:
            style["dashes"] = look.dash
        ax.plot(places, [s["mean"] for s in scores], label=name, **style)
        if task.conditions[name].ranked:
            bounds = [[s[end] for s in scores] for end in ("low", "high")]
            ax.fill_between(places, *bounds, color=look.color, alpha=0.15, linewidth=0)
    ax.axhline(0, color=QUIET, linewidth=0.6)
    ax.set_xticks(places, [c.place("depth") for c in cells], rotation=30, ha="right", fontsize=8.5)
    ax.grid(axis="y", color="#e6e9ec", linewidth=0.7)
    ax.set_axisbelow(True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python docs/draw_polymorphism.py OUTPUTS FILE.svg")
    try:
        draw(Path(sys.argv[1]), Path(sys.argv[2]))
    except BridgeError as error:
        sys.exit(f"draw_polymorphism: {error}")
