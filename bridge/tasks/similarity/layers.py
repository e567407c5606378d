"""Similarity: every layer of one model compared with every layer of another, beside permuted rows as a null."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from bridge.carry.draws import haar_rotated
from bridge.errors import ConfigError
from bridge.permutations import permutations
from bridge.results.points import Result
from bridge.similarity.calibration import LEAST_ROOM, Calibrated, calibrate
from bridge.similarity.canonical import leading
from bridge.similarity.cka import BANDWIDTH_UNITS
from bridge.similarity.measures import MEASURES
from bridge.similarity.scorer import Options, Scorer
from bridge.similarity.scorers import SCORERS
from bridge.similarity.states import LayerStates, clip_outliers, varies
from bridge.tasks.similarity.points import null_draws, over_layers, points

NULLS = ("shuffled", "shuffled_within")
LEAST_ROWS = 4
# With fewer permutations no p can be 0.05, and no calibrated score above 0.
LEAST_PERMUTATIONS = 19
N_PERMUTED = 5
# How many matrices (n, n) a layer needs.
GRAMS_PER_LAYER = 5
MOST_BYTES = 32e9
# Seconds for one permutation at one pair of layers of rank 128, on one core; they grow a little
# less than with its cube.
DECOMPOSITION_S = {"svcca": 0.7e-3, "pwcca": 1.1e-3, "procrustes": 0.9e-3}
LONG_S = 600.0
log = logging.getLogger("bridge")


class LayerSimilarity:
    """Compares layers by every measure, with the same permutations of rows as nulls for all of them.

    Args:
        measures: names in `bridge.similarity.MEASURES`.
        n_permutations: of each null: rows permuted freely, and inside their relation.
        k: neighbours of a row.
        bandwidth: of the Gaussian kernel, in medians of the distances.
        variance: share that SVCCA keeps.
        n_components: components that SVCCA keeps in place of it.
        bandwidth_unit: "median" or "absolute".
        penalty: of linear predictivity.
        clip: quantile of the absolute values of a row at which outliers are cut; None: nowhere.
        gates: thresholds with the attributes planted and permuted.
    """

    def __init__(
        self,
        measures: Sequence[str],
        n_permutations: int,
        k: int,
        bandwidth: float,
        variance: float,
        gates: Any,
        n_components: int | None = None,
        bandwidth_unit: str = "median",
        penalty: float = 0.01,
        clip: float | None = None,
    ) -> None:
        self.measures = measures
        self.n_permutations = n_permutations
        self.options = Options(k, bandwidth, bandwidth_unit, variance, n_components, penalty)
        self.clip = clip
        self.gates = gates

    def check(self, n: int | None = None) -> None:
        """Check the options, and the number of rows `n` if it is known.

        Raises:
            ConfigError: an unknown measure, none, or a number out of range.
        """
        unknown = [m for m in self.measures if m not in MEASURES]
        if unknown or not self.measures:
            problem = f"unknown measure {', '.join(unknown)}" if unknown else "task.measures is empty"
            raise ConfigError(f"{problem}; wanted some of {', '.join(MEASURES)}: change task.measures")
        options, clip = self.options, self.clip
        least = 2 if "cknna" in self.measures else 1
        near = [m for m in ("mutual_knn", "cknna") if m in self.measures]
        for key, value, is_right, wanted in (
            ("n_permutations", self.n_permutations, self.n_permutations >= 1, "at least 1, as p is a rank among them"),
            ("bandwidth", options.bandwidth, 0 < options.bandwidth < math.inf, "a positive number"),
            ("bandwidth_unit", options.bandwidth_unit, options.bandwidth_unit in BANDWIDTH_UNITS,
             f"one of {', '.join(BANDWIDTH_UNITS)}"),
            ("n_components", options.n_components, options.n_components is None or options.n_components >= 1,
             "at least 1, or null for task.variance"),
            ("penalty", options.penalty, 0 < options.penalty < math.inf, "a positive number"),
            ("clip", clip, clip is None or 0 < clip <= 1, "above 0 and at most 1, or null"),
            ("variance", options.variance, 0 < options.variance <= 1, "above 0 and at most 1"),
            ("k", options.k, not near or options.k >= least, f"at least {least} for {' and '.join(near)}"),
        ):  # fmt: skip
            if not is_right:
                raise ConfigError(f"task.{key}={value} is out of range; wanted {wanted}: change it")
        if n is None:
            return
        if n < LEAST_ROWS:
            raise ConfigError(
                f"{n} rows are too few to compare layers; wanted at least {LEAST_ROWS}: change dataset.size"
            )
        if near and options.k >= n:
            raise ConfigError(
                f"task.k={options.k} is no number of neighbours among {n} rows; wanted at most {n - 1}: give "
                f"task.k={max(least, n // 10)}, or more rows (dataset.size)"
            )

    def run(
        self, source: dict[int, Tensor], target: dict[int, Tensor], relations: Tensor, seed: int, strict: bool
    ) -> Result:
        """Compare.

        Args:
            source: layer -> states (n, d_source).
            target: layer -> states (n, d_target), row by row from the same items.
            relations: (n,) integer labels.
            seed: of the permutations.
            strict: whether a layer without variance is an error; otherwise it is left out.

        Raises:
            ConfigError: what `check` says; with `strict` a layer whose rows are all the same.
            FitError: states that cannot be compared.
        """
        n = len(relations)
        self.check(n)
        warnings: list[str] = []
        sides = {
            side: self._layers(side, states, strict, warnings)
            for side, states in (("source", source), ("target", target))
        }
        n_bytes = 8.0 * n**2 * GRAMS_PER_LAYER * sum(map(len, sides.values()))
        if n_bytes > MOST_BYTES:
            raise ConfigError(
                f"{n} rows at {sum(map(len, sides.values()))} layers take {n_bytes / 1e9:.0f} GB; wanted at most "
                f"{MOST_BYTES / 1e9:.0f} GB: give fewer rows (dataset.size=1000) or task.layers=[...]"
            )
        scorers = self._scorers(list(sides["source"].values()), list(sides["target"].values()))
        self._announce(*(list(layers.values()) for layers in sides.values()))
        generator = torch.Generator().manual_seed(seed)
        pairings = {
            "shuffled": permutations(n, self.n_permutations, generator, at_once=True),
            "shuffled_within": permutations(n, self.n_permutations, generator, relations, at_once=True),
        }
        total = len(scorers) * len(NULLS) * self.n_permutations
        with tqdm(total=total, desc="similarity", delay=2.0, leave=False, disable=None) as bar:
            calibrated = calibrate(scorers, pairings, bar.update, _counted(*(list(side) for side in sides.values())))
        calibrated = {m: calibrated[m] for m in self.measures}
        warnings += self._warnings_of(sides, relations)
        last = [list(side.values())[-1] for side in sides.values()]
        layers = {side: list(states) for side, states in sides.items()}
        return Result(
            points(calibrated, layers, n),
            {"draws": null_draws(calibrated)},
            gates={
                "planted": self._planted_gate(last[1], generator),
                "permuted": self._permuted_gate(last[0], last[1], calibrated, generator),
            },
            facts={
                "layers": layers,
                "distinct_rows": {side: [x.n_distinct for x in states.values()] for side, states in sides.items()},
                "over_layers": over_layers(calibrated),
            },
            warnings=warnings,
        )

    def _layers(
        self, side: str, states: dict[int, Tensor], strict: bool, warnings: list[str]
    ) -> dict[int, LayerStates]:
        if self.clip is not None:
            states = {layer: clip_outliers(X, self.clip) for layer, X in states.items()}
        flat = [layer for layer, X in states.items() if not varies(X.double())]
        constant = f"all rows of layer {', '.join(map(str, flat))} of the {side} are the same"
        why = "at layer 0 the last position holds nothing but the embedding of the last token"
        if flat and (strict or len(flat) == len(states)):
            raise ConfigError(f"{constant} ({why}); wanted rows that differ: give other layers in task.layers")
        if flat:
            warnings.append(f"{constant}, so it is left out ({why})")
        return {n: LayerStates(X, f"layer {n} of the {side}") for n, X in states.items() if n not in flat}

    def _scorers(
        self,
        source: Sequence[LayerStates],
        target: Sequence[LayerStates],
        options: Options | None = None,
        measures: Sequence[str] | None = None,
    ) -> list[Scorer]:
        kinds = dict.fromkeys(SCORERS[m] for m in (self.measures if measures is None else measures))
        return [kind(source, target, options or self.options) for kind in kinds]

    def _announce(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        """Warn beforehand of measures that take long."""
        decomposed = [m for m in DECOMPOSITION_S if m in self.measures]
        sizes = sum((min(*x.X.shape, *y.X.shape) / 128.0) ** 2.7 for x in source for y in target)
        seconds = sizes * len(NULLS) * self.n_permutations * sum(DECOMPOSITION_S[m] for m in decomposed)
        if seconds > LONG_S:
            log.warning(
                f"{', '.join(decomposed)} take about {seconds / 3600:.1f} h on one core; leave them out of "
                "task.measures, or give fewer layers (task.layers=[0.25,0.5,0.75,final]) or permutations"
            )

    def _planted_gate(self, Y: LayerStates, generator: torch.Generator) -> dict[str, Any]:
        """Largest distance from 1 of a measure between the target's deepest layer and a rotated, scaled copy."""
        rotated = LayerStates(3.0 * haar_rotated(Y.X, Y.X.shape[1], generator), "the rotated target")
        # Ties are ordered alike on both sides, because both are the same states here.
        options = replace(self.options, tie_seeds=(0, 0))
        if options.bandwidth_unit == "absolute":
            options = replace(options, bandwidth_unit="median", bandwidth=1.0)
        identity = torch.arange(Y.n, device=Y.X.device)
        scorers = self._scorers([Y], [rotated], options, [m for m in self.measures if MEASURES[m].planted])
        scores = [scorer.scores(identity).flatten() for scorer in scorers]
        value = float((1.0 - torch.cat(scores)).abs().max()) if scores else 0.0
        return {"passed": value <= self.gates.planted, "value": value, "threshold": self.gates.planted}

    def _permuted_gate(
        self, X: LayerStates, Y: LayerStates, calibrated: dict[str, Calibrated], generator: torch.Generator
    ) -> dict[str, Any]:
        """Largest calibrated score, of all measures, of the deepest layers after the target's rows were permuted.

        The rows themselves are permuted and everything is computed again, so that the shortcut that computes the nulls
        is tested too. The score is the mean over a few permutations that the null does not contain.
        """
        sums = dict.fromkeys(self.measures, 0.0)
        for permutation in permutations(X.n, N_PERMUTED, generator, at_once=True):
            permuted = LayerStates(Y.X[permutation.to(Y.X.device)], "the permuted target")
            identity = torch.arange(X.n, device=X.X.device)
            for scorer in self._scorers([X], [permuted]):
                for name, score in zip(scorer.measures, scorer.scores(identity).flatten().tolist(), strict=True):
                    if name in sums:
                        q95 = float(calibrated[name].nulls["shuffled"].q95[-1, -1])
                        # Where the null's quantile is near 1 nothing is calibrated, as in the scores.
                        sums[name] += (score - q95) / (1.0 - q95) / N_PERMUTED if 1.0 - q95 > LEAST_ROOM else 0.0
        value = max(sums.values())
        return {"passed": value <= self.gates.permuted, "value": value, "threshold": self.gates.permuted}

    def _warnings_of(self, sides: dict[str, dict[int, LayerStates]], relations: Tensor) -> list[str]:
        """Warnings to be shown with the scores."""
        warnings = []
        n = len(relations)
        for side, layers in sides.items():
            few = {layer: x.n_distinct for layer, x in layers.items() if x.n_distinct < n}
            if few:
                which = ", ".join(f"layer {layer} of the {side} has {k}" for layer, k in few.items())
                warnings.append(f"{which} different states in {n} rows: similarity there says which items end alike")
        for measure, variance, k in (("svcca", self.options.variance, self.options.n_components), ("pwcca", 1.0, None)):
            if measure in self.measures:
                warnings += _forced(measure, variance, k, sides, n)
        if self.n_permutations < LEAST_PERMUTATIONS:
            warnings.append(
                f"with {self.n_permutations} permutations no p is below {1 / (1 + self.n_permutations):.2g}, and no "
                f"calibrated score above 0; give task.n_permutations={LEAST_PERMUTATIONS} at least"
            )
        if len(relations.unique()) == 1:
            warnings.append("all items are of one relation or of none, so shuffled_within is shuffled again")
        alone = int((torch.bincount(relations) == 1).sum())
        if alone:
            warnings.append(
                f"{alone} of {n} rows are the only one of their relation, and stay where they are in shuffled_within"
            )
        return warnings


def _counted(source: list[int], target: list[int]) -> Tensor:
    """(S, T) pairs of layers above layer 0, which holds one token's embedding; all pairs where there is none."""
    deep = torch.tensor([[a > 0 and b > 0 for b in target] for a in source])
    return deep if deep.any() else ~deep


def _forced(
    measure: str, variance: float, n_components: int | None, sides: dict[str, dict[int, LayerStates]], n: int
) -> list[str]:
    """A warning where rows are so few that canonical correlations are 1 whatever the data."""
    ranks = [[leading(x, variance, n_components).shape[1] for x in layers.values()] for layers in sides.values()]
    forced = [(a + b - (n - 1), min(a, b)) for a in ranks[0] for b in ranks[1] if a + b > n - 1]
    if not forced:
        return []
    most, of = max(forced)
    return [
        f"{measure}: {n} rows are too few in {len(forced)} of {len(ranks[0]) * len(ranks[1])} pairs of layers, where "
        f"up to {most} of {of} canonical correlations are 1 whatever the data; give more rows (dataset.size)"
    ]
