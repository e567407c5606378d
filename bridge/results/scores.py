"""From per-item scores to means, intervals and paired contrasts over units."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bridge.results.conditions import Condition
from bridge.results.metrics import Metric
from bridge.statistics.families import draw_rank_p
from bridge.statistics.flips import exact_p
from bridge.statistics.levels import LEAST_UNITS
from bridge.statistics.resampling import Resampling
from bridge.statistics.shares import (
    difference_interval,
    exact_number,
    is_rare,
    is_scarce,
    is_seldom,
    rare_difference_interval,
    rare_difference_p,
    share_interval,
)
from bridge.statistics.units import Units, n_units

# The key of a metric: the table of its items, and the mask that assigns them to parts.
Key = tuple[str, str]


@dataclass
class Branch:
    """Scores of one condition at one point.

    Attributes:
        metrics: metric -> (n_draws, m) scores, item by item.
        totals: metric -> {mean, low, high}, of metrics that have no scores by item.
    """

    metrics: dict[str, Tensor]
    totals: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def n_draws(self) -> int:
        """The number of draws of each item."""
        return len(next(iter(self.metrics.values())))

    def mean(self, metric: str) -> float:
        """Mean over draws and items."""
        return float(self.metrics[metric].mean())


@dataclass(frozen=True)
class Part:
    """All items of a point, or one of the parts that its task names.

    Attributes:
        units: table -> (m,) integer unit of every item.
        masks: key of a metric -> (m,) which items count for it.
        n_resamples: resamples and sign flips of the units, which all scores share.
        seed: of the resamples.
    """

    units: Mapping[str, Tensor]
    masks: Mapping[Key, Tensor]
    n_resamples: int
    seed: int

    @classmethod
    def whole(cls, units: Tensor, n_resamples: int, seed: int) -> "Part":
        """All items of the one table that a point has."""
        return cls({"items": units}, {("items", ""): torch.ones_like(units, dtype=torch.bool)}, n_resamples, seed)

    def sizes(self, metric: Metric) -> dict[str, int]:
        """How many items and units count for a metric."""
        units, mask = self._of(key_of(metric))
        return {"n": int(mask.sum()), "n_units": n_units(units[mask])}

    @property
    def is_scored(self) -> bool:
        """Whether there are at least two units; one unit gives no interval."""
        return all(n_units(self.units[table][mask]) > 1 for (table, _), mask in self.masks.items())

    def split(self, metrics: Iterable[Metric]) -> Iterator[tuple[list[str], Tensor, Resampling]]:
        """The names of metrics that count the same items, which items these are, and the resamples of their units."""
        alike: dict[Key, list[str]] = {}
        for metric in metrics:
            if metric.items is not None:
                alike.setdefault(key_of(metric), []).append(metric.name)
        for key, names in alike.items():
            yield names, self._of(key)[1], self._resampling(key)

    def _of(self, key: Key) -> tuple[Tensor, Tensor]:
        return self.units[key[0]], self.masks[key]

    def _resampling(self, key: Key) -> Resampling:
        if key not in self._resamplings:
            units, mask = self._of(key)
            self._resamplings[key] = Resampling(units[mask], self.n_resamples, self.seed)
        return self._resamplings[key]

    @cached_property
    def _resamplings(self) -> dict[Key, Resampling]:
        return {}


def key_of(metric: Metric) -> Key:
    """The table of a metric's items, and which of its masks counts."""
    assert metric.items is not None
    return metric.items, metric.mask


def summarize(branch: Branch, reference: Branch | None, part: Part, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Mean of every metric over the items of `part`, with the range of a condition's draws or else a 95 % interval.

    The interval is a bootstrap over units, widened for their number; where fewer than ten units have a hit, or a
    miss, it is exact on the effective number of items. A metric that is a share of another is that one over the
    reference's on the same items, resampled together (where fewer than ten units, and fewer than half of them, have a
    hit: the exact bounds over the reference's mean). There is none where the reference itself scores 0.

    Args:
        branch: the scores.
        reference: what shares are of; None where a task has none.
        part: which items count.
        metrics: those of the task, by name.

    Returns:
        metric -> {mean, low, high}; with draws also n_draws and draws, the mean of each, and low and high are the
        lowest and the highest draw.
    """
    summary: dict[str, Any] = {}
    shares_of = {} if reference is None else {m.name: m.share_of for m in metrics.values() if m.share_of is not None}
    for names, mask, resampling in part.split(metrics[name] for name in branch.metrics):
        values = torch.stack([branch.metrics[n][:, mask] for n in names], -1)  # (n_draws, m, c)
        own, shares = values[0, :, :0], {}
        if reference is not None:
            shares = {share: of for share, of in shares_of.items()
                      if of in names and reference.metrics[of][0, mask].sum() > 0}  # fmt: skip
        if reference is not None and shares:
            own = torch.stack([reference.metrics[of][0, mask] for of in shares.values()], -1)
        if branch.n_draws > 1:
            summary |= _over_draws(values, names, shares, own)
        else:
            summary |= _over_units(values[0], names, shares, own, resampling, metrics)
    return summary


def _over_draws(values: Tensor, names: Sequence[str], shares: dict[str, str], own: Tensor) -> dict[str, Any]:
    by_draw = values.mean(1)
    by_draw = torch.cat([by_draw, by_draw[:, [names.index(of) for of in shares.values()]] / own.mean(0)], 1)
    return {
        name: {
            "mean": float(column.mean()),
            "low": float(column.min()),
            "high": float(column.max()),
            "n_draws": len(column),
            "draws": column.tolist(),
        }
        for name, column in zip([*names, *shares], by_draw.unbind(1), strict=True)
    }


def _over_units(
    values: Tensor,
    names: Sequence[str],
    shares: dict[str, str],
    own: Tensor,
    resampling: Resampling,
    metrics: Mapping[str, Metric],
) -> dict[str, Any]:
    columns = torch.cat([values, own], 1)
    resampled = resampling.means(columns)
    parts = [names.index(of) for of in shares.values()]
    means = columns.mean(0)
    ratios = resampled[:, parts] / resampled[:, len(names) :]
    # A resample in which the target's own score is 0 has no share.
    ratios = torch.where(torch.isfinite(ratios), ratios, means[parts] / means[len(names) :])
    over = torch.cat([torch.ones_like(values), own], 1)
    low, high = resampling.interval(
        torch.cat([resampled[:, : len(names)], ratios], 1), torch.cat([values, values[:, parts]], 1), over
    )
    summary = {
        name: {"mean": float(mean), "low": float(low[i]), "high": float(high[i])}
        for i, (name, mean) in enumerate(
            zip([*names, *shares], [*means[: len(names)], *(means[parts] / means[len(names) :])], strict=True)
        )
    }
    for i, name in enumerate(names):
        if metrics[name].has_share and is_rare(values[:, i], resampling.groups):
            exact = share_interval(float(means[i]), exact_number(values[:, i], resampling.groups))
            summary[name] |= dict(zip(("low", "high"), exact, strict=True))
            for k, (share, of) in enumerate(shares.items()):
                # The target's share of its own score is 1, without uncertainty.
                is_own = torch.equal(values[:, i], own[:, k])
                if of == name and is_seldom(values[:, i], resampling.groups) and not is_own:
                    native_mean = float(means[len(names) + k])
                    summary[share] |= {"low": exact[0] / native_mean, "high": exact[1] / native_mean}
    return summary


def is_rare_beside_draws(metric: Metric, fitted: Tensor, n_draws: int, groups: Tensor | Units) -> bool:
    """Whether differences are few large values, where the map is right, and many small ones from averaged draws.

    Args:
        metric: of the scores.
        fitted: (m,) scores of the fitted map.
        n_draws: of the control.
        groups: (m,) unit of each item.
    """
    return metric.has_share and n_draws > 1 and is_scarce(fitted, groups)


def contrast(
    fitted: Branch,
    control: Branch,
    part: Part,
    metrics: Mapping[str, Metric],
    condition: Condition,
    in_family: bool = True,
) -> dict[str, dict[str, Any]]:
    """Estimate minus another condition, paired by item, over the units of `part`.

    Args:
        fitted: the estimate's scores.
        control: the other's scores; its draws are averaged item by item.
        part: which items count.
        metrics: those of the task, by name.
        condition: the other. If it is `ranked`, the estimate is ranked among its draws.
        in_family: whether a family of contrasts has this part, so that a tested condition needs p_exact.

    Returns:
        metric -> {difference, low, high, p}: a 95 % interval of the mean difference and a two-sided sign-flip p, in
        which the differences of a unit are flipped together; None below 6 units, whose flips cannot reach 0.05. Where
        few units differ (`is_seldom`), or the fitted score is rare beside averaged draws (`is_scarce`), the interval is
        made of exact ones, and in the second case p is the one that goes with it, because flips do not hold their level
        there. p_exact has no floor: the larger of the p of all flips at once
        and of a t whose skewness is taken out, or that of the exact interval. p_draws is
        the one-sided rank of the fitted score among the draws, which no number of items can push below
        ``1 / (1 + n_draws)``.
    """
    contrasts: dict[str, dict[str, Any]] = {}
    for names, mask, resampling in part.split(metrics[n] for n in fitted.metrics if n in control.metrics):
        ours, theirs = (
            torch.stack([branch.metrics[n][:, mask] for n in names], -1).double() for branch in (fitted, control)
        )
        differences = ours[0] - theirs.mean(0)
        low, high = resampling.interval(resampling.means(differences), differences)
        enough = resampling.n_units >= LEAST_UNITS
        p: list[float | None] = [None] * len(names)
        if enough:
            p = resampling.p(differences).tolist()
        sign = torch.tensor([1.0 if metrics[n].higher_is_better else -1.0 for n in names], dtype=torch.float64)
        for i, name in enumerate(names):
            column = differences[:, i]
            bounds = float(low[i]), float(high[i])
            by_interval = is_rare_beside_draws(metrics[name], ours[0, :, i], control.n_draws, resampling.groups)
            if by_interval:
                sides = ours[0, :, i], theirs.mean(0)[:, i], resampling.groups
                bounds = rare_difference_interval(*sides)
                p[i] = rare_difference_p(*sides) if enough else None
            elif metrics[name].has_share and is_seldom(column, resampling.groups):
                bounds = difference_interval(column, resampling.groups)
            contrasts[name] = {"difference": float(column.mean()), "low": bounds[0], "high": bounds[1], "p": p[i]}
            if in_family and condition.tested and enough:
                step = 1.0 / control.n_draws if metrics[name].binary else None
                exact = float(exact_p(column[:, None], step, resampling.groups))
                contrasts[name]["p_exact"] = p[i] if by_interval else exact
        if condition.ranked:
            ranks = draw_rank_p(sign * ours[0].mean(0), sign * theirs.mean(1))
            for name, rank in zip(names, ranks.tolist(), strict=True):
                contrasts[name]["p_draws"] = rank
    return contrasts
