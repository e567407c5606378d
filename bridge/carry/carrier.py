"""The states that the fitted map and every control put into the target in place of its own."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from bridge.carry.counts import TokenCounts
from bridge.carry.draws import within
from bridge.carry.nearest import NearestAnswers
from bridge.carry.rows import Rows
from bridge.controls.base import Carried, Control
from bridge.controls.names import CONTROLS
from bridge.errors import FitError
from bridge.maps.adapter import Adapter
from bridge.maps.base import Map
from bridge.maps.saved import Saved
from bridge.normalize import Normalize
from bridge.seeds import seeded


class Trainer(Protocol):
    """Fits a map by another loss than the error of states; see `bridge.training`."""

    def fit(self, map: Map, source: Normalize, target: Normalize, X: Tensor, Y: Tensor, orders: Tensor) -> list[Map]:
        """One fitted map for each order (p, n) of Y's rows."""


class Carrier:
    """Carries held-out source states into the target's space under the fitted map and every control.

    Mean and scale are fitted on the fit rows alone. Those of the target are the same for every control; a control with
    other source rows (`like`) fits those of the source again. Every control ends in the target's own scale and mean, so
    none is favoured by an offset.

    Args:
        map: an unfitted map; copies of it are fitted.
        normalize: an unfitted normalisation; copies of it are fitted on each side.
        fit: states (n, d_source) and (n, d_target) to fit on, with what is known of every row.
        n_draws: draws of each random control.
        seed: with a control's name it seeds that control's draws, whatever other controls there are. Draw b is the
            same permutation for any states of as many rows, and the same rotation for any of as many rows and the same
            widths where there are at least as many rows as dimensions.
        trainer: trains every fitted map, that of a control too; None leaves maps as fitted on states.

    Attributes:
        map_: the fitted map.
        source_: the fitted normalisation of the source.
        target_: the fitted normalisation of the target.
        absent_: control -> the reason why it is left out: on these rows it would not test what it is for.
        bag_: the tokens of the fit rows, counted.
        lookup_: the table of known answers.
    """

    def __init__(
        self, map: Map, normalize: Normalize, fit: Rows, n_draws: int, seed: int, trainer: Trainer | None = None
    ) -> None:
        self.map = map
        self.normalize = normalize
        self.fit_rows = replace(fit, X=fit.X.double(), Y=fit.Y.double())
        self.n_draws = n_draws
        self.seed = seed
        self.trainer = trainer
        if isinstance(map, Saved):
            self.source_, self.target_ = map.adapter.source, map.adapter.target
        else:
            self.source_ = copy.deepcopy(normalize).fit(self.fit_rows.X)
            self.target_ = copy.deepcopy(normalize).fit(self.fit_rows.Y)
        self.relations_ = within(fit.relations)[0]
        reasons = {name: _why_absent(self, control) for name, control in CONTROLS.items()}
        self.absent_ = {name: why for name, why in reasons.items() if why is not None}
        (self.map_,) = self.fits(torch.arange(len(fit))[None])

    def carry(
        self,
        control: str,
        X: Tensor,
        Y: Tensor,
        answers: Tensor | None = None,
        texts: Sequence[tuple[int, ...]] | None = None,
    ) -> Tensor:
        """The states that `control` puts into the target in place of its own.

        Args:
            control: a name in `CONTROLS` that is not in `absent_`.
            X: source states (m, d_source).
            Y: the target's own states (m, d_target) of the same rows; only the ceilings look at them.
            answers: (m,) integer answer of each row, as in the fit rows; only `clustered` looks at them.
            texts: m tuples, the tokens that the source had read at each row; only `bag_of_words` looks at them.

        Returns:
            (n_draws or 1, m, d_target) float64 in the target's own scale and mean.

        Raises:
            FitError: no such control, one that is absent here, `clustered` without answers, or `bag_of_words` without
                texts.
        """
        if control not in CONTROLS:
            raise FitError(f"control {control} is unknown; wanted one of {', '.join(CONTROLS)}: correct the name")
        if control in self.absent_:
            raise FitError(
                f"control {control} is absent ({self.absent_[control]}); wanted one that means what it says here: "
                "leave it out"
            )
        return CONTROLS[control].states(self, Carried(X.double(), Y.double(), answers, texts))

    @property
    def d_target(self) -> int:
        """Width of the target's states."""
        return self.fit_rows.Y.shape[1]

    def generator(self, control: str) -> torch.Generator:
        """The generator of a control's draws, seeded by its name."""
        return seeded(self.seed, control)

    @cached_property
    def bag_(self) -> TokenCounts:
        """The tokens of the fit rows, counted."""
        return TokenCounts(self.fit_rows.source, self.fit_rows.X.shape[1])

    @property
    def lookup_(self) -> NearestAnswers:
        """The table of known answers of the fit rows."""
        if not hasattr(self, "_lookup"):
            fit = self.fit_rows
            at = slice(None) if fit.ends is None else fit.ends
            Z = self.source_.transform(fit.X[at])
            self._lookup = NearestAnswers(Z, fit.Y[at], fit.answers[at], fit.groups[at])
        return self._lookup

    def fits(self, orders: Tensor) -> list[Map]:
        """A fitted map, trained where there is a trainer, for each order (p, n) of the target's rows."""
        fit = self.fit_rows
        if self.trainer is not None:
            return self.trainer.fit(self.map, self.source_, self.target_, fit.X, fit.Y, orders)
        X, Y = self.source_.transform(fit.X), self.target_.transform(fit.Y)
        return [copy.deepcopy(self.map).fit(X, Y[order.to(Y.device)], fit.groups) for order in orders]

    def through(self, map: Map, X: Tensor) -> Tensor:
        """Source states X (m, d_source) through one of the `fits`: (m, d_target) in the target's own scale and mean."""
        return Adapter(self.source_, map, self.target_).transform(X)

    def back(self, mapped: Tensor, X: Tensor) -> Tensor:
        """Mapped states (..., m, d_target) in the target's own scale and mean, with the lengths of source states X."""
        return self.target_.inverse(mapped, self.source_.row_scale(X))

    def like(self, fit: Rows) -> "Carrier":
        """The same fit on other rows."""
        return Carrier(self.map, self.normalize, fit, 1, self.seed, self.trainer)


def _why_absent(carrier: Carrier, control: Control) -> str | None:
    """The reason why a control is left out on these rows; None where it is not."""
    if control.fits and not carrier.map.refits:
        return "the map was fitted before and is not fitted again"
    return control.why_absent(carrier)
