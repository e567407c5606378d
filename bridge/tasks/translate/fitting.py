"""Translate: a hidden state is carried over and scored by the token that the target decodes from it."""

from collections.abc import Mapping
from typing import Any

from bridge.controls.carrier import Carrier, Trainer
from bridge.controls.rows import Rows
from bridge.injection import Injection
from bridge.maps.base import Map
from bridge.normalize import Normalize
from bridge.results.scores import Part
from bridge.tasks.translate.native import Native
from bridge.tasks.translate.trial import Trial


class Translate:
    """Scores the fitted map beside its controls, the ceilings and both models' own answers.

    Args:
        gates: thresholds with the attributes alive and planted.
    """

    def __init__(self, gates: Any) -> None:
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
        parts: Mapping[str, Part],
        checks: Mapping[str, dict[str, Any]],
        commonest: float,
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
            parts: "all", "new" and "known" items.
            checks: gates that do not depend on map or injection.
            commonest: share of eval items that have the commonest answer.
            n_draws: draws of each random control.
            seed: seeds the controls.
            trainer: trains the map through the target; None fits it on states alone.

        Raises:
            FitError: states that hold NaN, or widths that the map cannot take.
        """
        device = native.target.model.device
        carrier = Carrier(map, normalize, fit.to(device), n_draws, seed, trainer)
        return Trial(
            carrier=carrier,
            injection=injection,
            evaluation=evaluation.to(device),
            native=native,
            parts=parts,
            checks=checks,
            commonest=commonest,
            gates=self.gates,
        )
