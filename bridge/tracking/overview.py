"""The summary run of a sweep at W&B: a table of all cells by all conditions, and heat maps of them."""

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.results.metrics import Metric
from bridge.tracking.client import Client, error_line
from bridge.tracking.curves import headline
from bridge.tracking.ledger import Entry, Ledger

# The most heat maps in one image; the table has the rest.
MAX_MAPS = 24


def send_summary(name: str, group: str, ledger: Ledger, client: Client, folder: Path) -> bool:
    """Send the summary of the ledger, unless it was sent before.

    Args:
        name: of the sweep.
        group: the W&B group.
        ledger: of the sweep.
        client: of W&B.
        folder: of the sweep.

    Returns:
        Whether it was sent by this call.

    Raises:
        OfflineError: the server could not be reached.
    """
    grids = _grids(ledger)
    if not grids:
        return False
    where = client.server if client.mode == "online" else client.mode
    text = json.dumps([where, client.project, [[row.__dict__ for row in e.rows] for g in grids for e in g]])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    note = ledger.folder / f"summary-{digest}"
    if note.exists():
        return False
    import wandb

    run = client.open(
        folder,
        client.mode,
        id=digest,
        resume="allow",
        name=f"summary of {name}",
        group=group,
        job_type="summary",
        config={"sweep": name},
    )
    columns, rows = _table(grids)
    content = {"cells": wandb.Table(columns=columns, data=rows), "heat_map": wandb.Image(_heat_map(grids))}
    try:
        run.log(content)
    # A table is uploaded immediately, and wandb raises any error of the upload.
    except Exception as error:
        if run.offline:
            raise
        with contextlib.suppress(Exception):
            run.finish(exit_code=1)
        raise client.fallen_back(f"W&B did not take the summary ({error_line(error)})") from error
    client.close(run)
    note.touch()
    return True


def _grids(ledger: Ledger) -> list[list[Entry]]:
    """The curves, grouped by all but the condition, in the order of every table.

    An estimate is left out if no negative control is beside it.
    """
    grids: dict[str, list[Entry]] = {}
    for entry in ledger.entries.values():
        if entry.curve.x is not None:
            grids.setdefault(entry.curve.base, []).append(entry)
    for base, entries in grids.items():
        conditions = entries[0].curve.task.conditions
        if not any(e.curve.control in conditions.negatives for e in entries):
            entries = grids[base] = [e for e in entries if not e.curve.is_estimate]
        order = list(conditions)
        entries.sort(key=lambda e: order.index(e.curve.control))
    return sorted((entries for entries in grids.values() if entries), key=_title)


def _title(entries: Sequence[Entry]) -> str:
    return ", ".join(entries[0].curve.tags)


def _places(entries: Sequence[Entry]) -> list[float]:
    return sorted({row.x for entry in entries for row in entry.rows})


def _valid(entries: Sequence[Entry], x: float) -> bool:
    return all(row.values["valid"] for e in entries if (row := e.at("scores", x)) is not None)


def _table(grids: Sequence[Sequence[Entry]]) -> tuple[list[str], list[list[Any]]]:
    """A row for every place of every grid, a column for every condition; a column says whether the cells are valid."""
    axis = grids[0][0].curve.x
    controls = list(dict.fromkeys(e.curve.control for entries in grids for e in entries))
    columns = [(m, c) for m in dict.fromkeys(m for entries in grids for m in _metrics(entries)) for c in controls]
    rows = []
    for entries in grids:
        for x in _places(entries):
            row_of = {e.curve.control: row for e in entries if (row := e.at("scores", x)) is not None}
            scores = [row_of[c].values.get(m) if c in row_of else None for m, c in columns]
            rows.append([_title(entries), x, _valid(entries, x), *scores])
    return ["fixed", str(axis), "valid", *(f"{m}/{c}" for m, c in columns)], rows


def _metrics(entries: Sequence[Entry]) -> list[str]:
    """The head metric, on the headline part first, then on all items."""
    task = entries[0].curve.task
    first = headline(task)
    return [task.head.name] if first is None else [first, task.head.name]


def _heat_map(grids: Sequence[Sequence[Entry]]) -> Any:
    """Conditions by places on the curve, a map for each grid and part of the items, as an image."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from PIL import Image

    from bridge.show.looks import BAD, INK, SETTINGS, png

    shown = maps(grids)[:MAX_MAPS]
    n_columns = min(3, len(shown))
    n_rows = -(-len(shown) // n_columns)
    widest = max(len(_places(entries)) for _, entries in shown)
    with rc_context(SETTINGS):
        size = (n_columns * (1.9 + 0.36 * max(widest, 4)), n_rows * 3.1)
        figure = Figure(figsize=size, facecolor="white", layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False).flat
        for ax, (metric, entries) in zip(axes, shown, strict=False):
            places = _places(entries)
            scores = [[_score(entry, x, metric) for x in places] for entry in entries]
            conditions = entries[0].curve.task.conditions
            low, high = _scale(entries[0].curve.task.head, scores)
            ax.imshow(scores, cmap="Blues", vmin=low, vmax=high, aspect="auto")
            for i, line in enumerate(scores):
                for j, score in enumerate(line):
                    label = "·" if math.isnan(score) else f"{score:.2f}".lstrip("0")
                    color = "white" if score > (low + high) / 2 else INK
                    ax.text(j, i, label, ha="center", va="center", fontsize=7, color=color)
            ax.set_xticks(range(len(places)), [f"{x:g}" for x in places], fontsize=8)
            for tick, x in zip(ax.get_xticklabels(), places, strict=True):
                tick.set_color(INK if _valid(entries, x) else BAD)
            ax.set_yticks(range(len(entries)), [entry.curve.control for entry in entries], fontsize=8)
            for tick, entry in zip(ax.get_yticklabels(), entries, strict=True):
                tick.set_color(conditions.look(entry.curve.control).color)
            ax.set_title(f"{metric}: {_title(entries)}", fontsize=8.5, loc="left")
            ax.set_xlabel(f"{entries[0].curve.x} (red: a gate did not pass)")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        for ax in list(axes):
            ax.set_axis_off()
        return Image.open(io.BytesIO(png(figure)))


def _scale(metric: Metric, scores: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The values of the lightest and the darkest blue; a share of 1 is not quite the darkest."""
    if metric.is_unit:
        return 0.0, 1.1
    finite = [score for line in scores for score in line if not math.isnan(score)]
    return (min(finite), max(finite)) if finite and min(finite) < max(finite) else (0.0, 1.0)


def _score(entry: Entry, x: float, metric: str) -> float:
    row = entry.at("scores", x)
    return float("nan") if row is None else row.values.get(metric, float("nan"))


def maps(grids: Sequence[Sequence[Entry]]) -> list[tuple[str, Sequence[Entry]]]:
    """The metrics of the heat maps, that of the headline part first.

    Where that part has every item, or there is none, there is one map alone.
    """
    first: list[tuple[str, Sequence[Entry]]] = []
    whole: list[tuple[str, Sequence[Entry]]] = []
    for entries in grids:
        *parts, head = _metrics(entries)
        rows = [row.values for e in entries for row in e.rows]
        first += [(part, entries) for part in parts if any(part in values for values in rows)]
        if any(values.get(part) != values.get(head) for part in parts for values in rows) or not parts:
            whole.append((head, entries))
    return first + whole
