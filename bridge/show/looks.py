"""The look of each condition in every plot, and figures as SVG text and PNG bytes."""

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from bridge.tasks.base import Task

INK, QUIET, BAD = "#1b1f24", "#59636e", "#b3161b"
SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.labelcolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.unicode_minus": True,
    "figure.dpi": 100,
}


def swatch(task: Task, condition: str) -> str:
    """A condition's line and marker beside text; the page must hold `swatches` of the task once."""
    return (
        f'<svg class="swatch" width="30" height="14" aria-hidden="true"><use href="#{_mark(task, condition)}"/></svg>'
    )


def swatches(tasks: Iterable[Task]) -> str:
    """The invisible SVG symbols that the `swatch`es of a page refer to."""
    symbols = "".join(_symbols(task) for task in tasks)
    return f'<svg width="0" height="0" style="position:absolute" aria-hidden="true">{symbols}</svg>'


@cache
def _symbols(task: Task) -> str:
    symbols = []
    for name in task.conditions:
        with mpl.rc_context(SETTINGS):
            figure = Figure(figsize=(0.34, 0.16))
            figure.patch.set_visible(False)
            ax = figure.add_axes((0, 0, 1, 1))
            ax.set_axis_off()
            ax.set(xlim=(0, 1), ylim=(0, 1))
            ax.plot([0.0, 0.5, 1.0], [0.5] * 3, **legend_line(task, name) | {"markevery": [1]})
            mark = _mark(task, name)
            drawn = inline(figure, mark, f'id="{mark}"')
        symbols.append(drawn.replace("<svg", "<symbol", 1).removesuffix("</svg>") + "</symbol>")
    return "".join(symbols)


def _mark(task: Task, condition: str) -> str:
    # Two tasks may draw conditions of one name in two ways.
    return f"look-{task.name}-{condition}"


def line(task: Task, condition: str) -> dict[str, Any]:
    """Keyword arguments of `Axes.plot` for a condition."""
    look = task.conditions.look(condition)
    return {
        "color": look.color,
        "linewidth": look.width,
        "linestyle": (look.start, look.dash) if look.dash else "-",
        "marker": look.marker,
        "markersize": 6.5 if condition == task.conditions.estimate else 5,
        "markeredgewidth": 1.1,
        "dash_capstyle": "butt",
    }


def legend_line(task: Task, condition: str) -> dict[str, Any]:
    """The same for a legend, with shorter dashes."""
    pauses = {"linestyle": (0, (3, 2))} if task.conditions.look(condition).dash[1:] == (9,) else {}
    return line(task, condition) | {"markersize": 5} | pauses


def weight(task: Task, condition: str) -> str:
    """The estimate's name is bold."""
    return "bold" if condition == task.conditions.estimate else "normal"


def fields(ax: Axes, corners: Sequence[tuple[int, int]], colors: Sequence[Any]) -> None:
    """Unit squares of a heat map; `corners` are their upper left ones, column before row."""
    squares = [[(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)] for j, i in corners]
    ax.add_collection(PolyCollection(squares, facecolors=colors, edgecolors="white", linewidths=1.5))


def accessible(label: str, wide: float | None = None) -> str:
    """Attributes of a plot in a page, with what a screen reader says.

    Args:
        label: what it says.
        wide: inches of a plot that has the page's width to itself: there its letters are about those of the text;
            None for one that fills its panel.
    """
    size = "" if wide is None else f' style="min-width:{75 * wide:.0f}px;max-width:{115 * wide:.0f}px"'
    return f'class="plot" role="img" aria-label="{escape(label)}"{size}'


def standalone(figure: Figure, salt: str = "bridge") -> str:
    """The figure as an SVG file; the same figure and salt give the same text."""
    with mpl.rc_context({"svg.hashsalt": salt}):
        target = io.StringIO()
        FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None})
    return target.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    target = io.BytesIO()
    figure.set_dpi(200)
    FigureCanvasAgg(figure).print_png(target, metadata={"Software": None})
    return target.getvalue()


def inline(figure: Figure, salt: str, attributes: str) -> str:
    """The figure as an element to put into a page: no header, no namespaces, no ids that another plot also has."""
    with mpl.rc_context(SETTINGS):
        whole = standalone(figure, salt)
    whole = whole[whole.index("<svg") :]
    whole = re.sub(r"<metadata>.*?</metadata>\s*", "", whole, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', whole)
    assert view is not None
    body = whole[whole.index(">") + 1 :]
    prefix = "p" + hashlib.sha256(salt.encode()).hexdigest()[:10]
    used = set(re.findall(r"#([\w-]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r"(url\(#|xlink:href=\"#)", rf"\1{prefix}-", body).replace("xlink:href", "href")
    return f"<svg {attributes} {view[0]}>{body}".strip()
