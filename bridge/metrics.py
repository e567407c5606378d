"""Scores of decoded tokens against the gold token, and of mapped states against the target's own."""

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.solvers import thin_svd
from bridge.normalize import finite_states, not_finite

TOP_K = (1, 5, 10)
# Logits of one chunk: large enough for speed, small enough for the processor's cache.
CHUNK_LOGITS = 2**20
LARGEST_EXPONENT = 80.0
# Below this divergence the difference of two log-sum-exp values is not accurate enough.
NEAR_NATS = 1.0


def token_scores(logits: Tensor, gold: Tensor, native_logits: Tensor | None = None) -> dict[str, Tensor]:
    """Score next-token logits against the gold token, item by item.

    The rank of the gold token is the number of logits at least as large as its own, so a tie counts against
    it and constant logits score as the worst guess.

    Args:
        logits: (..., b, V) of any float dtype; each index of the leading dimensions, such as a draw of a control, is
            scored on its own. Never modified.
        gold: (b,) long, the gold token of each item, in 0..V-1.
        native_logits: (b, V) the target's own logits on the same items, or None.

    Returns:
        Float64 tensors (..., b): `top1`, `top5`, `top10` (0 or 1), `rr` (reciprocal rank, in (0, 1]),
        `logprob_nats` (log-probability of the gold token, at most 0) and, given `native_logits`, `kl_nats`
        (KL(native || this), at least 0).

    Raises:
        FitError: shapes that do not match, a gold token outside the vocabulary, or logits that are not
            finite.

    Example:
        >>> scores = token_scores(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([2]))
        >>> scores["top1"].item(), scores["top5"].item(), scores["rr"].item()
        (0.0, 1.0, 0.5)
    """
    n_items, n_tokens = logits.shape[-2:] if logits.ndim >= 2 else (0, 0)
    if logits.ndim < 2 or logits.numel() == 0 or gold.shape != (n_items,):
        raise FitError(
            f"logits have shape {tuple(logits.shape)} and gold {tuple(gold.shape)}; wanted (..., b, V) and (b,): "
            "pass one row of logits and one gold token an item"
        )
    if native_logits is not None and native_logits.shape != logits.shape[-2:]:
        raise FitError(
            f"logits have shape {tuple(logits.shape)} and native ones {tuple(native_logits.shape)}; "
            "wanted the same items and tokens: both must come from the target model"
        )
    if int(gold.min()) < 0 or int(gold.max()) >= n_tokens:
        raise FitError(
            f"gold tokens run from {int(gold.min())} to {int(gold.max())}; wanted 0 to {n_tokens - 1}: "
            "encode the answers with the target's tokenizer"
        )
    draws = logits.flatten(0, -3) if logits.ndim > 2 else logits[None]
    _check_finite(draws.flatten(0, 1), "logits")
    if native_logits is not None:
        _check_finite(native_logits, "native logits")

    rank = torch.empty(draws.shape[:2], dtype=torch.float64, device=logits.device)
    logprob, kl = torch.empty_like(rank), torch.empty_like(rank)
    step = max(1, CHUNK_LOGITS // n_tokens)
    for start in range(0, n_items, step):
        rows = slice(start, start + step)
        token = gold[rows, None]
        native = None if native_logits is None else _Native(_at_least_float32(native_logits[rows]))
        for draw in range(len(draws)):
            z = _at_least_float32(draws[draw, rows])
            at_gold, total = z.gather(1, token), z.logsumexp(dim=1)
            rank[draw, rows] = (z >= at_gold).sum(dim=1).to(rank.dtype)
            logprob[draw, rows] = (at_gold[:, 0] - total).to(rank.dtype)
            if native is not None:
                kl[draw, rows] = native.kl_nats(z, total).to(kl.dtype)
    rank, logprob, kl = (values.view(logits.shape[:-1]) for values in (rank, logprob, kl))
    scores = {f"top{k}": (rank <= k).to(rank.dtype) for k in TOP_K}
    scores |= {"rr": 1.0 / rank, "logprob_nats": logprob}
    return scores if native_logits is None else scores | {"kl_nats": kl}


def state_scores(Y_hat: Tensor, Y: Tensor, mean: Tensor) -> dict[str, Tensor]:
    """Compare mapped states with the target's own.

    Explained variance is 1 - ||Y_hat - Y||^2 / ||Y - mean||^2: 1 is perfect, the mean alone scores 0, and there is
    no lower bound. The mean is that of the fit rows, so that it knows nothing of held-out rows.

    Args:
        Y_hat: (..., m, d) mapped states; each index of the leading dimensions, such as a draw of a control, is
            scored on its own.
        Y: (m, d) the target's states for the same items.
        mean: (d,) mean of the target's fit rows.

    Returns:
        Float64 tensors: `explained_variance` (...), pooled over features; `explained_variance_per_feature`
        (..., d), NaN for a feature that equals the mean in every row; `relative_error` (...),
        ||Y_hat - Y|| / ||Y - mean||; `cosine` (...), mean cosine of the rows about the mean, 0 for a row that
        equals the mean.

    Raises:
        FitError: shapes that do not match, values that are not finite, or Y equal to the mean throughout.

    Example:
        >>> Y = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
        >>> scores = state_scores(torch.zeros(2, 2), Y, torch.zeros(2))
        >>> scores["explained_variance"].item(), scores["relative_error"].item(), scores["cosine"].item()
        (0.0, 1.0, 0.0)
    """
    if Y.ndim != 2 or Y_hat.shape[-2:] != Y.shape or mean.shape != Y.shape[1:]:
        raise FitError(
            f"mapped states have shape {tuple(Y_hat.shape)}, the target's {tuple(Y.shape)} and their mean "
            f"{tuple(mean.shape)}; wanted (..., m, d), (m, d) and (d,): pass the same items in the same order"
        )
    mapped = finite_states(Y_hat, "the mapped states") - mean
    own = finite_states(Y, "Y") - mean
    total = own.square().sum(dim=-2)
    if not total.sum() > 0:
        raise FitError(f"all {len(Y)} rows of Y equal the mean; wanted rows that differ: score more items")
    residual = (mapped - own).square().sum(dim=-2)
    unexplained = residual.sum(dim=-1) / total.sum()
    # The cosine of a zero row is undefined; the `mean` control has only such rows.
    cosine = torch.cosine_similarity(mapped, own, dim=-1, eps=0.0).nan_to_num(0.0)
    return {
        "explained_variance": 1.0 - unexplained,
        "explained_variance_per_feature": torch.where(total > 0, 1.0 - residual / total, torch.nan),
        "relative_error": unexplained.sqrt(),
        "cosine": cosine.mean(dim=-1),
    }


def share_outside_span(X_fit: Tensor, X_new: Tensor) -> float:
    """Share of new states that lies outside the span of the fit rows, where a fit is undetermined.

    It is the sum of squares of X_new outside the row space of X_fit, over its whole sum of squares. Center both by the
    mean of the fit rows, as for the map.

    Args:
        X_fit: (n, d) states that the map was fitted on.
        X_new: (m, d) states to be mapped.

    Returns:
        A share in [0, 1]; 0 when the fit rows span the whole space or X_new is zero.

    Raises:
        FitError: widths that differ, or values that are not finite.

    Example:
        >>> share_outside_span(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
        0.5
    """
    X_fit, X_new = finite_states(X_fit, "X_fit"), finite_states(X_new, "X_new")
    if X_fit.shape[1] != X_new.shape[1]:
        raise FitError(
            f"the fit rows have width {X_fit.shape[1]} and the new rows {X_new.shape[1]}; wanted the same: "
            "pass states of the same model and layer"
        )
    total = float(X_new.square().sum())
    _, s, basis, _ = thin_svd(X_fit)
    if total == 0.0 or len(s) == X_fit.shape[1]:
        return 0.0
    outside = X_new - (X_new @ basis) @ basis.T
    return min(1.0, float(outside.square().sum()) / total)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.to(torch.float32)


class _Native:
    """The target's own logits (b, V), with the quantities cached that every divergence from them needs."""

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.total, self.share = logits, logits.logsumexp(dim=1), logits.softmax(dim=1)

    def kl_nats(self, z: Tensor, total: Tensor) -> Tensor:
        """KL(native || z) of each row: the log of the mean of e^u under native, u being z - native minus its mean.

        Where it is small it is computed as log1p of the mean of e^u - 1 - u, without cancellation of large terms. So it
        is exactly 0 for equal logits, and accurate in float32 far below the rounding of a log-probability.

        Args:
            z: (b, V) logits.
            total: (b,) their logsumexp.
        """
        u = z - self.logits
        mean = (self.share * u).sum(dim=1)
        kl = total - self.total - mean
        near = kl < NEAR_NATS
        if near.any():
            u, plain = u[near] - mean[near, None], kl[near]
            # e^u may overflow where a logit of negligible probability rose by much.
            tame = u.amax(dim=1) < LARGEST_EXPONENT
            close = torch.log1p(torch.expm1(u).sub_(u).mul_(self.share[near]).sum(dim=1))
            kl[near] = torch.where(tame, close, plain)
        return kl.clamp_min(0.0)


def _check_finite(logits: Tensor, name: str) -> None:
    # Minimum and maximum show NaN and infinities, without a mask of the size of the logits.
    low, high = logits.aminmax()
    if not (torch.isfinite(low) and torch.isfinite(high)):
        n_bad = int((~torch.isfinite(logits)).any(dim=1).sum())
        advice = "look at the states that were decoded, or load the model in float32"
        raise not_finite(n_bad, len(logits), name, advice)
