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
    node: Any = record.data["measures"][measure]
    for key in path:
        node = node[key]
    return torch.tensor([[float("nan") if x is None else x for x in row] for row in node], dtype=torch.float64)
