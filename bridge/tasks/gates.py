"""Validity gates: what must hold before any score of a record means anything."""

from typing import Any

import torch
from torch import Tensor

from bridge.controls import Carrier, permutations
from bridge.maps.ridge import Ridge
from bridge.maps.solvers import thin_svd
from bridge.tasks.native import Native
from bridge.tasks.summary import Branch

# Principal components of the target's states that the pairing probe predicts, and its penalty.
N_PROBED, PROBE_PENALTY = 32, 0.1


def decode_gate(native: Native, threshold: float) -> dict[str, Any]:
    """Largest difference between decoding stored states and a model's own logits, over its largest logit.

    The threshold is never below four rounding steps of the models' dtype: in bfloat16 the order of additions, which
    differs between a batch and one prompt, moves a logit by more than any float32 threshold.
    """
    threshold = max(threshold, 4 * native.eps)
    return _gate(native.decode_error <= threshold, native.decode_error, threshold)


def same_model_gate(same_model: Branch, native_target: Branch, threshold: float) -> dict[str, Any]:
    """Share of the target's own top-1 that its own states reach through the same fit and injection."""
    native = native_target.mean("top1")
    value = same_model.mean("top1") / native if native > 0 else 0.0
    return _gate(value >= threshold, value, threshold)


def planted_gate(carrier: Carrier, Y_hat: Tensor, Y: Tensor, threshold: float) -> dict[str, Any]:
    """Relative error of the planted rotation, undone, on the span of the fit rows."""
    Z_fit, mean = carrier.target_.transform(carrier.Y_fit), carrier.Y_fit.mean(0)
    _, s, Vh = torch.linalg.svd(Z_fit, full_matrices=False)
    basis = Vh[s > s[0] * 1e-9].T
    centred = (Y.double() - mean) @ basis
    value = float(((Y_hat - Y) @ basis).norm() / centred.norm())
    return _gate(value <= threshold, value, threshold)


def pairing_gate(
    carrier: Carrier, X: Tensor, Y: Tensor, n_draws: int, threshold: float, generator: torch.Generator
) -> dict[str, Any]:
    """Rank p-value of a probe's held-out error among those of probes fitted on permuted rows.

    The probe is ridge regression onto the leading principal components of the target's states, whatever the cell's
    own map is. Where the rows of a pair are out of step it does no better than on rows permuted on purpose, and fails.
    Both forms of permutation count; rows permuted inside their relation are the harder null.

    Args:
        carrier: holds the fit rows.
        X: (m, d_source) held-out source states.
        Y: (m, d_target) target states of the same items.
        n_draws: permutations of each form.
        threshold: the largest p that passes.
        generator: seeded.
    """
    Z_fit, Y_fit = carrier.source_.transform(carrier.X_fit), carrier.target_.transform(carrier.Y_fit)
    leading = thin_svd(Y_fit)[2][:, :N_PROBED]
    wanted = carrier.target_.transform(Y) @ leading
    n = len(Z_fit)
    orders = [torch.arange(n)[None]]
    orders += [permutations(labels, n, n_draws, generator) for labels in (None, carrier.relations)]
    probed = Ridge(PROBE_PENALTY).transform_permuted(
        Z_fit, Y_fit @ leading, torch.cat(orders).to(Z_fit.device), carrier.source_.transform(X)
    )
    errors = (probed - wanted).square().sum((1, 2))
    value = float((1 + (errors[1:] <= errors[0]).sum()) / len(errors))
    return _gate(value <= threshold, value, threshold)


def _gate(passed: bool, value: float, threshold: float) -> dict[str, Any]:
    return {"passed": bool(passed), "value": value, "threshold": threshold}
