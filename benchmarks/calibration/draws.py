"""Nulls over draws: one more draw of a control takes the place of the fitted map."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.calibration.rates import Rates
from benchmarks.calibration.records import N_DRAWS, NEGATIVES, Scores
from bridge.results.families import _corrected, _Member
from bridge.results.verdicts import finding
from bridge.statistics.families import draw_family_p, draw_rank_p
from bridge.statistics.flips import exact_p
from bridge.statistics.levels import ALPHA, ENOUGH_DRAWS
from bridge.tasks.translate import TASK


def ranks(rates: Rates, cells: Sequence[Scores], control: str, n: int) -> None:
    """The rank among draws in one cell, in all of them, and at the best layers, for 21 chosen draws and other units.

    Args:
        rates: counted into.
        cells: on the same items; curves of three layers first.
        control: whose draws.
        n: simulations.
    """
    generator = torch.Generator().manual_seed(0)
    tables = {
        name: torch.stack([c.branches[control].metrics[metric].double() for c in cells], 1)
        for metric, name in (("top1", "top-1"), ("logprob_nats", "nats"))
    }
    for _ in range(n):
        chosen = torch.randperm(N_DRAWS, generator=generator)[: ENOUGH_DRAWS + 1]
        rows, _units = cells[0].resampled(cells[0].n_units, generator)
        for name, table in tables.items():
            means = table[chosen][:, :, rows].mean(2)
            alone, joint = draw_rank_p(means[0], means[1:]), draw_family_p(means[0], means[1:])
            label = f"{name}, {control}"
            at = [first + int(means[0, first : first + 3].argmax()) for first in range(0, len(cells) - 2, 3)]
            rates.count("type1", f"rank among draws, {label}", bool(alone[2] <= ALPHA))
            rates.count("family", f"joint rank over {len(cells)} cells, {label}", bool(joint.min() <= ALPHA))
            rates.count("family", f"joint rank at the best layers, {label}", bool(joint[at].min() <= ALPHA))
            name = f"ranks of {len(cells)} cells, none corrected, {label}"
            rates.count("family", name, bool(alone.min() <= ALPHA), is_gated=False)


def verdicts(rates: Rates, cells: Sequence[Scores], n: int) -> None:
    """The verdict "above every negative control" of any cell, and of the highest of each curve, with a draw as map.

    Args:
        rates: counted into.
        cells: on the same items; curves of three layers first.
        n: simulations.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = {"n": len(cells[0].units), "n_units": cells[0].n_units}
    for _ in range(n):
        chosen = torch.randperm(N_DRAWS, generator=generator)[: ENOUGH_DRAWS + 1]
        rows, units = cells[0].resampled(cells[0].n_units, generator)
        made = [_member(str(i), c, name, chosen, rows, units) for i, c in enumerate(cells) for name in NEGATIVES]
        corrected = _corrected([x for x, _ in made])
        above = []
        for i in range(len(cells)):
            contrasts = {
                # The interval's part of a verdict is left out: it can only make verdicts rarer.
                x.key[3]: {"top1": {"difference": difference, "low": None, "high": None, "p": None} | corrected[x.key]}
                for x, difference in made if x.key[0] == str(i)
            }  # fmt: skip
            above.append(finding(contrasts, sizes, {}, TASK.conditions, TASK.head).is_above)
        rates.count("family", f"verdict of any of {len(cells)} cells", any(above))
        tops = [x.estimate for x, _ in made if x.key[3] == NEGATIVES[0]]
        at = [max(range(first, first + 3), key=tops.__getitem__) for first in range(0, len(cells) - 2, 3)]
        rates.count("family", "verdict at the highest cells", any(above[i] for i in at))


def _member(
    cell: str, scores: Scores, control: str, chosen: Tensor, rows: Tensor, units: Tensor
) -> tuple[_Member, float]:
    """A draw of shuffled_within beside a control with 20 other draws, and the difference of the two."""
    fitted = scores.score("shuffled_within", "top1", int(chosen[0]))[rows]
    draws = scores.branches[control].metrics["top1"].double()
    condition = TASK.conditions[control]
    draws = (draws[chosen[1:]] if condition.drawn else draws)[:, rows]
    differences = fitted - draws.mean(0)
    p = exact_p(differences[:, None], 1.0 / len(draws), units).item()
    means = tuple(draws.mean(1).tolist()) if condition.ranked else ()
    key = cell, 0, "all", control, "top1"
    return _Member(key, condition.kind, p, False, float(fitted.mean()), means), float(differences.mean())
