"""Sign-flip tests of paired scores: all differences of a unit get the same random sign."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.statistics.levels import SMALLEST_P
from bridge.statistics.skewness import skewness_p, transformed
from bridge.statistics.units import Units, check_resamples, unit_sums

# Resamples x units of one chunk.
CHUNK_WEIGHTS = 2**22
# Levels x points of the largest table of cosines that is kept for the next test (8 MiB).
KEPT_COSINES = 2**20


def paired_permutation_p(
    differences: Tensor,
    n_resamples: int,
    generator: torch.Generator,
    groups: Tensor | Units | None = None,
) -> Tensor:
    """Two-sided sign-flip test that paired differences have mean zero.

    Under the null hypothesis the differences of a unit, taken together, are as likely as their negatives.
    p = (1 + hits) / (1 + n_resamples), where a hit is a flipped mean at least as far from zero as the observed
    one; so p is never 0. All columns share the flips.

    Source: Phipson and Smyth (2010), "Permutation p-values should never be zero", doi:10.2202/1544-6115.1585.

    Args:
        differences: (n, c) differences of two scores, one row an item.
        n_resamples: number of random flips, at least 1.
        generator: source of randomness; its state advances.
        groups: (n,) long unit of each item, any labels; None where each item is a unit.

    Returns:
        p (c,) float64 in (0, 1].

    Raises:
        FitError: no rows, values that are not finite, or numbers out of range.

    Example:
        >>> differences = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).repeat(20, 1)
        >>> paired_permutation_p(differences, 999, torch.Generator().manual_seed(0)).tolist()
        [0.001, 1.0]
    """
    check_resamples(n_resamples)
    sums, _ = unit_sums(differences, groups)
    # Ties are common in scores of 0 and 1; rounding must not break them.
    observed = sums.sum(dim=0).abs() - 1e-12 * sums.abs().sum(dim=0)
    hits = torch.zeros_like(observed)
    for signs in flips(len(sums), n_resamples, generator, sums.device):
        hits += ((signs @ sums).abs() >= observed).sum(dim=0)
    return (1.0 + hits) / (1.0 + n_resamples)


def exact_sign_flip_p(differences: Tensor, step: float | None = None, groups: Tensor | Units | None = None) -> Tensor:
    """Two-sided sign-flip test that paired differences have mean zero, over all 2**n flips of n units at once.

    The sums over units are rounded to multiples of `step`. The distribution of their total under independent signs is
    the inverse Fourier transform of its characteristic function, a product of cosines. So p has no lower bound from a
    number of resamples. That matters where many p values are corrected together: 1,000 random flips cannot reject any
    of 100 hypotheses. The test is exact for the rounded sums. Where all differences are multiples of `step`, as shares
    of draws are, nothing is rounded unless a unit's sum exceeds 120 steps.

    Source: Fisher (1935), "The Design of Experiments", section 21; Baglivo, Olivier and Pagano (1992), "Methods
    for exact goodness-of-fit tests", doi:10.1080/01621459.1992.10475227, for the transform.

    Args:
        differences: (n, c) differences of two scores, one row an item.
        step: rounding step, at least 1/120 of each column's largest sum; 1/60 of it when None.
        groups: (n,) long unit of each item, any labels; None where each item is a unit.

    Returns:
        p (c,) float64 in [1e-12, 1].

    Raises:
        FitError: no rows, values that are not finite, or a step that is not positive.

    Example:
        >>> differences = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]])
        >>> [round(p, 9) for p in exact_sign_flip_p(differences, step=1.0).tolist()]
        [0.25, 1.0]
    """
    if step is not None and not step > 0.0:
        raise FitError(f"step is {step}; wanted a positive number: give one, or None")
    values, _ = unit_sums(differences, groups)
    coarse = (values.abs().amax(dim=0) / 60.0).clamp_min(1e-300)
    unit = coarse if step is None else (coarse / 2.0).clamp_min(step)
    levels = (values / unit).round().to(torch.int64)
    observed, sizes = levels.sum(dim=0).abs(), levels.abs()
    n_levels = int(sizes.max()) + 1
    column = torch.arange(values.shape[1], device=values.device).expand_as(sizes)
    counts = torch.bincount((column * n_levels + sizes).flatten(), minlength=values.shape[1] * n_levels)
    counts = counts.view(-1, n_levels).to(torch.float64)
    # Hoeffding: a sum is nine root sums of squares from zero with probability below 1e-17.
    reach = torch.minimum(sizes.sum(dim=0).double(), 9.0 * sizes.double().square().sum(dim=0).sqrt()).max()
    n_points = 2 ** math.ceil(math.log2(2.0 * float(reach) + 2.0))
    half = n_points // 2
    logs, is_negative = _cosines(n_levels, n_points, values.device)
    p = []
    for rows, at in zip(*(torch.split(t, max(1, CHUNK_WEIGHTS // n_points)) for t in (counts, observed)), strict=True):
        wave = (rows @ logs).exp_().mul_((rows @ is_negative).remainder_(2.0).mul_(-2.0).add_(1.0))
        mass = torch.fft.irfft(wave, n=n_points, dim=1)
        first = mass[:, 0].clone()
        # The distribution is symmetric about zero: p is one minus the mass strictly nearer to zero than observed.
        nearer = mass[:, :half].cumsum(1).gather(1, (at - 1).clamp(0, half - 1)[:, None])[:, 0]
        p.append(torch.where(at == 0, 1.0, 1.0 - (2.0 * nearer - first)))
    return torch.cat(p).clamp(SMALLEST_P, 1.0)


def _cosines(n_levels: int, n_points: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The log and the sign of cos(2 pi level frequency / n_points), (n_levels, n_points / 2 + 1) each."""
    make = _small_cosines if n_levels * n_points <= KEPT_COSINES else _small_cosines.__wrapped__
    return make(n_levels, n_points, device)


@lru_cache(maxsize=8)
def _small_cosines(n_levels: int, n_points: int, device: torch.device) -> tuple[Tensor, Tensor]:
    # The table of cosines is periodic in level x frequency, so exact integers pick its entries.
    grid = torch.arange(n_levels, device=device)[:, None] * torch.arange(n_points // 2 + 1, device=device)
    cosines = torch.cos(torch.arange(n_points, dtype=torch.float64, device=device) * (2.0 * math.pi / n_points))
    cosines = cosines[grid % n_points]
    return cosines.abs().clamp_min(1e-300).log(), (cosines < 0.0).to(torch.float64)


def exact_p(differences: Tensor, step: float | None = None, groups: Tensor | Units | None = None) -> Tensor:
    """Two-sided p (c,) without a floor: the larger of `exact_sign_flip_p` and `skewness_p`, with their arguments."""
    return torch.maximum(exact_sign_flip_p(differences, step, groups), skewness_p(differences, groups))


def max_statistic_p(
    differences: Tensor, n_resamples: int, generator: torch.Generator, groups: Tensor | Units | None = None
) -> Tensor:
    """Sign-flip p of each candidate, corrected for having searched all candidates for the best one.

    The statistic is a t of the unit sums corrected for skewness (`skewness.transformed`), for flipped and observed sums
    alike. p = (1 + hits) / (1 + n_resamples), where a hit is a flip whose largest statistic *over all candidates* is at
    least as far from zero as this candidate's observed one. A unit has the same sign in all candidates, so correlated
    candidates cost little. A candidate without any difference is never the best.

    Source: Westfall and Young (1993), "Resampling-based multiple testing", the single-step maxT procedure; Hall (1992),
    doi:10.1111/j.2517-6161.1992.tb01872.x, for the statistic.

    Args:
        differences: (n, c) differences of two scores on the same n items, one column a candidate; or (n, c, b)
            for b searches at once that share the flips and nothing else.
        n_resamples: number of random flips, at least 1.
        generator: source of randomness; its state advances.
        groups: (n,) long unit of each item, any labels; None where each item is a unit.

    Returns:
        p (c,) or (c, b) float64 in (0, 1], two-sided; never below the p of that candidate searched alone.

    Raises:
        FitError: no rows, values that are not finite, or numbers out of range.

    Example:
        >>> noise = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
        >>> best = noise.mean(0).argmax()
        >>> alone = paired_permutation_p(noise[:, best:best + 1], 999, torch.Generator().manual_seed(0))
        >>> searched = max_statistic_p(noise, 999, torch.Generator().manual_seed(0))[best]
        >>> alone.item() < 0.05 < searched.item()
        True
    """
    shape = differences.shape[1:]
    check_resamples(n_resamples)
    sums, _ = unit_sums(differences.flatten(1), groups)
    sums = sums / sums.square().mean(dim=0).sqrt().clamp_min(1e-300)
    observed = _sizes(sums.new_ones(1, len(sums)), sums)[0].view(shape)
    # A few searches at a time, to bound the memory of the flipped sums.
    blocks = torch.split(sums.view(len(sums), shape[0], -1), max(1, 64 // shape[0]), dim=2)
    every = flips(len(sums), n_resamples, generator, sums.device)
    largest = torch.cat([_largest(signs, blocks) for signs in every]).sort(dim=0).values
    # Rounding must not break ties, which are common in scores of 0 and 1.
    observed = observed - 1e-9 * (1.0 + observed)
    above = (t.movedim(0, -1).contiguous() for t in (largest.view(-1, *shape[1:]), observed))
    n_below = torch.searchsorted(*above).movedim(-1, 0).to(torch.float64)
    return (1.0 + n_resamples - n_below) / (1.0 + n_resamples)


def _largest(signs: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """The largest absolute statistic of each search (r, b) under flips, for unit sums (n, c, b) in blocks along b."""
    sizes = (_sizes(signs, block.flatten(1)).view(len(signs), *block.shape[1:]) for block in blocks)
    return torch.cat([size.amax(dim=1) for size in sizes], dim=1)


def _sizes(signs: Tensor, sums: Tensor) -> Tensor:
    """Absolute statistics (r, c) of unit sums (n, c) of mean square 1 or 0, each row under its signs (r, n)."""
    n = len(sums)
    squares = sums.square().mean(dim=0)
    return transformed(signs @ sums / n, squares, signs @ sums.pow(3) / n, n).abs()


def flips(
    n_units: int, n_resamples: int, generator: torch.Generator, device: torch.device | None = None
) -> Iterator[Tensor]:
    """Random signs (r, n_units) in `n_resamples` rows altogether, a bounded number of them at a time."""
    for n_draws in chunks(n_resamples, n_units):
        signs = torch.randint(2, (n_draws, n_units), generator=generator, device=generator.device, dtype=torch.int8)
        yield signs.to(device or generator.device, torch.float64).mul_(2.0).sub_(1.0)


def chunks(n_resamples: int, n_groups: int) -> list[int]:
    """Sizes of the chunks in which resamples are drawn, to bound memory; a function of the two numbers alone."""
    at_once = max(1, CHUNK_WEIGHTS // n_groups)
    return [min(at_once, n_resamples - done) for done in range(0, n_resamples, at_once)]
