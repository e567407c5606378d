"""Similarity calibrated on a null: the same measure on rows that were paired at random."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bridge.similarity.scorer import Scorer

# One in so many scores of the null may lie above the quantile: 5 %.
ONE_IN = 20
# Scores (p, pairs of layers) -> (p,).
AGGREGATES = {"max": lambda scores: scores.amax(1), "mean": lambda scores: scores.mean(1)}
# If the quantile is nearer to 1 than this, scores are not calibrated.
LEAST_ROOM = 1e-9


@dataclass(frozen=True)
class Null:
    """One measure for every pair of layers under permuted rows; matrices (S, T), one-sided p.

    Attributes:
        mean: over permutations.
        low: the lowest score of a permutation.
        high: the highest.
        q95: the ceil(0.95 (n + 1))-th smallest of the n permutations' scores and the observed one. Under the null
            all ranks of the observed score are equally likely, so it exceeds q95 in at most one case of 20.
        p: (1 + permutations that score at least as much) / (1 + permutations).
        p_corrected: the same for the largest standardised score over *all* pairs of layers.
        calibrated: (value - q95) / (1 - q95), NaN where q95 is 1. The maximum is 1; 0 or less is chance level. With
            fewer than 19 permutations it is never above 0.
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    q95: Tensor
    p: Tensor
    p_corrected: Tensor
    calibrated: Tensor


@dataclass(frozen=True)
class Calibrated:
    """One measure for every pair of layers: `value` (S, T), and `nulls` by name.

    Attributes:
        over_layers: "max" and "mean" over the counted pairs of layers, with scalars in place of matrices. The maximum
            is compared with the maxima of the permutations, so it needs no correction for the search over layers.
        draws: null -> (n_permutations, S, T) scores of permuted rows, which it was made of.
    """

    value: Tensor
    nulls: dict[str, Null]
    over_layers: "dict[str, Calibrated]" = field(default_factory=dict)
    draws: dict[str, Tensor] = field(default_factory=dict)


def calibrate(
    scorers: Sequence[Scorer],
    permutations: dict[str, Tensor],
    advance: Callable[[], object] = lambda: None,
    counted: Tensor | None = None,
) -> dict[str, Calibrated]:
    """Score the observed pairing of rows, and every permuted one.

    All pairs of layers and all measures share the permutations. p_corrected accounts for the search over layers: each
    score is standardised by the mean and the standard deviation of its pair of layers, over the permutations and the
    observed pairing together, and compared with the largest standardised score of each permutation. That is exact, and
    correlated layers cost little. It is not corrected for the choice of a measure.

    Source: Phipson and Smyth (2010), doi:10.2202/1544-6115.1585, for p; Westfall and Young (1993), "Resampling-based
        multiple testing", for the single-step maximum; Groger, Wen, Brbic (2026), arXiv:2602.14486, for the
        calibrated score.

    Args:
        scorers: of the same layers.
        permutations: null -> (n_permutations, n).
        advance: called after each permutation of each scorer.
        counted: (S, T) bool, the pairs of layers that `over_layers` is taken over; all where None.

    Returns:
        measure -> its scores and nulls, in the order of `scorers`.
    """
    scores: dict[str, Calibrated] = {}
    for scorer in scorers:
        observed = scorer.scores(torch.arange(scorer.n, device=scorer.device))
        draws_of: dict[str, Tensor] = {}
        for name, orders in permutations.items():
            draws = []
            for permutation in orders.to(scorer.device):
                draws.append(scorer.scores(permutation))
                advance()
            draws_of[name] = torch.stack(draws).cpu()
        for c, measure in enumerate(scorer.measures):
            draws_here = {name: draws[:, c] for name, draws in draws_of.items()}
            scores[measure] = _calibrated(observed[c].cpu(), draws_here, counted)
    return scores


def _calibrated(value: Tensor, draws: dict[str, Tensor], counted: Tensor | None) -> Calibrated:
    """Compare observed scores (S, T), and the maximum and mean of those counted, with draws (p, S, T) of every null."""
    counted = torch.ones_like(value, dtype=torch.bool) if counted is None else counted
    over_layers = {}
    for name, over in AGGREGATES.items():
        one = over(value[None, counted])
        nulls = {null: _null(one, over(some[:, counted])[:, None]) for null, some in draws.items()}
        scalars = {null: Null(**{k: v[0] for k, v in vars(each).items()}) for null, each in nulls.items()}
        over_layers[name] = Calibrated(one[0], scalars)
    return Calibrated(value, {null: _null(value, some) for null, some in draws.items()}, over_layers, draws)


def _null(value: Tensor, draws: Tensor) -> Null:
    """Compare observed scores (S, ...) with draws (p, S, ...)."""
    n_permutations = len(draws)
    every = torch.cat([value[None], draws])
    q95 = every.kthvalue(len(every) - len(every) // ONE_IN, dim=0).values
    spread = every.std(0)
    # A score that is the same under all permutations is never the largest one.
    standard = torch.where(spread > 1e-12, (every - every.mean(0)) / spread.clamp_min(1e-12), -torch.inf)
    largest = standard[1:].flatten(1).amax(1)
    hits = (draws >= value - 1e-12).sum(0).double()
    searched = (largest.view(-1, *[1] * value.ndim) >= standard[0] - 1e-12).sum(0).double()
    room = 1.0 - q95
    return Null(
        mean=draws.mean(0),
        low=draws.amin(0),
        high=draws.amax(0),
        q95=q95,
        p=(1.0 + hits) / (1.0 + n_permutations),
        p_corrected=(1.0 + searched) / (1.0 + n_permutations),
        calibrated=torch.where(room > LEAST_ROOM, (value - q95) / room.clamp_min(LEAST_ROOM), torch.nan),
    )
