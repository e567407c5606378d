"""Contrasts of many cells, corrected in families: by Holm's correction, and by ranks among draws over all cells.

A family needs the records alone: the exact p of every contrast, and the mean of every draw.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.results.comparison import Comparison
from bridge.results.metrics import Metric
from bridge.statistics.families import draw_family_p, holm
from bridge.statistics.levels import ALPHA, LEAST_UNITS, least_p

# run id, number of the point, part, condition, metric
Key = tuple[str, int, str, str, str]
# Less than this share left unexplained is rounding.
LEAST_UNEXPLAINED = 1e-6


@dataclass(frozen=True)
class _Member:
    """One contrast of a family.

    Attributes:
        key: identifies the contrast.
        kind: of the condition: negative controls are one family, baselines another.
        p: the p value that is corrected.
        is_searched: whether p is corrected for all points of its record already.
        estimate: mean score of the estimate, with the sign at which larger is better.
        draws: means of the draws of a condition that the estimate is ranked among; empty where it is not.
    """

    key: Key
    kind: str
    p: float
    is_searched: bool
    estimate: float
    draws: tuple[float, ...]


class Family:
    """Estimate minus every tested condition in every valid cell; one family for each task, metric and part.

    The parts are all items and those that the task tests. Cells whose gates failed, cells without an estimate, and
    parts of fewer than 6 units do not belong to a family. The baselines together are a family of their own.

    Args:
        cells: comparisons, as joined from records.
        metrics: names of those to correct; None for the one that heads each cell.

    Attributes:
        cells: the same comparisons in the same order; contrasts of the family hold `p_holm` and, where the estimate is
            ranked among draws, `p_draws_family` as well.
        n_contrasts: how many contrasts with negative controls there are by the first metric, on all items.
    """

    def __init__(self, cells: Sequence[Comparison], metrics: Sequence[str] | None = None) -> None:
        families: dict[tuple[str, str, str, str], list[_Member]] = {}
        for c in cells:
            for member in _members(c, metrics):
                _, _, part, _, metric = member.key
                families.setdefault((c.task.name, metric, part, member.kind), []).append(member)
        p: dict[Key, dict[str, float]] = {}
        for family in families.values():
            p |= _corrected(family)
        self.cells = [_with(c, p) for c in cells]
        first = None if metrics is None else metrics[0]
        self.n_contrasts = sum(
            len(some) for (_, metric, part, kind), some in families.items()
            if part == "all" and kind == "negative" and metric == (first or metric)
        )  # fmt: skip


def over_records(p: float, n_records: int) -> float:
    """A p that is corrected for the points of its record, corrected for the number of records by Bonferroni."""
    return min(1.0, p * n_records)


def identify(c: Comparison) -> tuple[str, int]:
    """A key that identifies a comparison."""
    return str(c.data["run_id"]), c.number


def _members(c: Comparison, metrics: Sequence[str] | None) -> Iterator[_Member]:
    """The contrasts of one valid cell that belong to a family."""
    if not c.valid or not c.has_estimate:
        return
    for part in c.task.part_names:
        scores, contrasts = c.scores_of(part), c.contrasts_of(part)
        for name in (*c.task.conditions.negatives, *c.task.conditions.baselines):
            for metric, contrast in contrasts.get(name, {}).items():
                is_wanted = metric in ((c.head,) if metrics is None else metrics)
                if is_wanted and c.counts(part, metric)["n_units"] >= LEAST_UNITS:
                    member = _member(c, part, name, c.task.by_name[metric], contrast, scores)
                    if member is not None:
                        yield member


def _member(
    c: Comparison, part: str, name: str, metric: Metric, contrast: dict[str, Any], scores: dict[str, Any]
) -> _Member | None:
    p = contrast.get("p_exact", contrast.get("p_searched", contrast["p"]))
    if p is None:
        return None
    better = 1.0 if metric.higher_is_better else -1.0
    condition = c.task.conditions[name]
    draws = scores[name][metric.name].get("draws", ()) if condition.ranked else ()
    return _Member(
        (*identify(c), part, name, metric.name),
        condition.kind,
        p,
        "p_exact" not in contrast and "p_searched" in contrast,
        _comparable(metric, better * scores[c.estimate][metric.name]["mean"]),
        tuple(_comparable(metric, better * draw) for draw in draws),
    )


def _comparable(metric: Metric, score: float) -> float:
    """A score in a unit in which leads of cells can be compared.

    A score with the best value 1 and no worst one, such as an explained variance, is -log of what it leaves
    unexplained: from 0.9 to 0.99 is then as far as from 0 to 0.9, and a perfect score leads by more than a lucky draw.
    """
    if metric.low is None and metric.high == 1.0:
        return -math.log(max(1.0 - score, LEAST_UNEXPLAINED))
    return score


def _corrected(members: Sequence[_Member]) -> dict[Key, dict[str, float]]:
    """Contrast -> the p values that one family gives it."""
    p: dict[Key, dict[str, float]] = {}
    single = [x for x in members if not x.is_searched]
    for x, adjusted in zip(single, holm([x.p for x in single]).tolist(), strict=True):
        p[x.key] = {"p_holm": adjusted}
    n_records = len({x.key[0] for x in members if x.is_searched})
    p |= {x.key: {"p_holm": over_records(x.p, n_records)} for x in members if x.is_searched}
    # A cell with too few draws for a verdict is left out, because all cells use the smallest number of draws.
    alike: dict[tuple[str, bool], list[_Member]] = {}
    for x in members:
        if x.draws:
            alike.setdefault((x.key[3], least_p(len(x.draws)) <= ALPHA), []).append(x)
    for some in alike.values():
        # Draw b is the same permutation in every cell; a cell with more draws than another gives its first ones.
        n_draws = min(len(x.draws) for x in some)
        draws = [[x.draws[i] for x in some] for i in range(n_draws)]
        for x, rank in zip(some, draw_family_p([x.estimate for x in some], draws).tolist(), strict=True):
            p[x.key]["p_draws_family"] = rank
    return p


def _with(c: Comparison, p: dict[Key, dict[str, float]]) -> Comparison:
    def corrected(part: str) -> dict[str, dict[str, dict[str, float]]]:
        return {
            name: {metric: x | p.get((*identify(c), part, name, metric), {}) for metric, x in by_metric.items()}
            for name, by_metric in c.contrasts_of(part).items()
        }

    parts = {
        label: {**part, "contrasts": corrected(label)} if "contrasts" in part else part
        for label, part in c.parts.items()
    }
    return replace(c, contrasts=corrected("all"), parts=parts)
