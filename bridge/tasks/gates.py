"""Validity gates: what must hold before any score of a record means anything."""

from typing import Any

import torch
from torch import Tensor

from bridge.controls import Carrier
from bridge.tasks.native import Native
from bridge.tasks.summary import Branch


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


def pairing_gate(carried: dict[str, Tensor], Y: Tensor, mean: Tensor, threshold: float) -> dict[str, Any]:
    """Rank p-value of the fitted map's held-out state error among those of maps fitted on permuted rows.

    Both forms of permutation count; rows permuted inside their relation are the harder null.
    """

    def errors(name: str) -> Tensor:
        return torch.stack([(draw - Y).norm() / (Y - mean).norm() for draw in carried[name]])

    permuted = torch.cat([errors("shuffled"), errors("shuffled_within")])
    better = int((permuted <= errors("fitted")).sum())
    value = (1 + better) / (1 + len(permuted))
    return _gate(value <= threshold, value, threshold)


def _gate(passed: bool, value: float, threshold: float) -> dict[str, Any]:
    return {"passed": bool(passed), "value": value, "threshold": threshold}
