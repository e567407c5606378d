"""From per-item scores to means, intervals and paired contrasts."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bridge.statistics import bootstrap_interval, draw_rank_p, paired_permutation_p

# The shares of what the target itself reaches: score -> the score it is a share of.
SHARES = {"fraction_of_native": "top1", "fraction_of_native_f1": "token_f1"}
# resamples x items held in memory at once
WEIGHTS_AT_ONCE = 2**22


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


def summarize(
    branch: Branch, mask: Tensor, native: Branch, n_resamples: int, generator: torch.Generator
) -> dict[str, Any]:
    """Mean and 95 % interval of every metric over the items in `mask`.

    The interval of a control with many draws is the spread of its draws (2.5 % to 97.5 %, with `min` and
    `max`); that of everything else is a percentile bootstrap over items. `fraction_of_native` is top-1 over
    the target's own top-1 on the same items, resampled together; `fraction_of_native_f1` the same of token F1, where
    whole answers are scored. There is none where the target itself scores 0.

    Args:
        branch: the scores.
        mask: (m,) which items count.
        native: the target's own scores.
        n_resamples: bootstrap resamples.
        generator: seeded.

    Returns:
        metric -> {mean, low, high}, with n_draws, min and max where there are draws.
    """
    names = list(branch.metrics)
    values = torch.stack([branch.metrics[n][:, mask] for n in names], -1)  # (n_draws, m, c)
    shares = {share: of for share, of in SHARES.items() if of in names and native.metrics[of][0, mask].sum() > 0}
    own = torch.stack([native.metrics[of][0, mask] for of in shares.values()], -1) if shares else values[0, :, :0]
    parts = [names.index(of) for of in shares.values()]
    summary: dict[str, Any] = {}
    if branch.n_draws > 1:
        by_draw = values.mean(1)
        by_draw = torch.cat([by_draw, by_draw[:, parts] / own.mean(0)], 1)
        for name, column in zip([*names, *shares], by_draw.unbind(1), strict=True):
            low, high = torch.quantile(column, torch.tensor([0.025, 0.975], dtype=column.dtype)).tolist()
            summary[name] = {
                "mean": float(column.mean()),
                "low": low,
                "high": high,
                "n_draws": branch.n_draws,
                "min": float(column.min()),
                "max": float(column.max()),
            }
        return summary
    columns = torch.cat([values[0], own], 1)
    means, resampled = columns.mean(0), _resampled_means(columns, n_resamples, generator)
    for i, name in enumerate(names):
        summary[name] = _interval(float(means[i]), resampled[:, i])
    for i, (name, part) in enumerate(zip(shares, parts, strict=True), start=len(names)):
        ratios = resampled[:, part] / resampled[:, i]
        mean = means[part] / means[i]
        # A resample in which the target itself knew nothing has no share.
        summary[name] = _interval(float(mean), torch.where(torch.isfinite(ratios), ratios, mean))
    return summary


def _resampled_means(columns: Tensor, n_resamples: int, generator: torch.Generator) -> Tensor:
    """Means (n_resamples, c) of resampled rows of `columns` (m, c), which all columns share."""
    m = len(columns)
    n_at_once = max(1, WEIGHTS_AT_ONCE // m)
    means = columns.new_empty(n_resamples, columns.shape[1])
    for part in means.split(n_at_once):
        drawn = torch.randint(m, (len(part), m), generator=generator)
        counts = torch.zeros(drawn.shape, dtype=columns.dtype)
        part.copy_(counts.scatter_add_(1, drawn, torch.ones_like(counts)) @ columns / m)
    return means


def _interval(mean: float, resampled: Tensor) -> dict[str, float]:
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    return {"mean": mean, "low": low, "high": high}


def contrast(
    fitted: Branch, control: Branch, n_resamples: int, generator: torch.Generator, drawn: bool = False
) -> dict[str, dict[str, float]]:
    """Fitted minus control, paired by item.

    Args:
        fitted: the fitted map's scores.
        control: a control's scores; its draws are averaged item by item.
        n_resamples: bootstrap resamples and sign flips.
        generator: seeded.
        drawn: the control is made of random draws, be it a single one.

    Returns:
        metric -> {difference, low, high, p}: a 95 % bootstrap interval of the mean difference and a two-sided
        sign-flip p. With draws also p_draws, the one-sided rank of the fitted score among the draws,
        which no number of items can push below ``1 / (1 + n_draws)``.
    """
    names = [n for n in fitted.metrics if n in control.metrics]
    differences = torch.stack([fitted.metrics[n][0] - control.metrics[n].mean(0) for n in names], -1)
    low, high = bootstrap_interval(differences, n_resamples, generator)
    p = paired_permutation_p(differences, n_resamples, generator)
    result = {
        name: {
            "difference": float(differences[:, i].mean()),
            "low": float(low[i]),
            "high": float(high[i]),
            "p": float(p[i]),
        }
        for i, name in enumerate(names)
    }
    if drawn or control.n_draws > 1:
        sign = torch.tensor([-1.0 if n == "kl_nats" else 1.0 for n in names], dtype=torch.float64)
        own = torch.stack([fitted.metrics[n][0].mean() for n in names]) * sign
        draws = torch.stack([control.metrics[n].mean(1) for n in names], -1) * sign
        for name, rank in zip(names, draw_rank_p(own, draws).tolist(), strict=True):
            result[name]["p_draws"] = rank
    return result
