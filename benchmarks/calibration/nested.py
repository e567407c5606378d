"""The assumption of a joint rank, tested on cells of nested fit sizes, which do not share their permutations."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.calibration.rates import Rates
from bridge.building import build
from bridge.carry.carrier import Carrier
from bridge.carry.rows import Rows
from bridge.config import compose_config
from bridge.permutations import permutations
from bridge.seeds import seeded
from bridge.statistics.families import draw_family_p
from bridge.statistics.levels import ALPHA, ENOUGH_DRAWS

# Principal components that are kept, to make fits cheap; the dependence of fits does not depend on the width.
WIDTH = 32


def nested(rates: Rates, cells: Sequence[tuple[Rows, Tensor, Tensor]], sizes: Sequence[int], n: int) -> None:
    """Fit on the first 60, 200, ... rows of one permuted pairing, and rank among fits on permutations of each size.

    The permuted pairing is the truth here, so the fitted map is one more draw of `shuffled` in each cell. A score is
    the squared error of the carried eval states, less is better.

    Args:
        rates: counted into.
        cells: for each layer rows to fit on, of the largest size, and eval states of source and target.
        sizes: nested fit sizes.
        n: permuted pairings.
    """
    config = compose_config()
    narrow = [_narrowed(*cell) for cell in cells]
    for seed in range(n):
        scores = []
        (order,) = permutations(max(sizes), 1, seeded(seed, "pairing"))
        for fit, X, Y in narrow:
            for size in sizes:
                labels = (fit.relations[:size], fit.answers[:size], fit.groups[:size])
                kept = Rows(fit.X[:size], fit.Y[order][:size], *labels)
                carrier = Carrier(build(config.map), build(config.normalize), kept, ENOUGH_DRAWS, seed)
                carried = torch.cat([carrier.carry(name, X, Y) for name in ("fitted", "shuffled")])
                scores.append(-(carried - Y).square().sum((1, 2)))
        table = torch.stack(scores, 1)
        joint = draw_family_p(table[0], table[1:])
        rates.count("family", f"joint rank over {len(scores)} cells of nested sizes", bool(joint.min() <= ALPHA))


def _narrowed(fit: Rows, X: Tensor, Y: Tensor) -> tuple[Rows, Tensor, Tensor]:
    """The same states by their leading principal components."""
    axes = [torch.linalg.svd(side.double() - side.double().mean(0)).Vh[:WIDTH].T for side in (fit.X, fit.Y)]
    fit = replace(fit, X=fit.X.double() @ axes[0], Y=fit.Y.double() @ axes[1])
    return fit, X.double() @ axes[0], Y.double() @ axes[1]
