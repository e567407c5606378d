"""What similarity is worth beside the same measure on rows that were paired at random."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.scorer import Scorer

QUANTILE = 0.95
# A null that leaves less room than this below 1 leaves nothing to calibrate.
LEAST_ROOM = 1e-9


@dataclass(frozen=True)
class Null:
    """One measure for every pair of layers under permuted rows; matrices (S, T), one-sided p.

    Attributes:
        mean: over permutations.
        q95: their 95 % quantile.
        p: (1 + permutations that score at least as much) / (1 + permutations).
        p_corrected: the same for the largest standardised score over *all* pairs of layers.
        calibrated: (value - q95) / (1 - q95), NaN where q95 is 1: 1 is the most there can be, 0 or less is nothing.
    """

    mean: Tensor
    q95: Tensor
    p: Tensor
    p_corrected: Tensor
    calibrated: Tensor


@dataclass(frozen=True)
class Calibrated:
    """One measure for every pair of layers: `value` (S, T), and `nulls` by name."""

    value: Tensor
    nulls: dict[str, Null]


def random_permutations(
    n: int, n_permutations: int, generator: torch.Generator, labels: Tensor | None = None
) -> Tensor:
    """Permutations of n rows, drawn uniformly; with labels (n,) rows move only among those of their own label.

    Args:
        n: rows.
        n_permutations: how many, at least 1.
        generator: seeded, on the CPU; its state advances.
        labels: (n,) integers, or None.

    Returns:
        (n_permutations, n) long.

    Raises:
        FitError: fewer than one permutation.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> random_permutations(4, 1, g, torch.tensor([0, 0, 1, 1])).tolist()[0][:2] in ([0, 1], [1, 0])
        True
    """
    if n_permutations < 1:
        raise FitError(f"n_permutations is {n_permutations}; wanted at least 1, such as 100")
    drawn = torch.rand(n_permutations, n, dtype=torch.float64, generator=generator)
    if labels is None:
        return drawn.argsort(1)
    # Sorted by label and then at random; the places themselves are sorted by label.
    home = labels.argsort(stable=True)
    by_chance = drawn.argsort(1)
    shuffled = by_chance.gather(1, labels[by_chance].argsort(dim=1, stable=True))
    found = torch.empty_like(shuffled)
    found[:, home] = shuffled
    return found


def calibrate(
    scorers: Sequence[Scorer],
    permutations: dict[str, Tensor],
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Calibrated]:
    """Score rows as they are paired and as permutations pair them.

    All pairs of layers and all measures share the permutations. p_corrected takes the search over layers into
    account: every score is standardised by the mean and the standard deviation of that cell over the permutations and
    the observed pairing together, and compared with the largest standardised score of each permutation, so that it is
    exact, with correlated layers costing little. It is not corrected for the choice of a measure.

    Source: Phipson and Smyth (2010), doi:10.2202/1544-6115.1585, for p; Westfall and Young (1993), "Resampling-based
        multiple testing", for the single-step maximum; Groger, Wen, Brbic (2026), arXiv:2602.14486, for the
        calibrated score.

    Args:
        scorers: of the same layers.
        permutations: null -> (n_permutations, n).
        advance: called after each permutation of each scorer.

    Returns:
        measure -> its scores and nulls, in the order of `scorers`.
    """
    found: dict[str, Calibrated] = {}
    for scorer in scorers:
        observed = scorer.scores(torch.arange(scorer.n, device=scorer.device))
        nulls: dict[str, list[Null]] = {}
        for name, some in permutations.items():
            draws = []
            for permutation in some.to(scorer.device):
                draws.append(scorer.scores(permutation))
                advance()
            stacked = torch.stack(draws)
            nulls[name] = [_null(observed[c], stacked[:, c]) for c in range(len(observed))]
        for c, measure in enumerate(scorer.measures):
            found[measure] = Calibrated(observed[c].cpu(), {name: each[c] for name, each in nulls.items()})
    return found


def _null(value: Tensor, draws: Tensor) -> Null:
    """Compare observed scores (S, T) with draws (p, S, T)."""
    value, draws = value.cpu(), draws.cpu()
    n_permutations = len(draws)
    q95 = torch.quantile(draws, QUANTILE, dim=0)
    every = torch.cat([value[None], draws])
    spread = every.std(0)
    # A score that no permutation changes is never the largest one.
    standard = torch.where(spread > 1e-12, (every - every.mean(0)) / spread.clamp_min(1e-12), -torch.inf)
    largest = standard[1:].flatten(1).amax(1)
    hits = (draws >= value - 1e-12).sum(0).double()
    searched = (largest[:, None, None] >= standard[0] - 1e-12).sum(0).double()
    room = 1.0 - q95
    return Null(
        mean=draws.mean(0),
        q95=q95,
        p=(1.0 + hits) / (1.0 + n_permutations),
        p_corrected=(1.0 + searched) / (1.0 + n_permutations),
        calibrated=torch.where(room > LEAST_ROOM, (value - q95) / room.clamp_min(LEAST_ROOM), torch.nan),
    )
