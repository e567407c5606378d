"""The states that the fitted map and every control put into the target in place of its own."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from bridge.controls.bag_of_words import BagOfWords
from bridge.controls.draws import haar_rotated, within
from bridge.controls.lookup import Lookup
from bridge.controls.names import CONTROLS
from bridge.controls.rows import Rows
from bridge.errors import FitError
from bridge.maps.adapter import Adapter
from bridge.maps.base import Map
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.saved import Saved
from bridge.normalize import Normalize
from bridge.permutations import permutations
from bridge.seeds import seeded

# A mark needs no rank, so a few draws are enough; each is a fit of its own.
N_CLUSTERED = 5
# Fitted as the map is, on other rows.
FITTED = ("shuffled", "shuffled_within", "bag_of_words", "clustered", "same_model")


class Trainer(Protocol):
    """Fits a map to more than states; see `bridge.training`."""

    def fit(self, map: Map, source: Normalize, target: Normalize, X: Tensor, Y: Tensor, orders: Tensor) -> list[Map]:
        """One fitted map for each order (p, n) of Y's rows."""


class Carrier:
    """Carries held-out source states into the target's space under the fitted map and every control.

    All branches share the normalisation: centring and scale are fitted on the fit rows alone, and every
    branch is returned to the target's own scale and mean, so none is favoured by an offset.

    Args:
        map: an unfitted map; copies of it are fitted.
        normalize: an unfitted normalisation; copies of it are fitted on each side.
        fit: states (n, d_source) and (n, d_target) to fit on, with what is known of every row.
        n_draws: draws of each random control.
        seed: with a control's name it seeds that control's draws, whatever other controls there are. Draw b is the
            same permutation for any states of as many rows, and the same rotation for any of as many rows and the same
            widths where there are at least as many rows as dimensions.
        trainer: trains what is fitted, the same in every branch with a fit; None leaves it as fitted on states.

    Attributes:
        map_: the fitted map.
        source_: the fitted normalisation of the source.
        target_: the fitted normalisation of the target.
        absent_: control -> why it would not mean what it says here.
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
        self.relations_, why_not = within(fit.relations)
        self.absent_ = {"shuffled_within": why_not} if self.relations_ is None else {}
        if not map.refits:
            self.absent_ |= dict.fromkeys(FITTED, "the map was fitted before and is not fitted again")
        if bool((fit.answers == fit.answers[0]).all()):
            self.absent_["clustered"] = "all fit rows have one answer, so there is nothing to tell apart"
        if not self.bag_.tells_apart(fit.source):
            self.absent_["bag_of_words"] = "all fit rows have the same tokens, so there is nothing to tell apart"
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
        if control not in CONTROLS or control in self.absent_:
            why = self.absent_.get(control, f"there is none of that name; wanted one of {', '.join(CONTROLS)}")
            raise FitError(f"control {control}: {why}")
        X, Y = X.double(), Y.double()
        fit = self.fit_rows
        if control == "mean":
            return fit.Y.mean(0).expand(1, len(X), -1)
        if control == "lookup":
            return self.lookup_.states(self.source_.transform(X))[None]
        if control == "bag_of_words":
            if texts is None:
                raise FitError("control bag_of_words: no texts; wanted the tokens that the source read at each row")
            words, new = (self.bag_.states(some).to(X.device) for some in (fit.source, texts))
            return self._like(replace(fit, X=words)).carry("fitted", new, Y)
        if control == "same_model":
            return self._like(replace(fit, X=fit.Y)).carry("fitted", Y, Y)
        generator = seeded(self.seed, control)
        if control == "planted":
            rotated = haar_rotated(torch.cat([fit.Y, Y]), Y.shape[1], generator)
            n = len(fit)
            # It tests everything around the map, so a map that can undo no rotation leaves it to one that can.
            undo = self.map if self.map.can_rotate else Orthogonal()
            planted = Carrier(undo, self.normalize, replace(fit, X=rotated[:n]), 1, self.seed)
            return planted.carry("fitted", rotated[n:], Y)
        if control == "clustered":
            if answers is None:
                raise FitError("control clustered: no answers; wanted (m,) integers, as in the fit rows")
            return torch.cat([self._clustered(answers, generator) for _ in range(min(N_CLUSTERED, self.n_draws))])
        Z = self.source_.transform(X)
        return self.target_.inverse(self._mapped(control, Z, generator), self.source_.row_scale(X))

    @cached_property
    def bag_(self) -> BagOfWords:
        """The tokens of the fit rows, counted."""
        return BagOfWords(self.fit_rows.source, self.fit_rows.X.shape[1])

    @property
    def lookup_(self) -> Lookup:
        """The table of known answers of the fit rows."""
        if not hasattr(self, "_lookup"):
            fit = self.fit_rows
            at = slice(None) if fit.ends is None else fit.ends
            Z = self.source_.transform(fit.X[at])
            self._lookup = Lookup(Z, fit.Y[at], fit.answers[at], fit.groups[at])
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

    def _like(self, fit: Rows) -> "Carrier":
        """The same fit on other rows."""
        return Carrier(self.map, self.normalize, fit, 1, self.seed, self.trainer)

    def _clustered(self, answers: Tensor, generator: torch.Generator) -> Tensor:
        """States (1, m, d_target) from random source states that are equal where answers are, and say nothing else.

        Source: the clustered random representations of Smith et al. (2025), "Functional alignment can mislead", ICML.
        """
        fit = self.fit_rows
        n_answers = 1 + int(torch.maximum(fit.answers.max(), answers.max()))
        codes = torch.randn(n_answers, fit.X.shape[1], dtype=torch.float64, generator=generator).to(fit.X.device)
        centered = fit.X - fit.X.mean(0)
        states = fit.X.mean(0) + codes * (centered.square().sum() / centered.numel()).sqrt()
        return self._like(replace(fit, X=states[fit.answers])).carry("fitted", states[answers], fit.Y)

    def _mapped(self, control: str, Z: Tensor, generator: torch.Generator) -> Tensor:
        d_target = self.fit_rows.Y.shape[1]
        if control == "fitted":
            return self.map_.transform(Z)[None]
        if control == "identity":
            padded = Z.new_zeros(len(Z), d_target)
            width = min(Z.shape[1], d_target)
            padded[:, :width] = Z[:, :width]
            return padded[None]
        if control == "random":
            return torch.stack([haar_rotated(Z, d_target, generator) for _ in range(self.n_draws)])
        fit = self.fit_rows
        labels = self.relations_ if control == "shuffled_within" else None
        moved = permutations(len(fit), self.n_draws, generator, labels).to(Z.device)
        if self.trainer is not None:
            return torch.stack([m.transform(Z) for m in self.fits(moved)])
        X, Y = self.source_.transform(fit.X), self.target_.transform(fit.Y)
        return self.map.transform_permuted(X, Y, moved, Z, fit.groups)
