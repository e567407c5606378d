"""The best place of each curve, corrected for having searched for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bridge.results.comparison import Comparison
from bridge.results.curves import Grid
from bridge.results.families import identify
from bridge.results.joining import sortable
from bridge.results.verdicts import ABOVE, is_beaten
from bridge.statistics.families import holm
from bridge.statistics.levels import ALPHA, LEAST_UNITS

if TYPE_CHECKING:
    from torch import Tensor

N_FLIPS = 9_999
# The number of flips per curve: large enough that the smallest p, times the number of curves, is below 0.05.
FLIPS_PER_CURVE = 50


@dataclass(frozen=True)
class Best:
    """The best place of one curve, which is a grid at one place of its other axes.

    Attributes:
        grid: where it was searched.
        cell: the valid cell with the best score of the estimate.
        searched: the valid cells that it was chosen from.
        n_off: how many cells were left out because a gate failed there.
        p: negative control -> sign-flip p over units, corrected for the search along the curve.
        p_draws: drawn control -> rank p of the estimate's lead among the largest leads of every draw, over all cells.
        same_items: whether all searched places were computed on the same weights and items; if not, nothing is tested.
        p_holm: the largest of `p`, corrected for the number of curves; 1 where nothing was tested.
    """

    grid: Grid
    cell: Comparison
    searched: tuple[Comparison, ...]
    n_off: int
    p: dict[str, float] = field(default_factory=dict)
    p_draws: dict[str, float] = field(default_factory=dict)
    same_items: bool = True
    p_holm: float = 1.0

    @property
    def n_searched(self) -> int:
        """How many places were searched."""
        return len(self.searched)

    def not_beaten(self) -> list[str]:
        """Negative controls that the best place is not above after the search."""
        head = self.cell.head
        metric = self.cell.task.by_name[head]
        searched = {
            name: {**self.cell.contrasts[name][head], "p_holm": p, "p_draws_family": self.p_draws.get(name, 0.0)}
            for name, p in self.p.items()
        }
        unbeaten = [name for name, contrast in searched.items() if not is_beaten(contrast, metric)]
        if self.p_holm > ALPHA and not unbeaten:
            unbeaten = [name for name, p in self.p.items() if p == max(self.p.values())]
        return unbeaten

    def verdict(self) -> str:
        """What may be concluded, in a few words."""
        if not self.same_items:
            return "open: its cells were computed on different weights or items; run them again"
        if self.n_searched == 1 or self.cell.point["n_units"] < LEAST_UNITS:
            # With one place there was no search.
            return str(self.cell.finding())
        negatives = self.cell.task.conditions.negatives
        missing = [name for name in negatives if name not in self.p and name not in self.cell.absent]
        if missing:
            return f"open: no score yet for {', '.join(missing)}"
        unbeaten = self.not_beaten()
        return f"not above {', '.join(unbeaten)}" if unbeaten else ABOVE


def best_places(curves: Sequence[Grid]) -> list[Best]:
    """The best place of every curve that has a valid cell with an estimate, in their order.

    Args:
        curves: grids over the cells of a `bridge.results.families.Family`.
    """
    bests = [best for grid in curves for curve in grid.curves() if (best := _best(grid, curve)) is not None]
    n_flips = max(N_FLIPS, FLIPS_PER_CURVE * len(bests))
    bests = [_tested(best, n_flips) if best.same_items and _names(best) else best for best in bests]
    adjusted: Sequence[float] = list(holm([max(best.p.values(), default=1.0) for best in bests])) if bests else []
    return [replace(best, p_holm=float(p)) for best, p in zip(bests, adjusted, strict=True)]


def _best(grid: Grid, curve: Sequence[Comparison]) -> Best | None:
    """The best place of one curve, not yet tested."""
    searched = tuple(c for c in curve if c.valid and c.mean(c.estimate) is not None)
    if not searched:
        return None
    task = grid.task
    better = 1.0 if task.by_name[searched[0].head].higher_is_better else -1.0

    def rank(c: Comparison) -> tuple[float, object]:
        mean = c.mean(c.estimate)
        assert mean is not None
        return better * mean, [sortable(axis.value(c.axes)) for axis in task.axes]

    cell = max(searched, key=rank)
    inputs = {str((c.point["n"], sorted(c.data["inputs"].items()))) for c in searched}
    return Best(grid, cell, searched, sum(not c.valid for c in curve), same_items=len(inputs) == 1)


def _names(best: Best) -> list[str]:
    """Negative controls that were tested beside the best place."""
    negatives = best.cell.task.conditions.negatives
    tested = (best.cell.contrasts.get(name, {}).get(best.cell.head, {}) for name in negatives)
    return [name for name, contrast in zip(negatives, tested, strict=True) if contrast.get("p_holm") is not None]


def _tested(best: Best, n_flips: int) -> Best:
    """The best place with its p values."""
    names, head = _names(best), best.cell.head
    contrasts = {name: best.cell.contrasts[name][head] for name in names}
    ranks = {name: x["p_draws_family"] for name, x in contrasts.items() if "p_draws_family" in x}
    metric = best.cell.task.by_name[head]
    if metric.items is None:
        # Without scores by item, p is corrected for the points of its record, or by Bonferroni for the number of
        # places.
        p = {
            name: x["p_searched"] if "p_searched" in x else min(1.0, best.n_searched * x["p"])
            for name, x in contrasts.items()
        }
        return replace(best, p=p, p_draws=ranks)
    import torch

    from bridge.statistics.flips import max_statistic_p
    from bridge.statistics.units import n_units

    differences, units = _differences(best, names)
    if n_units(units) < LEAST_UNITS:
        return best
    searched = max_statistic_p(differences, n_flips, torch.Generator().manual_seed(0), units)
    at = [identify(c) for c in best.searched].index(identify(best.cell))
    return replace(best, p=dict(zip(names, searched[at].tolist(), strict=True)), p_draws=ranks)


def _differences(best: Best, names: Sequence[str]) -> "tuple[Tensor, Tensor]":
    """Per-item differences (m, n_places, n_controls) and units (m,); a missing control never makes a place the best."""
    import torch

    from bridge.results.items import item_scores
    from bridge.results.scores import key_of

    task = best.cell.task
    metric = task.by_name[best.cell.head]
    columns, units = [], None
    for c in best.searched:
        items = item_scores(c.records, task, [c.estimate, *names], [metric], c.number)
        mask = items.masks["all"][key_of(metric)]
        estimate = items.branches[c.estimate].metrics[metric.name][0, mask]
        row = [
            estimate - items.branches[name].metrics[metric.name][:, mask].mean(0)
            if name in items.branches else torch.zeros_like(estimate)
            for name in names
        ]  # fmt: skip
        columns.append(torch.stack(row, -1))
        units = items.units[key_of(metric)[0]][mask]
    assert units is not None
    return torch.stack(columns, 1), units
