"""Sweeps of synthetic records, and what lies in the files that wandb writes for them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthetic_records import write_cell

from bridge.controls.names import CONTROLS
from bridge.records import record
from bridge.records.manifest import Cell, Manifest
from bridge.tracking.client import end_service
from bridge.tracking.offline import pieces

WANDB = {
    "_target_": "bridge.tracking.wandb.WandbTracker",
    "name": "wandb",
    "project": "bridge",
    "entity": None,
    "group": None,
    "mode": "offline",
    "init_timeout_s": 60.0,
    "x": None,
    "run_per": "curve",
}


def sweep(
    outputs: Path,
    layers: Sequence[int] = (1, 2, 3),
    sizes: Sequence[int] = (100,),
    controls: Sequence[tuple[str, ...]] = (tuple(CONTROLS),),
    written: bool = True,
    **tracker: Any,
) -> Manifest:
    """A manifest, with the records of its cells unless they are to come later."""
    grid = [(layer, n, names) for layer in layers for n in sizes for names in controls]
    cells = []
    elsewhere = outputs if written else outputs.with_name("not_yet")
    for layer, n, names in grid:
        made = write_cell(elsewhere, layers=(layer, layer), n=n, controls=names)
        config = made.data["config"]
        changes = {"layer.source": str(layer), "dataset.size": n, "control.names": list(names)}
        words = (f"layer={layer}", f"dataset.size={n}", f"control={','.join(names)}")
        cells.append(Cell(made.data["run_id"], words, changes))
    base = {k: v for k, v in config.items() if k not in record.NOT_IN_RUN_ID}
    axes = {"layer": [str(v) for v in layers], "dataset.size": [str(v) for v in sizes]}
    if len(controls) > 1:
        axes["control"] = [",".join(names) for names in controls]
    settings = {"tracker": WANDB | tracker, "paths": {"outputs": str(outputs)}}
    made = Manifest("ablation", outputs, base, tuple(cells), axes, settings)
    made.write()
    return made


def arrive(manifest: Manifest, n: int | None = None) -> None:
    """Finish the next `n` cells of a sweep whose records were to come later, or all that are left."""
    runs = record.runs_folder(manifest.outputs)
    runs.mkdir(parents=True, exist_ok=True)
    left = [cell.run_id for cell in manifest.cells if not (runs / cell.run_id).exists()]
    for run_id in left[:n]:
        (record.runs_folder(manifest.outputs.with_name("not_yet")) / run_id).rename(runs / run_id)


def wandb_files(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def sent(path: Path) -> tuple[Any, dict[str, Any], list[dict[str, float]]]:
    """The run, the config and the rows of the history in a .wandb file."""
    # wandb writes from a process of its own, which ends once all is written.
    end_service()
    records = pieces(path)
    (run,) = [r.run for r in records if r.HasField("run")]
    config = {item.key: json.loads(item.value_json) for item in run.config.update if item.key != "_wandb"}
    rows = []
    for found in records:
        if found.HasField("history"):
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in found.history.item}
            rows.append({k: v for k, v in items.items() if not k.startswith("_")} | {"_step": found.history.step.num})
    return run, config, rows


def curves(folder: Path) -> dict[str, list[dict[str, float]]]:
    """W&B run id -> rows, joined over the offline folders of a run as wandb sync joins them: in order of their dates."""
    joined: dict[str, list[dict[str, float]]] = {}
    for path in wandb_files(folder):
        if path.stat().st_size > 7:
            run, _, rows = sent(path)
            if run.job_type == "summary":
                continue
            joined.setdefault(run.run_id, []).extend(rows)
    return joined


def expected(manifest: Manifest) -> dict[tuple[str, int], dict[int, float]]:
    """(control, size) -> layer -> top-1, from the records."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for made in record.read_all(manifest.outputs, manifest.run_ids):
        (point,) = made.data["points"]
        for control, scores in point["scores"].items():
            at = found.setdefault((control, made.data["config"]["dataset"]["size"]), {})
            at[point["axes"]["layer"][0]] = scores["top1"]["mean"]
    return found
