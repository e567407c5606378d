"""Scores and nulls as JSON: lists of numbers, and None where there is none."""

import math
from typing import Any

from torch import Tensor

from bridge.similarity.calibration import Calibrated, Null


def plain(measure: str, found: Calibrated) -> dict[str, Any]:
    """What a record holds of one measure."""
    plain: dict[str, Any] = {"value": _lists(found.value)}
    if measure == "procrustes":
        plain["angle_rad"] = _lists(found.value.clamp(-1.0, 1.0).acos())
    plain["nulls"] = {
        name: {field: _lists(matrix) for field, matrix in vars(null).items()} for name, null in found.nulls.items()
    }
    plain["over_layers"] = {
        statistic: {"value": float(over.value), "nulls": {name: _scalars(null) for name, null in over.nulls.items()}}
        for statistic, over in found.over_layers.items()
    }
    return plain


def _scalars(null: Null) -> dict[str, float | None]:
    """Without p_corrected: nothing was searched."""
    told = {name: float(x) for name, x in vars(null).items() if name != "p_corrected"}
    return {name: None if math.isnan(x) else x for name, x in told.items()}


def _lists(matrix: Tensor) -> list[list[float | None]]:
    return [[None if math.isnan(x) else x for x in row] for row in matrix.tolist()]
