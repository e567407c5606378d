"""What a task gives back."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TaskResult:
    """What a task hands to the record: JSON-ready numbers, and one column per field of items.parquet.

    Attributes:
        by_answer: "new" and "known" -> n, n_units and, where there are two units at least, scores and contrasts.
        absent: controls that were asked for and cannot mean what they say here -> why.
    """

    columns: dict[str, Any]
    scores: dict[str, Any]
    contrasts: dict[str, Any]
    by_answer: dict[str, Any]
    state_scores: dict[str, Any]
    absent: dict[str, str]
    gates: dict[str, dict[str, Any]]
    fit: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
