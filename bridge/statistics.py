"""Intervals and p values for scores that are paired item by item."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bridge.errors import FitError

# resamples x items held in memory at once
CHUNK_WEIGHTS = 2**22
# What float64 sums of a whole distribution can still tell from zero.
SMALLEST_P = 1e-12


def bootstrap_interval(
    values: Tensor,
    n_resamples: int,
    generator: torch.Generator,
    level: float = 0.95,
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Percentile bootstrap interval of the mean over rows.

    All columns share each resample, so that intervals of several metrics or controls refer to the same draws.
    With `groups` whole groups are drawn with replacement, because items of one group are not independent.

    Source: Efron (1979), "Bootstrap methods: another look at the jackknife", doi:10.1214/aos/1176344552.

    Args:
        values: (n, c) scores, one row an item.
        n_resamples: number of resamples, at least 1.
        generator: source of randomness; its state advances.
        level: share of the resampled means inside the interval, in (0, 1).
        groups: (n,) long group of each item, any labels, or None.

    Returns:
        low (c,) and high (c,), float64, in the unit of `values`.

    Raises:
        FitError: no rows, values that are not finite, or numbers out of range.

    Example:
        >>> values = torch.tensor([[0.0, 7.0], [1.0, 7.0], [1.0, 7.0], [0.0, 7.0]])
        >>> low, high = bootstrap_interval(values, 1000, torch.Generator().manual_seed(0))
        >>> low.tolist(), high.tolist()
        ([0.0, 7.0], [1.0, 7.0])
    """
    if not 0.0 < level < 1.0:
        raise FitError(f"level of the interval is {level}; wanted a number between 0 and 1, such as 0.95")
    sums, sizes = _group_sums(values, n_resamples, groups)
    n_groups = len(sums)
    means = []
    for n_draws in _chunks(n_resamples, n_groups):
        drawn = torch.randint(n_groups, (n_draws, n_groups), generator=generator, device=generator.device)
        counts = torch.zeros(n_draws, n_groups, dtype=torch.float64, device=drawn.device)
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        counts = counts.to(sums.device)
        means.append((counts @ sums) / (counts @ sizes))
    ordered = torch.cat(means).sort(dim=0).values
    tail = (1.0 - level) / 2.0
    return _quantile(ordered, tail), _quantile(ordered, 1.0 - tail)


def paired_permutation_p(
    differences: Tensor,
    n_resamples: int,
    generator: torch.Generator,
    groups: Tensor | None = None,
) -> Tensor:
    """Two-sided sign-flip test that paired differences have mean zero.

    Under the null hypothesis each difference, or with `groups` all differences of a group together, is as
    likely as its negative. p = (1 + hits) / (1 + n_resamples), where a hit is a flipped mean at least as far
    from zero as the observed one; so p is never 0. All columns share the flips.

    Source: Phipson and Smyth (2010), "Permutation p-values should never be zero", doi:10.2202/1544-6115.1585.

    Args:
        differences: (n, c) differences of two scores, one row an item.
        n_resamples: number of random flips, at least 1.
        generator: source of randomness; its state advances.
        groups: (n,) long group of each item, any labels, or None.

    Returns:
        p (c,) float64 in (0, 1].

    Raises:
        FitError: no rows, values that are not finite, or numbers out of range.

    Example:
        >>> differences = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).repeat(20, 1)
        >>> paired_permutation_p(differences, 999, torch.Generator().manual_seed(0)).tolist()
        [0.001, 1.0]
    """
    sums, _ = _group_sums(differences, n_resamples, groups)
    # in scores of 0 and 1 ties are common; rounding must not break them
    observed = sums.sum(dim=0).abs() - 1e-12 * sums.abs().sum(dim=0)
    hits = torch.zeros_like(observed)
    for signs in _signs(sums, n_resamples, generator):
        hits += ((signs @ sums).abs() >= observed).sum(dim=0)
    return (1.0 + hits) / (1.0 + n_resamples)


def draw_rank_p(fitted: Tensor, draws: Tensor) -> Tensor:
    """One-sided p that a fitted score is one more draw of a control.

    p = (1 + number of draws at least as large as the fitted score) / (1 + p_draws): with 20 draws the
    smallest possible p is 1/21.

    Args:
        fitted: (c,) scores, larger is better.
        draws: (p, c) the same scores for p draws of the control.

    Returns:
        p (c,) float64 in (0, 1].

    Raises:
        FitError: shapes that do not match, or values that are not finite.

    Example:
        >>> draw_rank_p(torch.tensor([0.9, 0.1]), torch.tensor([[0.1, 0.2], [0.2, 0.1], [0.3, 0.0]])).tolist()
        [0.25, 0.75]
    """
    if draws.ndim != 2 or fitted.shape != draws.shape[1:] or len(draws) == 0:
        raise FitError(
            f"fitted scores have shape {tuple(fitted.shape)} and draws {tuple(draws.shape)}; wanted (c,) "
            "and (p, c) with at least one draw"
        )
    if not (torch.isfinite(fitted).all() and torch.isfinite(draws).all()):
        raise FitError("fitted scores or draws hold NaN or infinite values; wanted finite scores: leave those out")
    hits = (draws.to(torch.float64) >= fitted.to(torch.float64)).sum(dim=0)
    return (1.0 + hits.to(torch.float64)) / (1.0 + len(draws))


def exact_sign_flip_p(differences: Tensor, step: float | None = None) -> Tensor:
    """Two-sided sign-flip test that paired differences have mean zero, over all 2**n flips at once.

    The differences are rounded to multiples of `step`, and the distribution of their sum under independent signs
    is the inverse Fourier transform of its characteristic function, a product of cosines. So p has no floor
    that depends on a number of resamples, which matters where many p values are corrected together: 1,000 random
    flips cannot reject any of 100 hypotheses. The test is exact for the rounded differences; where all are
    multiples of `step`, as shares of draws are, nothing is rounded.

    Source: Fisher (1935), "The Design of Experiments", section 21; Baglivo, Olivier and Pagano (1992), "Methods
    for exact goodness-of-fit tests", doi:10.1080/01621459.1992.10475227, for the transform.

    Args:
        differences: (n, c) differences of two scores, one row an item.
        step: unit to round to; 1/60 of each column's largest difference when None, and never below half of that.

    Returns:
        p (c,) float64 in [1e-12, 1].

    Raises:
        FitError: no rows, values that are not finite, or a step that is not positive.

    Example:
        >>> differences = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]])
        >>> [round(p, 9) for p in exact_sign_flip_p(differences, step=1.0).tolist()]
        [0.25, 1.0]
    """
    _checked(differences)
    if step is not None and not step > 0.0:
        raise FitError(f"step is {step}; wanted a positive number, or None")
    values = differences.to(torch.float64)
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
    # The table of cosines is periodic in level x frequency, so exact integers pick its entries.
    grid = torch.arange(n_levels, device=values.device)[:, None] * torch.arange(half + 1, device=values.device)
    cosines = torch.cos(torch.arange(n_points, dtype=torch.float64, device=values.device) * (2.0 * math.pi / n_points))
    cosines = cosines[grid % n_points]
    logs, is_negative = cosines.abs().clamp_min(1e-300).log(), (cosines < 0.0).to(torch.float64)
    p = []
    for rows, at in zip(*(torch.split(t, max(1, CHUNK_WEIGHTS // n_points)) for t in (counts, observed)), strict=True):
        wave = (rows @ logs).exp_().mul_((rows @ is_negative).remainder_(2.0).mul_(-2.0).add_(1.0))
        mass = torch.fft.irfft(wave, n=n_points, dim=1)
        first = mass[:, 0].clone()
        # The sum is symmetric about zero: everything nearer to it than the observed one, taken from one.
        nearer = mass[:, :half].cumsum(1).gather(1, (at - 1).clamp(0, half - 1)[:, None])[:, 0]
        p.append(torch.where(at == 0, 1.0, 1.0 - (2.0 * nearer - first)))
    return torch.cat(p).clamp(SMALLEST_P, 1.0)


def max_statistic_p(differences: Tensor, n_resamples: int, generator: torch.Generator) -> Tensor:
    """Sign-flip p of each candidate, corrected for having searched all candidates for the best one.

    Each candidate's sum is divided by its root sum of squares, which no flip changes; p = (1 + hits) / (1 +
    n_resamples), where a hit is a flip whose largest statistic *over all candidates* is at least as far from zero
    as this candidate's observed one. An item has the same sign everywhere, so candidates that go together cost
    little. A candidate without any difference is never the best.

    Source: Westfall and Young (1993), "Resampling-based multiple testing", the single-step maxT procedure.

    Args:
        differences: (n, c) differences of two scores on the same n items, one column a candidate; or (n, c, b)
            for b searches at once that share the flips and nothing else.
        n_resamples: number of random flips, at least 1.
        generator: source of randomness; its state advances.

    Returns:
        p (c,) or (c, b) float64 in (0, 1], two-sided; never below the p of a single candidate.

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
    sums, _ = _group_sums(differences.flatten(1), n_resamples, None)
    sums = sums / sums.square().sum(dim=0).sqrt().clamp_min(1e-300)
    observed = (sums.sum(dim=0).abs() - 1e-12 * sums.abs().sum(dim=0)).view(shape)
    # A few searches at a time, so that the flipped sums of all of them need not be held together.
    blocks = torch.split(sums.view(len(sums), shape[0], -1), max(1, 64 // shape[0]), dim=2)
    largest = torch.cat([_largest(signs, blocks) for signs in _signs(sums, n_resamples, generator)]).sort(dim=0).values
    above = (t.movedim(0, -1).contiguous() for t in (largest.view(-1, *shape[1:]), observed))
    n_below = torch.searchsorted(*above).movedim(-1, 0).to(torch.float64)
    return (1.0 + n_resamples - n_below) / (1.0 + n_resamples)


def _largest(signs: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """The largest absolute flipped sum of each search (r, b), for sums (n, c, b) in blocks along b."""
    flipped = (torch.tensordot(signs, block, dims=1) for block in blocks)
    return torch.cat([torch.maximum(f.amax(dim=1), -f.amin(dim=1)) for f in flipped], dim=1)


def holm(p: Tensor) -> Tensor:
    """Holm's correction: reject where the result is at most alpha, and no true hypothesis of the family is rejected
    with probability above alpha, however the p values depend on each other.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", jstor 4615733.

    Args:
        p: (m,) p values of one family.

    Returns:
        (m,) float64 adjusted p values in the order of `p`, each at least `p` and at most 1.

    Raises:
        FitError: values outside [0, 1].

    Example:
        >>> holm(torch.tensor([0.01, 0.04, 0.03], dtype=torch.float64)).tolist()
        [0.03, 0.06, 0.06]
    """
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise FitError(f"p values have shape {tuple(p.shape)} or lie outside 0 to 1; wanted (m,) p values")
    if not len(p):
        return p.to(torch.float64)
    ordered, order = p.to(torch.float64).sort(stable=True)
    factors = torch.arange(len(p), 0, -1, dtype=torch.float64, device=p.device)
    adjusted = (ordered * factors).cummax(dim=0).values.clamp(max=1.0)
    return torch.empty_like(adjusted).scatter_(0, order, adjusted)


def _checked(values: Tensor) -> None:
    if values.ndim != 2 or len(values) == 0:
        raise FitError(f"scores have shape {tuple(values.shape)}; wanted (n, c) with at least one item")
    n_bad = int((~torch.isfinite(values)).any(dim=1).sum())
    if n_bad:
        raise FitError(
            f"{n_bad} of {len(values)} items have NaN or infinite scores; wanted finite ones: "
            "leave those items out of every side of the comparison"
        )


def _signs(sums: Tensor, n_resamples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Random signs (r, g) in `n_resamples` rows altogether, a bounded number of them at a time."""
    for n_draws in _chunks(n_resamples, len(sums)):
        flips = torch.randint(2, (n_draws, len(sums)), generator=generator, device=generator.device, dtype=torch.int8)
        yield flips.to(sums.device, torch.float64).mul_(2.0).sub_(1.0)


def _group_sums(values: Tensor, n_resamples: int, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum the values of each group (g, c) and count its items (g, 1); without groups each item is one."""
    _checked(values)
    if n_resamples < 1:
        raise FitError(f"number of resamples is {n_resamples}; wanted at least 1, better 1000 or more")
    values = values.to(torch.float64)
    if groups is None:
        return values, values.new_ones(len(values), 1)
    if groups.shape != values.shape[:1]:
        raise FitError(f"groups have shape {tuple(groups.shape)}; wanted ({len(values)},), one label an item")
    labels, index = groups.to(values.device).unique(return_inverse=True)
    sums = values.new_zeros(len(labels), values.shape[1]).index_add_(0, index, values)
    sizes = values.new_zeros(len(labels), 1).index_add_(0, index, values.new_ones(len(values), 1))
    return sums, sizes


def _chunks(n_resamples: int, n_groups: int) -> list[int]:
    """Split the resamples so that memory stays bounded; the split depends on nothing but the two numbers."""
    at_once = max(1, CHUNK_WEIGHTS // n_groups)
    return [min(at_once, n_resamples - done) for done in range(0, n_resamples, at_once)]


def _quantile(ordered: Tensor, q: float) -> Tensor:
    """Interpolate linearly between the ordered rows; `torch.quantile` refuses more than 16 million values."""
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], position - below)
