"""The order in which cells run, and the cells that each job begins with, so that models and states stay in memory."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bridge.controls.names import CONTROLS
from bridge.records.manifest import Cell, Manifest


def ordered(manifest: Manifest, run_ids: Sequence[str]) -> list[Cell]:
    """Cells sorted so that expensive changes are rare: by pair, items, position, injection, layer, control."""
    controls = {name: i for i, name in enumerate(CONTROLS)}

    def key(cell: Cell) -> tuple[Any, ...]:
        config = manifest.config(cell)
        names = config["control"]["names"]
        rest = {k: v for k, v in config.items() if k not in ("pair", "dataset", "injection", "layer", "control")}
        return (
            json.dumps(config["pair"], sort_keys=True),
            json.dumps({k: v for k, v in config["dataset"].items() if k != "size"}, sort_keys=True),
            config["layer"]["position"],
            json.dumps(config["injection"], sort_keys=True),
            json.dumps(rest, sort_keys=True, default=str),
            _natural(config["layer"]["source"]),
            _natural(config["layer"]["target"]),
            config["dataset"]["size"] or 0,
            config["control"]["n_draws"],
            len(names) == 1 and controls.get(names[0], 0),
            cell.run_id,
        )

    return sorted((manifest.by_run_id[r] for r in run_ids), key=key)


def _natural(layer: Any) -> tuple[float, str]:
    """Numbers by size before names."""
    try:
        return float(layer), ""
    except (TypeError, ValueError):
        return float("inf"), str(layer)


def shares(manifest: Manifest, run_ids: Sequence[str], n_jobs: int) -> list[list[Cell]]:
    """Cells for each job: whole pairs where there are enough of them, else each pair over few jobs.

    Args:
        manifest: of the sweep.
        run_ids: the cells that are to run.
        n_jobs: how many jobs.

    Returns:
        A list of cells for each job that has any, at most `n_jobs`.
    """
    cells = ordered(manifest, run_ids)
    pairs = [
        list(group) for _, group in groupby(cells, lambda c: json.dumps(manifest.config(c)["pair"], sort_keys=True))
    ]
    if len(pairs) >= n_jobs:
        filled: list[list[Cell]] = [[] for _ in range(n_jobs)]
        for pair in sorted(pairs, key=len, reverse=True):
            min(filled, key=len).extend(pair)
        return [share for share in filled if share]
    # One job for each pair; each remaining job goes to the pair with the most cells per job.
    n_for = [1] * len(pairs)
    for _ in range(n_jobs - len(pairs)):
        most = max(range(len(pairs)), key=lambda i: len(pairs[i]) / n_for[i])
        n_for[most] += 1
    return [share for pair, n in zip(pairs, n_for, strict=True) for share in _cut(manifest, pair, n) if share]


def _cut(manifest: Manifest, cells: list[Cell], n: int) -> list[list[Cell]]:
    """Cut into `n` runs of about the same length; cells that differ in their controls alone stay together."""

    def setting(cell: Cell) -> str:
        config = manifest.config(cell)
        return json.dumps(config | {"control": None}, sort_keys=True)

    blocks = [list(group) for _, group in groupby(cells, setting)]
    parts: list[list[Cell]] = [[] for _ in range(n)]
    done = 0
    for block in blocks:
        parts[min(n - 1, done * n // len(cells))].extend(block)
        done += len(block)
    return parts


def turns(shared: Sequence[Sequence[Cell]], own: int) -> list[Cell]:
    """All cells in the order in which one job takes them: its own cells, then those of other jobs from the end."""
    others = [cell for i in range(1, len(shared)) for cell in reversed(shared[(own + i) % len(shared)])]
    return [*shared[own], *others]
