"""Matrices of layers by layers as points, one for each pair of layers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from bridge.similarity.calibration import Calibrated, Null
from bridge.tasks.similarity.task import ANGLE, OBSERVED


def points(by_measure: Mapping[str, Calibrated], layers: Mapping[str, list[int]], n_rows: int) -> list[dict[str, Any]]:
    """One point for each pair of layers, row by row.

    Args:
        by_measure: measure -> its scores (S, T) and nulls.
        layers: "source" and "target" -> their layers.
        n_rows: how many rows were compared.
    """
    return [
        {
            "axes": {"source_layer": source, "target_layer": target, "n_rows": n_rows},
            "n": n_rows,
            "n_units": n_rows,
            "n_effective": float(n_rows),
            "unit": "row",
            **_numbers(by_measure, i, j),
            "parts": {},
        }
        for i, source in enumerate(layers["source"])
        for j, target in enumerate(layers["target"])
    ]


def _numbers(by_measure: Mapping[str, Calibrated], i: int, j: int) -> dict[str, Any]:
    """Scores and contrasts at one pair of layers; an observed score has no interval, a null has its range."""
    scores: dict[str, dict[str, Any]] = {OBSERVED: {}}
    contrasts: dict[str, dict[str, Any]] = {}
    for measure, calibrated in by_measure.items():
        value = _plain(calibrated.value[i, j])
        scores[OBSERVED][measure] = {"mean": value, "low": None, "high": None}
        if measure == "procrustes" and value is not None:
            angle = math.acos(min(max(value, -1.0), 1.0))
            scores[OBSERVED][ANGLE.name] = {"mean": angle, "low": None, "high": None}
            for name, draws in calibrated.draws.items():
                angles = draws[:, i, j].clamp(-1.0, 1.0).acos()
                ends = {"mean": angles.mean(), "low": angles.min(), "high": angles.max()}
                scores.setdefault(name, {})[ANGLE.name] = {end: _plain(number) for end, number in ends.items()}
        for name, null in calibrated.nulls.items():
            at = {field: _plain(matrix[i, j]) for field, matrix in vars(null).items()}
            scores.setdefault(name, {})[measure] = {
                "mean": at["mean"], "low": at["low"], "high": at["high"], "q95": at["q95"],
            }  # fmt: skip
            difference = None if value is None or at["mean"] is None else value - at["mean"]
            contrasts.setdefault(name, {})[measure] = {
                "difference": difference, "low": None, "high": None, "p": at["p"], "p_searched": at["p_corrected"],
                "calibrated": at["calibrated"],
            }  # fmt: skip
    return {"scores": scores, "contrasts": contrasts}


def null_draws(by_measure: Mapping[str, Calibrated]) -> dict[str, Any]:
    """The scores of permuted rows, one row for each measure, null, permutation and point."""
    columns: dict[str, list[Any]] = {name: [] for name in ("point", "control", "metric", "draw", "score")}
    for measure, calibrated in by_measure.items():
        for null, draws in calibrated.draws.items():
            n_draws, n_points = len(draws), draws[0].numel()
            columns["point"].append(np.tile(np.arange(n_points), n_draws))
            columns["draw"].append(np.repeat(np.arange(n_draws), n_points))
            columns["control"] += [null] * draws.numel()
            columns["metric"] += [measure] * draws.numel()
            columns["score"].append(draws.flatten().numpy())
    return {k: v if k in ("control", "metric") else np.concatenate(v) for k, v in columns.items()}


def over_layers(by_measure: Mapping[str, Calibrated]) -> dict[str, Any]:
    """Measure -> "max" and "mean" over the pairs of layers that count, each with its nulls."""
    return {
        measure: {
            statistic: {
                "value": float(over.value),
                "nulls": {name: _scalars(null) for name, null in over.nulls.items()},
            }
            for statistic, over in calibrated.over_layers.items()
        }
        for measure, calibrated in by_measure.items()
    }


def _scalars(null: Null) -> dict[str, float | None]:
    """Without p_corrected, as there was no search."""
    return {name: _plain(x) for name, x in vars(null).items() if name != "p_corrected"}


def _plain(number: Tensor) -> float | None:
    """A number, or None where there is none."""
    value = float(number)
    return None if math.isnan(value) else value
