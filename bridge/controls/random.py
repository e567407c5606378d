"""Negative control: a rotation drawn at random."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Random(Control):
    """Haar-random rotations.

    Source: Mezzadri (2007), "How to generate random matrices from the classical compact groups", arXiv:math-ph/0609050.
    """

    name: str = "random"
    rules_out: str = "that any rotation would do: a Haar-random rotation, many draws"
    drawn: bool = True
    heading: str = "ran-\ndom"
    spare: bool = True
    look: Look | None = Look("#8c8c8c", "v")
    order: int = 1

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The source's states under each rotation."""
        import torch

        from bridge.carry.draws import haar_rotated

        Z, generator = carrier.source_.transform(rows.X), carrier.generator(self.name)
        draws = [haar_rotated(Z, carrier.d_target, generator) for _ in range(carrier.n_draws)]
        return carrier.back(torch.stack(draws), rows.X)
