"""Translate: a hidden state is carried over and scored by the token that the target decodes from it."""

from typing import Any

from torch import Tensor

from bridge.controls import Carrier, Trainer
from bridge.injection import Injection
from bridge.maps.base import Map
from bridge.normalize import Normalize
from bridge.tasks.native import Native
from bridge.tasks.rows import Rows
from bridge.tasks.trial import Trial


class Translate:
    """Scores the fitted map beside its controls, the ceilings and both models' own answers.

    Args:
        n_resamples: bootstrap resamples and sign flips.
        gates: thresholds with the attributes decode, same_model, planted and pairing.
    """

    def __init__(self, n_resamples: int, gates: Any) -> None:
        self.n_resamples = n_resamples
        self.gates = gates

    def fit(
        self,
        *,
        map: Map,
        normalize: Normalize,
        injection: Injection,
        fit: Rows,
        evaluation: Rows,
        native: Native,
        seen_answer: Tensor,
        n_draws: int,
        seed: int,
        trainer: Trainer | None = None,
    ) -> Trial:
        """Fit; what comes back carries, decodes and scores any control.

        Args:
            map: an unfitted map.
            normalize: an unfitted normalisation.
            injection: prepared for the eval prompts, in the order of the eval items.
            fit: states to fit on.
            evaluation: states to carry, one entry per eval item.
            native: both models' own answers on the eval items.
            seen_answer: (m,) whether the answer of an item occurs among the fit rows.
            n_draws: draws of each random control.
            seed: seeds the controls and the resampling.
            trainer: trains the map through the target; None fits it on states alone.

        Raises:
            FitError: states that hold NaN, or widths that the map cannot take.
        """
        device = native.target.model.device
        fit, evaluation = fit.to(device), evaluation.to(device)
        carrier = Carrier(map, normalize, fit.X, fit.Y, fit.relations, n_draws, seed, trainer)
        return Trial(carrier, injection, fit, evaluation, native, seen_answer, self.n_resamples, self.gates, seed)
