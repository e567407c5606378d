"""What a task is given and what it gives back."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Rows:
    """Matched states of one pair: row i of `X` and of `Y` come from one item at one text position.

    Shapes: for the fit X (n, d_source), Y (n, d_target), relations (n,) integer labels; for eval
    X (m, K, d_source), Y (m, K, d_target), where K is what the injection asks for and [:, -1] is the last.
    """

    X: Tensor
    Y: Tensor
    relations: Tensor

    def to(self, device: torch.device) -> "Rows":
        """The same rows on another device; the labels stay where they are."""
        return Rows(self.X.to(device), self.Y.to(device), self.relations)


@dataclass
class TaskResult:
    """What a task hands to the record: JSON-ready numbers, and one column per field of items.parquet."""

    columns: dict[str, Any]
    scores: dict[str, Any]
    contrasts: dict[str, Any]
    scores_by_answer: dict[str, Any]
    state_scores: dict[str, Any]
    gates: dict[str, dict[str, Any]]
    fit: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
