"""Records of task=similarity that are shown together: their p, corrected for the number of records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bridge.records.record import Record
from bridge.results.families import over_records
from bridge.results.verdicts import counted
from bridge.statistics.levels import ALPHA, draws_needed, least_p
from bridge.tasks.similarity.matrices import measures


def sizes(records: Sequence[Record]) -> Counter[str]:
    """Measure -> the number of valid records that have it, as in a family of `bridge.results.families`."""
    return Counter(measure for r in records if r.data["valid"] for measure in measures(r.data))


def together(records: Sequence[Record]) -> list[Record]:
    """The same records with `p_holm` beside every p: corrected for the number of records, measure by measure.

    One record alone keeps its p. Nothing is corrected for the number of measures.
    """
    n_records = sizes(records)
    return [replace(r, data=_corrected(r.data, n_records)) for r in records]


def _corrected(data: dict[str, Any], n_records: Counter[str]) -> dict[str, Any]:
    def with_p(contrast: dict[str, Any], measure: str) -> dict[str, Any]:
        p = contrast.get("p_searched", contrast["p"])
        return contrast | {"p_holm": over_records(p, max(1, n_records[measure]))}

    points = [
        point | {"contrasts": {
            null: {measure: with_p(contrast, measure) for measure, contrast in by_measure.items()}
            for null, by_measure in point["contrasts"].items()
        }}
        for point in data["points"]
    ]  # fmt: skip
    over_layers = {
        measure: {
            statistic: over | {"nulls": {null: with_p(numbers, measure) for null, numbers in over["nulls"].items()}}
            for statistic, over in by_statistic.items()
        }
        for measure, by_statistic in data["over_layers"].items()
    }
    return data | {"points": points, "over_layers": over_layers}


def for_records(records: Sequence[Record]) -> str:
    """What p is corrected for besides the layers, as "the 3 records shown"; empty where there is one record."""
    n_records = sorted(set(sizes(records).values()))
    return f"the {' or '.join(map(str, n_records))} records shown" if n_records and n_records[-1] > 1 else ""


def too_few(records: Sequence[Record]) -> str | None:
    """Where no p can be 0.05 or less with so few permutations: how many verdicts can, and what to give; else None.

    A verdict is that on one measure in one valid record.
    """
    n_records = sizes(records)
    verdicts = [(r.data["n_permutations"], n_records[m]) for r in records if r.data["valid"] for m in measures(r.data)]
    short = [(n, k) for n, k in verdicts if over_records(least_p(n), k) > ALPHA]
    if not short:
        return None
    able = len(verdicts) - len(short)
    permutations = " or ".join(map(str, sorted({n for n, _ in short})))
    most = max(k for _, k in short)
    which = f"only {able} of {len(verdicts)} verdicts" if able else "no verdict"
    return (
        f"{which} can be above: {permutations} permutations are too few for {counted(most, 'record')}; give "
        f"task.n_permutations={draws_needed(ALPHA / most)} or more"
    )
