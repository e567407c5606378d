"""From per-item scores to means, intervals and paired contrasts over units."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bridge.statistics.families import draw_rank_p
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
from bridge.statistics.units import n_units

# The shares of what the target itself reaches: score -> the score it is a share of.
SHARES = {"fraction_of_native": "top1", "fraction_of_native_f1": "token_f1"}
# Scores that are 0 or 1 for every item.
BINARY = ("top1", "top5", "top10", "agreement", "exact_match")
# Scores in [0, 1].
BOUNDED = (*BINARY, "token_f1")
# Scores of whole answers; all others are of the answer's first token.
WHOLE = ("answer_logprob_nats", "token_f1", "exact_match")
LOWER_IS_BETTER = ("kl_nats",)


@dataclass
class Branch:
    """Per-item scores of one control: metric -> (n_draws, m)."""

    metrics: dict[str, Tensor]

    @property
    def n_draws(self) -> int:
        """How many draws stand behind each item."""
        return len(next(iter(self.metrics.values())))

    def mean(self, metric: str) -> float:
        """Mean over draws and items."""
        return float(self.metrics[metric].mean())


@dataclass(frozen=True)
class Part:
    """Some of the eval items: all of them, those with a new answer, or those with a known one.

    Attributes:
        units: (m,) integer unit of every eval item.
        token: (m,) which items count for scores of the answer's first token.
        whole: (m,) which items count for scores of whole answers.
        n_resamples: resamples and sign flips of the units, which all scores share.
        seed: of these.
    """

    units: Tensor
    token: Tensor
    whole: Tensor
    n_resamples: int
    seed: int

    def sizes(self) -> dict[str, int]:
        """How many items and units count for scores of the first token."""
        return {"n": int(self.token.sum()), "n_units": n_units(self.units[self.token])}

    @property
    def is_scored(self) -> bool:
        """Whether there are two units at least: of one there is no interval."""
        return all(n_units(self.units[mask]) > 1 for mask in (self.token, self.whole))

    def split(self, metrics: Sequence[str]) -> Iterator[tuple[list[str], Tensor, Resampling]]:
        """The metrics, which items count for them, and the resamples of their units."""
        if names := [m for m in metrics if m not in WHOLE]:
            yield names, self.token, self._token_resampling
        if names := [m for m in metrics if m in WHOLE]:
            yield names, self.whole, self._whole_resampling

    @cached_property
    def _token_resampling(self) -> Resampling:
        return Resampling(self.units[self.token], self.n_resamples, self.seed)

    @cached_property
    def _whole_resampling(self) -> Resampling:
        return Resampling(self.units[self.whole], self.n_resamples, self.seed)


def summarize(branch: Branch, native: Branch, part: Part) -> dict[str, Any]:
    """Mean of every metric over the items of `part`, with the range of a control's draws or else a 95 % interval.

    The interval is a bootstrap over units, widened for their number; where fewer than ten units have a success, or a
    failure, it is exact on the effective number of items. `fraction_of_native` is top-1 over the target's own top-1
    on the same items, resampled together (where fewer than ten units, and fewer than half of them, have a success: the
    exact bounds over the target's mean); `fraction_of_native_f1` the same of token F1, where whole answers are scored.
    There is none where the target itself scores 0.

    Args:
        branch: the scores.
        native: the target's own scores.
        part: which items count.

    Returns:
        metric -> {mean, low, high}; with draws also n_draws, and low and high are the lowest and the highest draw.
    """
    summary: dict[str, Any] = {}
    for names, mask, resampling in part.split(list(branch.metrics)):
        values = torch.stack([branch.metrics[n][:, mask] for n in names], -1)  # (n_draws, m, c)
        shares = {share: of for share, of in SHARES.items() if of in names and native.metrics[of][0, mask].sum() > 0}
        own = torch.stack([native.metrics[of][0, mask] for of in shares.values()], -1) if shares else values[0, :, :0]
        if branch.n_draws > 1:
            summary |= _over_draws(values, names, shares, own)
        else:
            summary |= _over_units(values[0], names, shares, own, resampling)
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
        }
        for name, column in zip([*names, *shares], by_draw.unbind(1), strict=True)
    }


def _over_units(
    values: Tensor, names: Sequence[str], shares: dict[str, str], own: Tensor, resampling: Resampling
) -> dict[str, Any]:
    columns = torch.cat([values, own], 1)
    resampled = resampling.means(columns)
    parts = [names.index(of) for of in shares.values()]
    means = columns.mean(0)
    ratios = resampled[:, parts] / resampled[:, len(names) :]
    # A resample in which the target itself knew nothing has no share.
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
        if name in BOUNDED and is_rare(values[:, i], resampling.groups):
            exact = share_interval(float(means[i]), exact_number(values[:, i], resampling.groups))
            summary[name] |= dict(zip(("low", "high"), exact, strict=True))
            for k, (share, of) in enumerate(shares.items()):
                # The target beside itself has all of its own score, for certain.
                is_own = torch.equal(values[:, i], own[:, k])
                if of == name and is_seldom(values[:, i], resampling.groups) and not is_own:
                    native_mean = float(means[len(names) + k])
                    summary[share] |= {"low": exact[0] / native_mean, "high": exact[1] / native_mean}
    return summary


def is_rare_beside_draws(metric: str, fitted: Tensor, n_draws: int, groups: Tensor) -> bool:
    """Whether a difference has few large values, where the fitted map is right, and many small ones of averaged draws.

    Args:
        metric: of the scores.
        fitted: (m,) scores of the fitted map.
        n_draws: of the control.
        groups: (m,) unit of each item.
    """
    return metric in BOUNDED and n_draws > 1 and is_scarce(fitted, groups)


def contrast(fitted: Branch, control: Branch, part: Part, ranked: bool = False) -> dict[str, dict[str, Any]]:
    """Fitted minus control, paired by item, over the units of `part`.

    Args:
        fitted: the fitted map's scores.
        control: a control's scores; its draws are averaged item by item.
        part: which items count.
        ranked: the control's draws are ones that the fitted map could be another of, so it is ranked among them.

    Returns:
        metric -> {difference, low, high, p}: a 95 % interval of the mean difference and a two-sided sign-flip p, in
        which the differences of a unit are flipped together; None below 6 units, whose flips cannot reach 0.05. Where
        few units differ (`is_seldom`), or the fitted score is rare beside averaged draws (`is_scarce`), the interval is
        made of exact ones, and in the second case p is the one that goes with it, because flips do not hold their level
        there. Where ranked also p_draws, the one-sided rank of the fitted score among the draws, which no number of
        items can push below ``1 / (1 + n_draws)``.
    """
    contrasts: dict[str, dict[str, Any]] = {}
    for names, mask, resampling in part.split([n for n in fitted.metrics if n in control.metrics]):
        ours, theirs = (
            torch.stack([branch.metrics[n][:, mask] for n in names], -1).double() for branch in (fitted, control)
        )
        differences = ours[0] - theirs.mean(0)
        low, high = resampling.interval(resampling.means(differences), differences)
        enough = resampling.n_units >= LEAST_UNITS
        p: list[float | None] = [None] * len(names)
        if enough:
            p = resampling.p(differences).tolist()
        sign = torch.tensor([-1.0 if n in LOWER_IS_BETTER else 1.0 for n in names], dtype=torch.float64)
        for i, name in enumerate(names):
            column = differences[:, i]
            bounds = float(low[i]), float(high[i])
            if is_rare_beside_draws(name, ours[0, :, i], control.n_draws, resampling.groups):
                sides = ours[0, :, i], theirs.mean(0)[:, i], resampling.groups
                bounds = rare_difference_interval(*sides)
                p[i] = rare_difference_p(*sides) if enough else None
            elif name in BOUNDED and is_seldom(column, resampling.groups):
                bounds = difference_interval(column, resampling.groups)
            contrasts[name] = {"difference": float(column.mean()), "low": bounds[0], "high": bounds[1], "p": p[i]}
        if ranked:
            ranks = draw_rank_p(sign * ours[0].mean(0), sign * theirs.mean(1))
            for name, rank in zip(names, ranks.tolist(), strict=True):
                contrasts[name]["p_draws"] = rank
    return contrasts
