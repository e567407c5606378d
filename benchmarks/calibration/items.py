"""Nulls over items: whole units of a record drawn with replacement, so that its own means are the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.calibration.rates import Rates
from benchmarks.calibration.records import REFERENCE, Scores, part
from bridge.results.scores import Branch, contrast, summarize
from bridge.statistics.families import holm
from bridge.statistics.flips import exact_p, max_statistic_p
from bridge.statistics.levels import ALPHA
from bridge.tasks.translate import TASK

# Random flips of the max statistic. `bridge` uses 9,999; the test keeps its level with any number.
N_FLIPS = 299
# Rates of successes that are called rare.
RARE = (0.005, 0.2)
# With fewer units, flips of skewed differences reject too often on the longer side, most of all at 0.05 / 10.
MANY_UNITS = 100
# Names of a difference, of its null, and of the score that it belongs to.
PAIRED = (("top1", "top10", "top-1"), ("top5", "agreement", "top-1 where few differ"), ("logprob_nats", "mrr", "nats"))


@dataclass(frozen=True)
class Columns:
    """Scores of one record under metric names that the product treats as these scores.

    Attributes:
        fitted: metric -> (m,) scores; where `names` gives them a control, less that control's they are differences.
        control: metric -> (m,) scores of a control.
        rare: (r, m) scores of 0 and 1 with rates in `RARE`.
        steps: metric -> what its null differences are multiples of; None for any number.
    """

    fitted: dict[str, Tensor]
    control: dict[str, Tensor]
    native: Tensor
    rare: Tensor
    steps: dict[str, float | None]

    @classmethod
    def of(cls, scores: Scores) -> "Columns":
        fitted, nats = scores.score("fitted", "top1"), scores.score("fitted", "logprob_nats")
        n_draws = scores.branches["shuffled_within"].n_draws
        within, within_nats = (scores.score("shuffled_within", m) for m in ("top1", "logprob_nats"))
        few = scores.score("lookup", "top1")
        rows = torch.cat([scores.branches[n].metrics["top1"] for n in ("random", "shuffled", "shuffled_within")])
        rates = rows.double().mean(1)
        zero = torch.zeros_like(nats)
        return cls(
            # top10, agreement and mrr hold differences of which the null is true
            fitted={
                "top1": fitted,
                "top5": fitted,
                "logprob_nats": nats,
                "top10": centered(fitted - within, 1.0 / n_draws),
                "agreement": centered(fitted - few, 1.0),
                "mrr": centered(nats - within_nats, None),
            },
            control={
                "top1": within,
                "top5": few,
                "logprob_nats": within_nats,
                "top10": zero,
                "agreement": zero,
                "mrr": zero,
            },
            native=scores.score("native_target", "top1"),
            rare=rows[(rates >= RARE[0]) & (rates <= RARE[1])].double(),
            steps={"top10": 1.0 / n_draws, "agreement": 1.0, "mrr": None},
        )


def centered(differences: Tensor, step: float | None) -> Tensor:
    """Differences whose mean over all items is zero, still multiples of `step` where there is one.

    With a step the items are moved by the two multiples around the mean, at random.
    """
    if step is None:
        return differences - differences.mean()
    total = round(float(differences.sum()) / step)
    down, more = divmod(total, len(differences))
    moved = torch.full_like(differences, down)
    moved[torch.randperm(len(differences), generator=torch.Generator().manual_seed(0))[:more]] += 1.0
    return differences - step * moved


def singles(
    rates: Rates, scores: Scores, n_units: int, n: int, n_resamples: int, label: str, is_blind: bool = False
) -> None:
    """Every interval and every test of a cell, on `n` resamples of `n_units` units.

    Args:
        rates: counted into.
        scores: of a real record.
        n_units: drawn in each simulation; exact intervals of rare events have to reach the band's lower end alone.
        n: simulations.
        n_resamples: of the intervals and the random sign flips.
        label: what the units are.
        is_blind: take items as independent, as a contrast outside the gates.
    """
    columns, generator = Columns.of(scores), torch.Generator().manual_seed(n_units)
    truth = {metric: float((columns.fitted[metric] - columns.control[metric]).mean()) for metric in columns.fitted}
    for seed in range(n):
        rows, units = scores.resampled(n_units, generator)
        if is_blind:
            units = torch.arange(len(units))
        some, rare = part(units, n_resamples, seed), columns.rare[seed % len(columns.rare)]
        fitted = {metric: values[None, rows] for metric, values in columns.fitted.items()}
        shown = Branch({"top1": fitted["top1"], "top5": rare[None, rows], "mrr": fitted["logprob_nats"]})
        own = summarize(shown, Branch({"top1": columns.native[None, rows]}), some, TASK.by_name)
        means = (columns.fitted["top1"], rare, columns.fitted["logprob_nats"])
        for metric, name, values in zip(("top1", "top5", "mrr"), ("top-1", "rare top-1", "nats"), means, strict=True):
            # An exact interval is conservative.
            is_exact = metric == "top5"
            rates.covers(
                f"interval of {name}, {label}", own[metric], float(values.mean()),
                is_gated=not is_blind and not is_exact, has_floor=not is_blind and is_exact,
            )  # fmt: skip
        if "fraction_of_native" in own:
            share = float(means[0].mean() / columns.native.mean())
            rates.covers(f"interval of share of native, {label}", own["fraction_of_native"], share, not is_blind)
        control = Branch({metric: values[None, rows] for metric, values in columns.control.items()})
        against = contrast(Branch(fitted), control, some, TASK.by_name, REFERENCE)
        for metric, null, name in PAIRED:
            is_exact = metric == "top5" and n_units < MANY_UNITS
            rates.covers(
                f"interval of difference of {name}, {label}", against[metric], truth[metric],
                is_gated=not is_blind and not is_exact, has_floor=not is_blind and is_exact,
            )  # fmt: skip
            # An exact test of few events cannot reach 5 %.
            is_gated = not is_blind and metric != "top5"
            rates.count("type1", f"sign flip of {name}, {label}", against[null]["p"] <= ALPHA, is_gated)
            exact = exact_p(fitted[null][0][:, None], columns.steps[null], units).item()
            rates.count("type1", f"exact sign flip of {name}, {label}", exact <= ALPHA, is_gated)


def rare_shares(rates: Rates, n: int, n_units: int = 40, n_each: int = 10) -> None:
    """A share of 2 % whose items have a correlation of 0.5 within units (beta-binomial), alone and beside 20 draws.

    Args:
        rates: counted into.
        n: simulations.
        n_units: in each simulation.
        n_each: items of each unit.
    """
    share, spread = 0.02, np.random.default_rng(0)
    units = torch.arange(n_units).repeat_interleave(n_each)
    for seed in range(n):
        chances = spread.beta(share, 1.0 - share, n_units).repeat(n_each)
        scores = Branch({"top1": torch.from_numpy((spread.random(n_units * n_each) < chances).astype(float))[None]})
        some = part(units, 400, seed)
        own = summarize(scores, scores, some, TASK.by_name)["top1"]
        name = f"interval of a share of {share:.0%}, {n_units} units of {n_each} items"
        rates.covers(name, own, share, is_gated=False, has_floor=True)
        draws = Branch({"top1": torch.from_numpy((spread.random((20, len(units))) < share).astype(float))})
        beside = contrast(scores, draws, some, TASK.by_name, REFERENCE)["top1"]
        rates.covers(f"{name} less 20 draws", beside, 0.0, is_gated=False, has_floor=True)
        rates.count("type1", f"p of a share of {share:.0%} less 20 draws", beside["p"] <= ALPHA, is_gated=False)


def families(rates: Rates, cells: Sequence[Scores], n_units: int, n: int, label: str, is_blind: bool = False) -> None:
    """Holm over all cells, and the best of three layers with Holm over the curves, on the same resampled units.

    Counted is what a verdict would say: that the fitted map is above the control somewhere. Differences are skewed, so
    that their flips reject more often on one side than on the other; mirrored nulls are skewed towards the fitted map.

    Args:
        rates: counted into.
        cells: on the same items; curves of three layers first, and at most two more.
        n_units: drawn in each simulation.
        n: simulations.
        label: what the units are.
        is_blind: take items as independent, as a contrast outside the gates.
    """
    step, n_curves = 1.0 / cells[0].branches["shuffled_within"].n_draws, len(cells) // 3
    above = [c.score("fitted", "top1") - c.score("shuffled_within", "top1") for c in cells]
    null = torch.stack([centered(lead, step) for lead in above], -1)
    generator = torch.Generator().manual_seed(n_units)
    for seed in range(n):
        rows, units = cells[0].resampled(n_units, generator)
        if is_blind:
            units = torch.arange(len(units))
        exact = torch.from_numpy(holm(exact_p(null[rows], step, units)))
        leads = null[rows].sum(0)
        curves = null[rows][:, : 3 * n_curves].view(len(rows), n_curves, 3).transpose(1, 2)  # (k, layers, curves)
        p = max_statistic_p(curves, N_FLIPS, torch.Generator().manual_seed(seed), units)
        for side, sign in (("", 1.0), (", mirrored", -1.0)):
            # As a verdict does: a difference in favour of the control is none, whatever its p.
            beaten = torch.where(sign * curves.sum(0) > 0, p, 1.0)
            best = torch.from_numpy(holm(p.gather(0, (sign * curves.sum(0)).argmax(0, keepdim=True))[0]))
            is_gated = not is_blind and (sign > 0 or n_units >= MANY_UNITS)
            for name, ours in (
                (f"Holm over {len(cells)} cells", torch.where(sign * leads > 0, exact, 1.0)),
                ("max statistic over 3 layers", beaten[:, 0]),
                (f"best layers of {n_curves} curves", torch.where(beaten.amin(0) < 1, best, 1.0)),
            ):
                rates.count("family", f"{name}, {label}{side}", bool(ours.min() <= ALPHA), is_gated)
        for name, ours in ((f"Holm over {len(cells)} cells", exact), ("max statistic over 3 layers", p[:, 0])):
            is_gated = not is_blind and n_units >= MANY_UNITS
            rates.count("family", f"{name}, {label}, either side", bool(ours.min() <= ALPHA), is_gated)
