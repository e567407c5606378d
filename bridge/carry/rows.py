"""Matched states of one pair, with what is known of every row."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Row i of `X` and row i of `Y` come from one item, at the end of the same text.

    For the fit X (n, d_source) and Y (n, d_target); for eval X (m, K, d_source) and Y (m, K, d_target), where K is
    what the injection asks for and [:, -1] is the last.

    Attributes:
        X: states of the source.
        Y: states of the target.
        relations: (n,) integer relation of the item, -1 where it has none.
        answers: (n,) integer answer of the item.
        groups: (n,) integer group of the item: what fit and eval never share.
        source: the tokens that the source had read at [:, -1], row by row; those averaged over where a row is a mean.
        target: the same of the target.
        ends: (n,) whether a row stands at the end of its prompt; None where all do.
    """

    X: Tensor
    Y: Tensor
    relations: Tensor
    answers: Tensor
    groups: Tensor
    source: tuple[tuple[int, ...], ...] = ()
    target: tuple[tuple[int, ...], ...] = ()
    ends: Tensor | None = None

    def __len__(self) -> int:
        return len(self.X)

    def to(self, device: torch.device) -> "Rows":
        """The same rows with their states on another device; the labels stay where they are."""
        return replace(self, X=self.X.to(device), Y=self.Y.to(device))
