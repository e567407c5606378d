"""The contrasts of many cells as one family: Holm's correction, and best layers corrected for having searched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bridge.comparison import ALPHA, NEGATIVES, Comparison, item_scores
from bridge.controls import CONTROLS
from bridge.grids import Grid, layers
from bridge.statistics import draw_rank_p, exact_sign_flip_p, holm, max_statistic_p

# A control's mean over its draws is a multiple of 1 / n_draws in these, so the exact test rounds nothing.
SHARES = ("top1", "top5", "top10", "agreement")
N_FLIPS = 9_999
# So many flips per curve keep the smallest p, times the number of curves, below 0.05.
FLIPS_PER_CURVE = 50


@dataclass(frozen=True)
class Best:
    """The best layer of one curve, which is a grid at one data set size.

    Attributes:
        grid: where it was searched.
        cell: the valid cell with the highest fitted top-1.
        searched: the valid cells that it was chosen from.
        n_off: how many cells were left out because a gate failed there.
        p: negative control -> sign-flip p, corrected for the search over layers.
        p_draws: drawn control -> rank p of the fitted score among the best layers of every draw.
        same_items: whether all searched layers saw the same weights and items; where not, nothing is tested.
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
    def n_layers(self) -> int:
        """How many layers were searched."""
        return len(self.searched)

    def not_beaten(self) -> list[str]:
        """Negative controls that the best layer is not above after the search."""
        losers = [
            name
            for name, p in self.p.items()
            if self.cell.contrasts[name]["top1"]["difference"] <= 0 or max(p, self.p_draws.get(name, 0.0)) >= ALPHA
        ]
        if self.p_holm >= ALPHA and not losers:
            losers = [name for name, p in self.p.items() if p == max(self.p.values())]
        return losers

    def verdict(self) -> str:
        """What may be concluded, in a few words."""
        if not self.same_items:
            return "open: its layers were computed on different weights or items; run them again"
        absent = [name for name in NEGATIVES if name not in self.p]
        if absent:
            return f"open: no score yet for {', '.join(absent)}"
        losers = self.not_beaten()
        return f"not above {', '.join(losers)}" if losers else "above every negative control"


@dataclass(frozen=True)
class _Contrast:
    """One fitted score minus one control: differences (m,) item by item, and the control's mean in every draw."""

    cell: str
    control: str
    metric: str
    differences: Tensor
    draws: Tensor


class Family:
    """Fitted minus every negative control in every valid cell; one family for each metric.

    Cells whose gates failed are outside, and so are those without a fitted score.

    Args:
        cells: comparisons, as joined from records.
        metrics: those to correct.

    Attributes:
        cells: the same comparisons in the same order; contrasts of the family hold `p_exact` and `p_holm` as well.
        n_contrasts: how many contrasts the family of the first metric has.
    """

    def __init__(self, cells: Sequence[Comparison], metrics: Sequence[str] = ("top1",)) -> None:
        p: dict[tuple[str, str, str], dict[str, float]] = {}
        self._top1: dict[tuple[str, str], _Contrast] = {}
        self.n_contrasts = 0
        contrasts = [contrast for c in cells for contrast in _contrasts(c, metrics)]
        for metric in metrics:
            members = [contrast for contrast in contrasts if contrast.metric == metric]
            exact = _exact_p(members)
            for contrast, one, corrected in zip(members, exact.tolist(), holm(exact).tolist(), strict=True):
                p[contrast.cell, contrast.control, metric] = {"p_exact": one, "p_holm": corrected}
            if metric == metrics[0]:
                self.n_contrasts = len(members)
            if metric == "top1":
                self._top1 = {(contrast.cell, contrast.control): contrast for contrast in members}
        self.cells = [_with(c, p) for c in cells]

    def best_layers(self, found: Sequence[Grid]) -> list[Best]:
        """The best layer of every curve in `found` that has a valid cell with a fitted score, in their order.

        Args:
            found: grids over `cells`.
        """
        curves = [(grid, curve) for grid in found for curve in grid.curves()]
        bests = [best for grid, curve in curves if (best := _best(grid, curve)) is not None]
        n_flips = max(N_FLIPS, FLIPS_PER_CURVE * len(bests))
        tested: dict[tuple[int, int], list[int]] = {}
        for i, best in enumerate(bests):
            if best.same_items and self._names(best):
                tested.setdefault((best.cell.data["n_eval"], best.n_layers), []).append(i)
        for rows in tested.values():
            searches = torch.cat([self._differences(bests[i]) for i in rows], 2)
            p = iter(max_statistic_p(searches, n_flips, torch.Generator().manual_seed(0)).unbind(1))
            for i in rows:
                at = [_id(c) for c in bests[i].searched].index(_id(bests[i].cell))
                corrected = {name: float(next(p)[at]) for name in self._names(bests[i])}
                bests[i] = replace(bests[i], p=corrected, p_draws=self._rank(bests[i]))
        adjusted = holm(torch.tensor([max(best.p.values(), default=1.0) for best in bests], dtype=torch.float64))
        return [replace(best, p_holm=p) for best, p in zip(bests, adjusted.tolist(), strict=True)]

    def _names(self, best: Best) -> list[str]:
        """Negative controls that were scored beside the best layer."""
        return [name for name in NEGATIVES if (_id(best.cell), name) in self._top1]

    def _differences(self, best: Best) -> Tensor:
        """Per-item differences (m, n_layers, n_controls); a layer that lacks a control has none: never best."""
        nothing = torch.zeros(best.cell.data["n_eval"], dtype=torch.float64)
        rows = [[self._top1.get((_id(c), name)) for name in self._names(best)] for c in best.searched]
        return torch.stack([torch.stack([nothing if x is None else x.differences for x in row], -1) for row in rows], 1)

    def _rank(self, best: Best) -> dict[str, float]:
        """Rank p of the fitted score among the best layer of each draw."""
        own = torch.tensor([best.cell.mean("fitted")], dtype=torch.float64)
        ranks = {}
        for name in self._names(best):
            draws = [x.draws for c in best.searched if (x := self._top1.get((_id(c), name))) is not None]
            if CONTROLS[name].drawn:
                ranks[name] = float(draw_rank_p(own, torch.stack(draws, -1).amax(1, keepdim=True)))
        return ranks


def _best(grid: Grid, curve: Sequence[Comparison]) -> Best | None:
    """The best layer of one curve, not yet tested."""
    searched = tuple(c for c in curve if c.valid and "fitted" in c.scores)
    if not searched:
        return None
    cell = max(searched, key=lambda c: (c.mean("fitted"), layers(c)))
    inputs = {str((c.data["n_eval"], sorted(c.data["inputs"].items()))) for c in searched}
    return Best(grid, cell, searched, sum(not c.valid for c in curve), same_items=len(inputs) == 1)


def _id(c: Comparison) -> str:
    return str(c.data["run_id"])


def _contrasts(c: Comparison, metrics: Sequence[str]) -> Iterator[_Contrast]:
    """Fitted minus each negative control of one valid cell, from the per-item scores."""
    if not c.valid or "fitted" not in c.scores:
        return
    scores = item_scores(c.records, ["fitted", *NEGATIVES], metrics)
    for name in NEGATIVES:
        for metric, draws in scores.get(name, {}).items():
            yield _Contrast(_id(c), name, metric, scores["fitted"][metric][0] - draws.mean(0), draws.mean(1))


def _exact_p(members: Sequence[_Contrast]) -> Tensor:
    """The exact sign-flip p of each contrast; those with as many items and draws are computed together."""
    alike: dict[tuple[int, int], list[int]] = {}
    for i, contrast in enumerate(members):
        alike.setdefault((len(contrast.differences), len(contrast.draws)), []).append(i)
    p = torch.ones(len(members), dtype=torch.float64)
    for (_, n_draws), rows in alike.items():
        differences = torch.stack([members[i].differences for i in rows], -1)
        step = 1.0 / n_draws if members[rows[0]].metric in SHARES else None
        p[torch.tensor(rows)] = exact_sign_flip_p(differences, step)
    return p


def _with(c: Comparison, p: dict[tuple[str, str, str], dict[str, float]]) -> Comparison:
    contrasts = {
        name: {metric: found | p.get((_id(c), name, metric), {}) for metric, found in by_metric.items()}
        for name, by_metric in c.contrasts.items()
    }
    return replace(c, contrasts=contrasts)
