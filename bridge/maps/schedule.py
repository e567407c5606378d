"""The schedule of gradient descent, for maps and configurations. Needs no torch until rows are drawn."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from bridge.errors import FitError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Schedule:
    """How long and how fast to descend.

    Args:
        n_steps: steps at most.
        lr: learning rate of AdamW.
        batch_size: rows a step.
        weight_decay: decoupled, as in AdamW.
        inner_fraction: share of the fit rows that are validation rows, for early stopping; never eval rows.
        check_every: steps between two evaluations on the validation rows.
        patience: evaluations without a lower loss after which a copy stops.
    """

    n_steps: int = 300
    lr: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 0.0
    inner_fraction: float = 0.15
    check_every: int = 10
    patience: int = 5

    @classmethod
    def of(cls, options: object) -> "Schedule":
        """The schedule from the attributes of an object."""
        return cls(**{f.name: getattr(options, f.name) for f in fields(cls)})

    def checked(self) -> "Schedule":
        """Itself.

        Raises:
            FitError: a number is out of range.
        """
        for name in ("n_steps", "batch_size", "check_every", "patience"):
            if getattr(self, name) < 1:
                raise FitError(f"{name} is {getattr(self, name)}; wanted at least 1: set map.{name} or training.{name}")
        if not self.lr > 0 or self.weight_decay < 0:
            raise FitError(
                f"lr is {self.lr} and weight_decay {self.weight_decay}; wanted lr above 0 and weight_decay at least "
                "0: change them"
            )
        if not 0 < self.inner_fraction < 1:
            raise FitError(f"inner_fraction is {self.inner_fraction}; wanted a number between 0 and 1: change it")
        return self

    def inner_split(self, n: int, seed: int, groups: "Tensor | None" = None) -> "tuple[Tensor, Tensor]":
        """Training rows and validation rows, as indices into 0..n-1; see `hold_back`.

        Args:
            n: number of fit rows.
            seed: of the draw.
            groups: (n,) integer label of each row; rows of one label are never on both sides.

        Raises:
            FitError: fewer than two rows, or than two groups.
        """
        from bridge.maps.holdout import hold_back

        return hold_back(n, self.inner_fraction, seed, groups)
