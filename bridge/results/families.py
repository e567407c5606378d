"""Contrasts of many cells, corrected in families: Holm's correction, ranks over all cells, and best layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bridge.controls.names import BASELINES, KINDS, NEGATIVES
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, layers
from bridge.results.items import item_scores
from bridge.results.scores import BINARY, LOWER_IS_BETTER, is_rare_beside_draws
from bridge.results.verdicts import ABOVE
from bridge.statistics.families import draw_family_p, holm
from bridge.statistics.flips import exact_p, max_statistic_p
from bridge.statistics.levels import ALPHA, LEAST_UNITS, least_p
from bridge.statistics.shares import rare_difference_p
from bridge.statistics.units import n_units

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
        p: negative control -> sign-flip p over units, corrected for the search over layers.
        p_draws: drawn control -> rank p of the fitted lead among the largest leads of every draw, over all cells.
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
        unbeaten = [
            name
            for name, p in self.p.items()
            if self.cell.contrasts[name]["top1"]["low"] <= 0 or max(p, self.p_draws.get(name, 0.0)) > ALPHA
        ]
        if self.p_holm > ALPHA and not unbeaten:
            unbeaten = [name for name, p in self.p.items() if p == max(self.p.values())]
        return unbeaten

    def verdict(self) -> str:
        """What may be concluded, in a few words."""
        if not self.same_items:
            return "open: its layers were computed on different weights or items; run them again"
        if self.n_layers == 1 or self.cell.data["n_units"] < LEAST_UNITS:
            # Of one layer nothing was searched.
            return str(self.cell.finding())
        missing = [name for name in NEGATIVES if name not in self.p and name not in self.cell.absent]
        if missing:
            return f"open: no score yet for {', '.join(missing)}"
        unbeaten = self.not_beaten()
        return f"not above {', '.join(unbeaten)}" if unbeaten else ABOVE


@dataclass(frozen=True)
class _Contrast:
    """One fitted score minus one control: differences (m,) item by item, their units (m,), and the control's draws.

    `fitted` and `draws` (n_draws,) are means over items, larger is better. `p` is the one that counts where
    the fitted score is too rare for flips, and None elsewhere.
    """

    cell: str
    part: str
    control: str
    metric: str
    differences: Tensor
    units: Tensor
    fitted: Tensor
    draws: Tensor
    p: float | None = None

    @property
    def is_ranked(self) -> bool:
        return KINDS[self.control].ranked


class Family:
    """Fitted minus every negative control in every valid cell; one family for each metric and part of the items.

    The parts are all items and those with new answers. Cells whose gates failed are outside, and so are those without
    a fitted score, and parts of fewer than 6 units. The baselines together are a family of their own.

    Args:
        cells: comparisons, as joined from records.
        metrics: those to correct.

    Attributes:
        cells: the same comparisons in the same order; contrasts of the family hold `p_exact`, `p_holm` and, of drawn
            controls, `p_draws_family` as well.
        n_contrasts: how many contrasts with negative controls the family of the first metric has, on all items.
    """

    def __init__(self, cells: Sequence[Comparison], metrics: Sequence[str] = ("top1",)) -> None:
        p: dict[tuple[str, str, str, str], dict[str, float]] = {}
        contrasts = [contrast for c in cells for contrast in _contrasts(c, metrics)]
        for metric in metrics:
            for part in ("all", "new"):
                some = [x for x in contrasts if (x.metric, x.part) == (metric, part)]
                for names in (NEGATIVES, BASELINES):
                    p |= _corrected([x for x in some if x.control in names])
        self.cells = [_with(c, p) for c in cells]
        self._top1 = {(x.cell, x.control): x for x in contrasts if (x.metric, x.part) == ("top1", "all")}
        self.n_contrasts = sum((x.metric, x.part) == (metrics[0], "all") and x.control in NEGATIVES for x in contrasts)

    def best_layers(self, curves: Sequence[Grid]) -> list[Best]:
        """The best layer of every curve that has a valid cell with a fitted score, in their order.

        Args:
            curves: grids over `cells`.
        """
        bests = [best for grid in curves for curve in grid.curves() if (best := _best(grid, curve)) is not None]
        n_flips = max(N_FLIPS, FLIPS_PER_CURVE * len(bests))
        for i, best in enumerate(bests):
            if not best.same_items or not self._names(best):
                continue
            differences, units = self._differences(best)
            if n_units(units) < LEAST_UNITS:
                continue
            generator = torch.Generator().manual_seed(0)
            p = max_statistic_p(differences, n_flips, generator, units)
            at = [_id(c) for c in best.searched].index(_id(best.cell))
            corrected = dict(zip(self._names(best), p[at].tolist(), strict=True))
            top1 = {name: best.cell.contrasts[name]["top1"] for name in corrected}
            ranks = {name: x["p_draws_family"] for name, x in top1.items() if "p_draws_family" in x}
            bests[i] = replace(best, p=corrected, p_draws=ranks)
        adjusted = holm(torch.tensor([max(best.p.values(), default=1.0) for best in bests], dtype=torch.float64))
        return [replace(best, p_holm=p) for best, p in zip(bests, adjusted.tolist(), strict=True)]

    def _names(self, best: Best) -> list[str]:
        """Negative controls that were scored beside the best layer."""
        return [name for name in NEGATIVES if (_id(best.cell), name) in self._top1]

    def _differences(self, best: Best) -> tuple[Tensor, Tensor]:
        """Per-item differences (m, n_layers, n_controls) and units (m,); what a layer lacks is never its best."""
        nothing = torch.zeros(best.cell.data["n_eval"], dtype=torch.float64)
        rows = [[self._top1.get((_id(c), name)) for name in self._names(best)] for c in best.searched]
        differences = torch.stack(
            [torch.stack([nothing if x is None else x.differences for x in row], -1) for row in rows], 1
        )
        return differences, next(x.units for row in rows for x in row if x is not None)


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
    """Fitted minus each negative control and baseline of one valid cell, on all items and on new answers."""
    if not c.valid or "fitted" not in c.scores:
        return
    items = item_scores(c.records, ["fitted", *NEGATIVES, *BASELINES], metrics)
    for label in ("all", "new"):
        part = items.part(label, 1, 0)
        for name in (*NEGATIVES, *BASELINES):
            if name not in items.branches:
                continue
            for names, mask, resampling in part.split(list(items.branches[name].metrics)):
                for metric in names if resampling.n_units >= LEAST_UNITS else ():
                    fitted = items.branches["fitted"].metrics[metric][0, mask]
                    draws = items.branches[name].metrics[metric][:, mask]
                    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
                    units, p = part.units[mask], None
                    if is_rare_beside_draws(metric, fitted, len(draws), units):
                        p = rare_difference_p(fitted, draws.mean(0), units)
                    yield _Contrast(
                        _id(c), label, name, metric, fitted - draws.mean(0), units,
                        sign * fitted.mean(), sign * draws.mean(1), p,
                    )  # fmt: skip


def _corrected(members: Sequence[_Contrast]) -> dict[tuple[str, str, str, str], dict[str, float]]:
    """(cell, part, control, metric) -> the p values that one family gives."""
    p: dict[tuple[str, str, str, str], dict[str, float]] = {}
    exact = _exact_p(members)
    for x, one, corrected in zip(members, exact.tolist(), holm(exact).tolist(), strict=True):
        p[x.cell, x.part, x.control, x.metric] = {"p_exact": one, "p_holm": corrected}
    # A cell of too few draws for any verdict would leave all others as few.
    alike: dict[tuple[str, bool], list[_Contrast]] = {}
    for x in members:
        if x.is_ranked:
            alike.setdefault((x.control, least_p(len(x.draws)) <= ALPHA), []).append(x)
    for some in alike.values():
        # Draw b is the same permutation in every cell; a cell with more draws than another gives its first ones.
        n_draws = min(len(x.draws) for x in some)
        draws = torch.stack([x.draws[:n_draws] for x in some], -1)
        ranks = draw_family_p(torch.stack([x.fitted for x in some]), draws)
        for x, rank in zip(some, ranks.tolist(), strict=True):
            p[x.cell, x.part, x.control, x.metric]["p_draws_family"] = rank
    return p


def _exact_p(members: Sequence[_Contrast]) -> Tensor:
    """The exact sign-flip p of each contrast; those of the same units and as many draws are computed together."""
    alike: dict[tuple[bytes, int], list[int]] = {}
    for i, x in enumerate(members):
        alike.setdefault((x.units.numpy().tobytes(), len(x.draws)), []).append(i)
    p = torch.ones(len(members), dtype=torch.float64)
    for (_, n_draws), rows in alike.items():
        differences = torch.stack([members[i].differences for i in rows], -1)
        step = 1.0 / n_draws if members[rows[0]].metric in BINARY else None
        p[torch.tensor(rows)] = exact_p(differences, step, members[rows[0]].units)
    shown = [one if x.p is None else x.p for x, one in zip(members, p.tolist(), strict=True)]
    return torch.tensor(shown, dtype=torch.float64)


def _with(c: Comparison, p: dict[tuple[str, str, str, str], dict[str, float]]) -> Comparison:
    def corrected(part: str) -> dict[str, dict[str, dict[str, float]]]:
        return {
            name: {metric: x | p.get((_id(c), part, name, metric), {}) for metric, x in by_metric.items()}
            for name, by_metric in c.contrasts_of(part).items()
        }

    by_answer = {
        label: {**part, "contrasts": corrected(label)} if "contrasts" in part else part
        for label, part in c.by_answer.items()
    }
    return replace(c, contrasts=corrected("all"), by_answer=by_answer)
