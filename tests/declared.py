"""What task=translate declares, by the names that tests use."""

from collections.abc import Mapping
from typing import Any

from bridge.tasks.registry import get

TASK = get("translate")
KINDS = TASK.conditions
METRICS = TASK.by_name
NEGATIVES = KINDS.negatives
BASELINES = KINDS.baselines
REFERENCES = KINDS.always


def point(data: Mapping[str, Any]) -> dict[str, Any]:
    """The only point of a record."""
    (one,) = data["points"]
    return dict(one)
