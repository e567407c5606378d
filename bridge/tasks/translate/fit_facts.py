"""Facts about a fit: its rows and rank, and the error of mapped states."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bridge.carry.carrier import Carrier
from bridge.carry.rows import Rows
from bridge.metrics import share_outside_span, state_scores
from bridge.permutations import permutations
from bridge.seeds import seeded
from bridge.tasks.translate.metrics import STATES

# Permutations that a cycle's error is compared with; their errors hardly differ, so a few are enough.
N_CYCLES = 2


def fit_facts(carrier: Carrier, evaluation: Rows) -> tuple[dict[str, Any], list[str]]:
    """Facts about the fit for the record, and warnings.

    Args:
        carrier: the fitted map beside its controls.
        evaluation: states to carry.
    """
    fit = carrier.fit_rows
    n, d_source = fit.X.shape
    Z_fit = carrier.source_.transform(fit.X)
    outside = share_outside_span(Z_fit, carrier.source_.transform(evaluation.X[:, -1].double()))
    in_sample = state_scores(carrier.carry("fitted", fit.X, fit.Y)[0], fit.Y, fit.Y.mean(0))
    facts = {
        "n_rows": n,
        "d_source": d_source,
        "d_target": fit.Y.shape[1],
        "n_over_d": n / d_source,
        "rank": carrier.map_.rank_,
        "solver": carrier.map_.solver_,
        "eval_variance_outside_span": outside,
        "in_sample": {k: float(in_sample[k]) for k in ("explained_variance", "relative_error", "cosine")},
        "n_parameters": carrier.map_.n_parameters_,
        "lookup_neighbours": carrier.lookup_.k_,
    }
    if not carrier.map.refits:
        del facts["in_sample"]
        return facts, []
    facts["cycle"] = _cycle(carrier, evaluation)
    if hasattr(carrier.map_, "training_"):
        facts["training"] = carrier.map_.training_
    if n >= d_source:
        return facts, []
    return facts, [
        f"n={n} fit rows are fewer than d={d_source}: the map is undetermined on directions that hold "
        f"{outside:.0%} of the eval variance"
    ]


def _cycle(carrier: Carrier, evaluation: Rows) -> dict[str, float]:
    """Cycle consistency: relative error of eval states mapped to the target and back, beside that of permuted rows.

    The map back is of the same class, fitted from target to source on the same rows. The mean state has error 1. A
    rotation is undone by its inverse whatever rows it was fitted on, so the error has to be compared with that of
    permuted rows.

    Source: Zhu, Park, Isola and Efros (2017), "Unpaired image-to-image translation using cycle-consistent adversarial
    networks", ICCV, arXiv:1703.10593.
    """
    fit, X = carrier.fit_rows, evaluation.X[:, -1].double()
    n, generator = len(fit), seeded(carrier.seed, "cycle")
    permuted = permutations(n, N_CYCLES, generator)
    ways = zip([carrier.map_, *carrier.fits(permuted)], [torch.arange(n), *permuted], strict=True)
    errors = []
    for outward, order in ways:
        rows = replace(fit, X=fit.Y[order.to(fit.Y.device)], Y=fit.X)
        back = Carrier(carrier.map, carrier.normalize, rows, 1, carrier.seed)
        X_hat = back.through(back.map_, carrier.through(outward, X))
        errors.append(float(state_scores(X_hat, X, fit.X.mean(0))["relative_error"]))
    return {"relative_error": errors[0], "permuted_relative_error": float(np.mean(errors[1:]))}


def state_summary(Y_hat: Tensor, Y: Tensor, mean: Tensor) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Mean and range over draws of the held-out scores of states, and quantiles of one of them over features.

    Args:
        Y_hat: (n_draws, m, d) mapped states.
        Y: (m, d) the target's own.
        mean: (d,) mean of the target's fit rows.

    Returns:
        metric -> {mean, low, high}, and {p10, median, p90} of the explained variance of single features.
    """
    draws = [state_scores(draw, Y.double(), mean) for draw in Y_hat]
    totals: dict[str, dict[str, float]] = {}
    for metric in STATES:
        values = [float(draw[metric.name]) for draw in draws]
        totals[metric.name] = {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
    per_feature = torch.stack([draw["explained_variance_per_feature"] for draw in draws]).mean(0).cpu()
    low, median, high = torch.nanquantile(per_feature, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    return totals, {"p10": low, "median": median, "p90": high}
