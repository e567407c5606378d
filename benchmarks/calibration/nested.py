"""What a joint rank assumes: cells of nested fit sizes, whose permutations are not one permutation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from benchmarks.calibration.rates import Rates
from bridge.cells.rows import CellRows
from bridge.config import build, compose_config
from bridge.controls import Carrier
from bridge.controls.draws import permutations
from bridge.seeds import seeded
from bridge.statistics import ALPHA, ENOUGH_DRAWS, draw_family_p


def nested(rates: Rates, cells: Mapping[int, CellRows], sizes: Sequence[int], n: int) -> None:
    """Fit on the first 60, 200, ... rows of one permuted pairing, and rank among fits on permutations of each size.

    The permuted pairing is the truth here, so the fitted map is one more draw of `shuffled` in each cell. A score is
    the share of the eval states' variance that is explained.

    Args:
        rates: counted into.
        cells: layer -> its rows, those of the largest size.
        sizes: nested fit sizes.
        n: permuted pairings.
    """
    config = compose_config()
    for seed in range(n):
        scores = []
        (order,) = permutations(None, max(sizes), 1, seeded(seed, "pairing"))
        for rows in cells.values():
            X, Y = rows.evaluation.X[:, -1].double(), rows.evaluation.Y[:, -1].double()
            for size in sizes:
                fit = rows.fit
                kept = replace(
                    fit,
                    X=fit.X[:size],
                    Y=fit.Y[order][:size],
                    relations=fit.relations[:size],
                    answers=fit.answers[:size],
                    groups=fit.groups[:size],
                )
                carrier = Carrier(build(config.map), build(config.normalize), kept, ENOUGH_DRAWS, seed)
                carried = torch.cat([carrier.carry(name, X, Y) for name in ("fitted", "shuffled")])
                scores.append(-(carried - Y).square().sum((1, 2)))
        table = torch.stack(scores, 1)
        joint = draw_family_p(table[0], table[1:])
        rates.count("family", f"joint rank over {len(scores)} cells of nested sizes", bool(joint.min() <= ALPHA))
