"""The numbers in a record of task=similarity, for each pair of layers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bridge.statistics.levels import ALPHA
from bridge.tasks.similarity.task import FREE, OBSERVED, WITHIN


@dataclass(frozen=True)
class LayerPair:
    """One measure at one pair of layers.

    Attributes:
        measure: its name.
        source: layer of the source.
        target: layer of the target.
        value: of the measure.
        nulls: null -> mean, q95, p, p_corrected, calibrated (None if q95 is 1); p_corrected is for the search over
            layers, and for the number of records where several are shown (`bridge.tasks.similarity.together`).
    """

    measure: str
    source: int
    target: int
    value: float
    nulls: dict[str, dict[str, Any]]

    @property
    def label(self) -> str:
        """Source and target layer, as in every table."""
        return f"{self.source}→{self.target}"

    def is_above(self, null: str) -> bool:
        """Whether the corrected p is at most 0.05."""
        return bool(self.nulls[null]["p_corrected"] <= ALPHA)


@dataclass(frozen=True)
class OverLayers:
    """One measure over all pairs of layers.

    Attributes:
        value: the mean or the largest score.
        nulls: null -> mean, q95, p, p_corrected, calibrated (None if q95 is 1), of the same statistic; p_corrected is
            for the number of records where several are shown.
    """

    value: float
    nulls: dict[str, dict[str, Any]]

    def is_above(self, null: str) -> bool:
        """Whether the corrected p is at most 0.05."""
        return bool(self.nulls[null]["p_corrected"] <= ALPHA)


def over_layers(data: dict[str, Any], measure: str, statistic: str) -> OverLayers:
    """The "mean" or "max" of a measure over all pairs of layers."""
    over = data["over_layers"][measure][statistic]
    nulls = {null: x | {"p_corrected": x.get("p_holm", x["p"])} for null, x in over["nulls"].items()}
    return OverLayers(over["value"], nulls)


def measures(data: dict[str, Any]) -> list[str]:
    """The measures of a record, in order."""
    return list(data["over_layers"])


def layer_pairs(data: dict[str, Any], measure: str) -> Iterator[LayerPair]:
    """All pairs of layers, row by row."""
    for point in data["points"]:
        nulls = {}
        for name in (FREE, WITHIN):
            score, contrast = point["scores"][name][measure], point["contrasts"][name][measure]
            nulls[name] = {
                "mean": score["mean"], "q95": score["q95"], "p": contrast["p"],
                "p_corrected": contrast.get("p_holm", contrast["p_searched"]), "calibrated": contrast["calibrated"],
            }  # fmt: skip
        axes, value = point["axes"], point["scores"][OBSERVED][measure]["mean"]
        yield LayerPair(measure, axes["source_layer"], axes["target_layer"], value, nulls)


def best(data: dict[str, Any], measure: str) -> LayerPair:
    """The pair of layers with the highest calibrated score against freely permuted rows.

    Layer 0 is left out if there are others: there the last position holds only the embedding of one token.
    """

    def rank(pair: LayerPair) -> tuple[bool, float]:
        calibrated = pair.nulls[FREE]["calibrated"]
        return calibrated is not None, pair.value if calibrated is None else calibrated

    return max(deep(layer_pairs(data, measure)), key=rank)


def deep(pairs: Iterable[LayerPair]) -> list[LayerPair]:
    """Those above layer 0 on both sides; all where there is none."""
    every = list(pairs)
    return [p for p in every if p.source > 0 and p.target > 0] or every


def final(data: dict[str, Any], measure: str) -> LayerPair:
    """The deepest layers that were compared; they are not chosen by a score."""
    return list(layer_pairs(data, measure))[-1]


def not_above(data: dict[str, Any], null: str) -> list[str]:
    """Measures that are not above a null at their best pair of layers."""
    return [m for m in measures(data) if not best(data, m).is_above(null)]


def verdict(data: dict[str, Any]) -> str:
    """The verdict, in one line."""
    failed = [name for name, gate in data["gates"].items() if not gate["passed"]]
    if failed:
        return f"invalid: gate {', '.join(failed)} failed"
    n = len(measures(data))
    clauses = []
    for null, where in ((FREE, "rows permuted freely"), (WITHIN, "rows permuted inside their relation")):
        losers = not_above(data, null)
        but = f" (not {', '.join(losers)})" if losers and len(losers) < n else ""
        clauses.append(f"{n - len(losers)} of {n} measures{but} above {where}")
    return "; ".join(clauses)


def short(data: dict[str, Any]) -> str:
    """The verdict of one of many cells while they run: by its own p, without regard to the others."""
    if not data["valid"]:
        return verdict(data)
    n = len(measures(data))
    above = [f"{n - len(not_above(data, null))} above {null}" for null in (FREE, WITHIN)]
    return f"of {n} measures {', '.join(above)} (this cell alone)"


def label(data: dict[str, Any]) -> str:
    """A short name: layers and rows."""
    layers = data["layers"]
    return f"similarity, {len(layers['source'])} × {len(layers['target'])} layers, {data['n_rows']} rows"


def flat_scores(data: dict[str, Any]) -> dict[str, float]:
    """The final and the best pair of layers of every measure, and all of them, as ``{"value/measure": ...}``."""
    flat = {"valid": float(data["valid"])}
    for measure in data.get("over_layers", {}):
        deepest, chosen = final(data, measure), best(data, measure)
        flat[f"value/{measure}"] = deepest.value
        flat |= {f"best/{measure}": chosen.value}
        flat |= {f"best_source/{measure}": float(chosen.source), f"best_target/{measure}": float(chosen.target)}
        for null, numbers in deepest.nulls.items():
            if numbers["calibrated"] is not None:
                flat[f"calibrated_{null}/{measure}"] = numbers["calibrated"]
            flat[f"p_{null}/{measure}"] = numbers["p"]
        for statistic, over in data["over_layers"][measure].items():
            calibrated = over["nulls"][FREE]["calibrated"]
            if calibrated is not None:
                flat[f"calibrated_{statistic}/{measure}"] = calibrated
    return flat
