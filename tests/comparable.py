"""A small record of task=similarity on models that have learnt nothing."""

from pathlib import Path
from typing import Any

import torch
from untrained import UNTRAINED

from bridge.config import compose_config
from bridge.records.record import Record
from bridge.run import run
from bridge.schema import BridgeConfig
from bridge.session import Session

# Every measure; widths differ, and the items are of two relations.
BASE = [*UNTRAINED, "task=similarity", "device=cpu"]
WORDS = [
    *BASE,
    *("dataset.relations=[city_country,animal_kind]", "dataset.size=60", "task.n_permutations=19"),
]


def composed(outputs: Path, *words: str) -> BridgeConfig:
    return compose_config(*WORDS, f"paths.outputs={outputs}", *words)


def compared(outputs: Path, *words: str) -> Record:
    config = composed(outputs, *words)
    return run(config, Session(config.paths.outputs, config.device, config.batch_size))


def matrix(record: Record, measure: str, *path: str) -> torch.Tensor:
    """Scores of layers by layers: "value" or "angle_rad", or "nulls", the null and one of its fields."""
    rows: dict[Any, list[float]] = {}
    for point in record.data["points"]:
        value = _at(point, measure, *path)
        rows.setdefault(point["axes"]["source_layer"], []).append(float("nan") if value is None else value)
    return torch.tensor(list(rows.values()), dtype=torch.float64)


def _at(point: dict[str, Any], measure: str, *path: str) -> Any:
    if path[0] == "nulls":
        _, null, field = path
        if field in ("mean", "low", "high", "q95"):
            return point["scores"][null][measure][field]
        return point["contrasts"][null][measure]["p_searched" if field == "p_corrected" else field]
    (field,) = path
    return point["scores"]["observed"][measure if field == "value" else f"{measure}_{field}"]["mean"]
