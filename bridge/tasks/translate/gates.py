"""Validity gates: what must hold before any score of a record means anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bridge.activations.checking import Checker
from bridge.carry.carrier import Carrier
from bridge.carry.draws import within
from bridge.carry.rows import Rows
from bridge.maps.ridge import Ridge
from bridge.maps.solvers import thin_svd
from bridge.normalize import Normalize
from bridge.permutations import permutations
from bridge.results.scores import Branch
from bridge.seeds import seeded
from bridge.svd import svd
from bridge.tasks.translate.native import Side

# The number of rows of fit and of eval whose states are compared with texts read alone, replayed, and padded.
N_ALONE, N_REPLAYED, N_PADDED = 32, 8, 4
# The pairing probe: permutations of each null, and how many are computed at once; principal components of the target;
# number of rows; number of folds, and least number of held-out rows.
N_PERMUTED, N_AT_ONCE, N_PROBED, N_POOL, N_FIFTHS, N_TRIED, PROBE_PENALTY = 499, 50, 16, 1000, 5, 200, 0.1


def state_gates(
    sides: Sequence[tuple[Checker, int, str]],
    fit: Rows,
    evaluation: Rows,
    native: Mapping[str, Side],
    position: str,
    seed: int,
    limits: Any,
) -> dict[str, dict[str, Any]]:
    """Whether the stored states of a cell are the states that both models compute for their texts.

    *states*: for random rows of fit and eval, the stored state put into the stream of its own text gives the model's
    own logits. *drift*: the state of a text read alone, and behind padding, is the stored one up to rounding, and so
    are the final states that both models' own answers are decoded from. A mean over positions cannot be injected, so
    both gates compare it with the mean of the text read alone.

    Args:
        sides: checker, layer, and "source" or "target", of both models.
        fit: rows to fit on.
        evaluation: rows to carry.
        native: "source" and "target" -> the model's own final states on the eval items.
        position: where states are read, or "mean".
        seed: picks the rows.
        limits: thresholds `states` and `drift`, each raised to at least four rounding steps of a model's dtype, because
            a batch adds numbers in another order than a single text.
    """
    replayed, drift, eps = 0.0, 0.0, 0.0
    for checker, layer, side in sides:
        texts, states = _sampled(fit, evaluation, side, seed)
        alone = checker.drift(texts, states, layer, position)
        if position == "mean":
            replayed = max(replayed, alone)
        else:
            few = slice(2 * N_REPLAYED)
            replayed = max(replayed, checker.replay_error(texts[few], states[few], layer))
            alone = max(alone, checker.padding_drift(texts[: 2 * N_PADDED], layer))
        own = native[side]
        some = torch.randperm(len(own.contexts), generator=seeded(seed, "gates"))[:N_ALONE]
        final = checker.drift(
            [own.contexts[i] for i in some.tolist()], own.final_states[some], checker.lm.anatomy.n_blocks
        )
        drift, eps = max(drift, alone, final), max(eps, torch.finfo(checker.lm.dtype).eps)
    return {
        "states": _at_most(replayed, max(limits.states, 4 * eps)),
        "drift": _at_most(drift, max(limits.drift, 4 * eps)),
    }


def _sampled(fit: Rows, evaluation: Rows, side: str, seed: int) -> tuple[list[tuple[int, ...]], Tensor]:
    """Tokens and states of random rows, alternating between fit and eval."""
    some = []
    for rows in (fit, evaluation):
        order = torch.randperm(len(rows), generator=seeded(seed, "gates"))[:N_ALONE]
        states = rows.X if side == "source" else rows.Y
        last = states[:, -1] if states.ndim == 3 else states
        texts = rows.source if side == "source" else rows.target
        some.append([(texts[i], last[i]) for i in order.tolist()])
    pairs = [pair for turn in zip(*some, strict=False) for pair in turn]
    pairs += max(some, key=len)[min(map(len, some)) :]
    return [text for text, _ in pairs], torch.stack([state for _, state in pairs])


def pairing_gate(rows: tuple[Tensor, Tensor, Tensor], threshold: float, seed: int) -> dict[str, Any]:
    """Rank p of a probe's held-out error among those of the same rows permuted; of two nulls the larger p.

    The probe is ridge regression onto the leading principal components of the target's states, fitted on four fifths of
    the rows and evaluated on the fifth one, for as many fifths as give 200 rows; the cell's own split and map play no
    part. If the rows of the two models are not paired correctly, it does no better than on permuted rows. One null
    permutes rows freely, the harder one inside their relation, where there are relations. Each p is valid under its
    null, for any number of rows; with few rows the gate has little power, and fails for lack of evidence.

    Args:
        rows: states (n, d_source) and (n, d_target) of all items, and their relations (n,).
        threshold: the largest p that passes.
        seed: picks rows, fifths and permutations.
    """
    some = torch.randperm(len(rows[0]), generator=seeded(seed, "pairing rows"))[:N_POOL]
    X, Y, relations = (part[some.to(part.device)] for part in rows)
    Z, wanted = (Normalize(scale="frobenius").fit(states).transform(states.double()) for states in (X, Y))
    leading = wanted @ thin_svd(wanted)[2][:, :N_PROBED]
    residual = _held_out_residual(Z)
    p = {}
    for null, labels in (("free", None), ("within", within(relations)[0])):
        if null == "within" and labels is None:
            continue
        moved = permutations(len(Z), N_PERMUTED, seeded(seed, f"pairing {null}"), labels)
        orders = torch.cat([torch.arange(len(Z))[None], moved]).to(leading.device)
        errors = torch.cat([_errors(residual, leading[some]) for some in orders.split(N_AT_ONCE)])
        p[null] = (1 + int((errors[1:] <= errors[0]).sum())) / len(errors)
    return _at_most(max(p.values()), threshold) | {"p": p, "n": len(Z)}


def _errors(residual: Tensor, targets: Tensor) -> Tensor:
    """Squared held-out errors (b,) of targets (b, n, k), by one matrix product: b small ones take ten times as long."""
    b, n, k = targets.shape
    held_out = residual @ targets.permute(1, 0, 2).reshape(n, b * k)
    return held_out.square().sum(0).view(b, k).sum(1)


def _held_out_residual(Z: Tensor) -> Tensor:
    """The matrix that maps targets (n, k) to the held-out residuals (t, k) of the probe on rows of Z (n, d).

    Fifths are tried in turn until there are enough rows. Ridge regression is linear in its targets.
    """
    n, parts = len(Z), []
    for tried in torch.arange(n).chunk(N_FIFTHS):
        kept = torch.ones(n, dtype=torch.bool)
        kept[tried] = False
        part = Z.new_zeros(len(tried), n)
        unit = torch.eye(n - len(tried), dtype=Z.dtype, device=Z.device)
        part[:, kept] = Ridge(PROBE_PENALTY).fit(Z[kept], unit).transform(Z[tried])
        part[torch.arange(len(tried)), tried] = -1.0
        parts.append(part)
        if sum(map(len, parts)) >= N_TRIED:
            break
    return torch.cat(parts)


def planted_gate(carrier: Carrier, Y_hat: Tensor, Y: Tensor, threshold: float) -> dict[str, Any]:
    """Relative error of states under a planted rotation after the fit has undone it, on the span of the fit rows.

    Args:
        carrier: whose fit rows and normalisation count.
        Y_hat: (m, d_target) rows of ``carry("planted", ...)``.
        Y: (m, d_target) the target's own states of the same rows.
        threshold: the largest error that passes.
    """
    Z_fit, mean = carrier.target_.transform(carrier.fit_rows.Y), carrier.fit_rows.Y.mean(0)
    _, s, Vh = svd(Z_fit)
    basis = Vh[s > s[0] * 1e-9].T
    centred = (Y.double() - mean) @ basis
    return _at_most(float(((Y_hat - Y) @ basis).norm() / centred.norm()), threshold)


def alive_gate(own_state: Branch, native_target: Branch, least: float) -> dict[str, Any]:
    """Share of the target's own top-1 that its own states reach when they are injected without a map.

    If it is too small, the injection is dead: no state could give the right answer. If it is too large, the injection
    itself adds information, so that scores cannot be compared with the target's own.

    Args:
        own_state: scores of the target's own states, injected without a map.
        native_target: scores of the target itself on the same items.
        least: smallest share that passes; its inverse is the largest.
    """
    native = native_target.mean("top1")
    value = own_state.mean("top1") / native if native > 0 else 0.0
    most = 1.0 / least
    return {"passed": least <= value <= most, "value": value, "threshold": least, "most": most}


def known_gate(native_target: Branch, commonest: float) -> dict[str, Any]:
    """The target's own top-1, which must exceed that of always giving the commonest answer; a threshold, not a test."""
    value = native_target.mean("top1")
    return {"passed": value > commonest, "value": value, "threshold": commonest, "above": True}


def _at_most(value: float, threshold: float) -> dict[str, Any]:
    return {"passed": bool(value <= threshold), "value": value, "threshold": threshold}
