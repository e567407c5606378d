"""Records as one table: a row per cell, control and metric, or per item, for whatever reads CSV or Parquet."""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from bridge.controls.names import KINDS, NEGATIVES
from bridge.errors import RecordError
from bridge.records import manifest
from bridge.records.record import Record, read_all, runs_folder, writing
from bridge.results.comparison import Comparison, comparisons
from bridge.results.curves import settings, verdict
from bridge.results.families import Family
from bridge.tasks.similarity.matrices import is_similarity
from bridge.tasks.similarity.matrices import rows as matrix_rows

# Columns that have a name of their own; whatever else differs between the cells gets its dotted key.
NAMED = {
    "pair.name": "pair",
    "pair.source.name": "source",
    "pair.target.name": "target",
    "injection.name": "injection",
    "map.name": "map",
    "normalize.center": "center",
    "normalize.scale": "scale",
    "dataset.name": "dataset",
    "dataset.split.by": "split",
    "seed": "seed",
}
STATE_METRICS = ("explained_variance", "relative_error", "cosine")
LEAD = {
    "difference": "difference",
    "diff_low": "low",
    "diff_high": "high",
    "p": "p",
    "p_draws": "p_draws",
    "p_draws_family": "p_draws_family",
    "p_exact": "p_exact",
    "p_holm": "p_holm",
}


def write_export(
    outputs: str | Path, name: str | None = None, to: str | Path | None = None, items: bool = False
) -> Path:
    """Write the scores of all records under `outputs`, or of one sweep, as a table.

    A row of task=translate is one metric of one control in one cell, on all items, on those with new answers, or on
    those with known ones (`answers`), with `difference` = fitted minus that control, as in the report; `p_holm` and
    `p_draws_family` are corrected for all contrasts of that metric in the table. `n_units` is what intervals and p
    values rest on. `n_negatives` counts the
    negative controls that were scored beside the row's cell: where it is 0, a fitted score says nothing, and `verdict`
    says so.
    A row of task=similarity is one measure at one pair of layers, with what each null says.

    Args:
        outputs: the outputs folder.
        name: a sweep; every record when None.
        to: a file that ends in .csv or .parquet; `outputs`/reports/export.csv, or the sweep's name in place of
            `export`, when None.
        items: a row per control, draw and item instead.

    Returns:
        Where it was written.

    Raises:
        RecordError: no finished cell, a file that ends in something else, or one that cannot be written.
        ConfigError: there is no such sweep.
    """
    path = Path(outputs) / "reports" / f"{name or 'export'}.csv" if to is None else Path(to)
    if path.suffix not in (".csv", ".parquet"):
        raise RecordError(
            f"cannot export to {path}: it ends in {path.suffix!r}; give a file ending in .csv or .parquet"
        )
    records = read_all(outputs, None if name is None else manifest.read(outputs, name).run_ids)
    found = comparisons(records)
    compared = [r for r in records if r.ok and is_similarity(r.data)]
    if compared and items and not found:
        raise RecordError("task=similarity compares layers over all items and has no scores by item; leave out --items")
    if not (found or compared):
        where = runs_folder(outputs) if name is None else f"sweep {name}"
        raise RecordError(f"no finished cell in {where}; run bridge first, then export")
    _write(path, _item_tables(found) if items else iter([_scores_table(found, compared)]))
    return path


def _scores_table(found: Sequence[Comparison], compared: Sequence[Record]) -> pa.Table:
    rows = _scored(found) if found else []
    return _table(rows + [row for record in compared for row in _compared(record)])


def _scored(found: Sequence[Comparison]) -> list[dict[str, Any]]:
    metrics = list(dict.fromkeys(m for c in found for by_metric in c.contrasts.values() for m in by_metric))
    cells = Family(found, metrics).cells
    configs = _configs(cells)
    return [config | row for c, config in zip(cells, configs, strict=True) for row in _rows(c)]


def _compared(found: Record) -> list[dict[str, Any]]:
    """A row for every measure and pair of layers of one record of task=similarity."""
    data = found.data
    flat = settings(data["config"])
    names = ("pair.name", "pair.source.name", "pair.target.name", "dataset.name", "dataset.split.by", "seed")
    about = {NAMED[name]: flat.get(name) for name in names}
    about |= {"size": data["config"]["dataset"]["size"], "task": data["task"], "n_rows": data["n_rows"]}
    about |= {"n_permutations": data["n_permutations"], "valid": data["valid"], "run_id": data["run_id"]}
    return [about | row for row in matrix_rows(data)]


def _rows(c: Comparison) -> Iterator[dict[str, Any]]:
    homes = {control: r.data["run_id"] for r in reversed(c.records) for control in r.data["scores"]}
    said = {"valid": c.valid, "verdict": verdict(c)}
    whole = {"n": c.data["n_eval"], "n_units": c.data["n_units"], "scores": c.scores}
    parts = [(answers, part) for answers, part in {"all": whole, **c.by_answer}.items() if "scores" in part]
    for answers, part, control in ((label, one, name) for label, one in parts for name in one["scores"]):
        states = c.state_scores.get(control, {}) if answers == "all" else {}
        scores = {**part["scores"][control], **{m: states[m] for m in STATE_METRICS if m in states}}
        for metric, score in scores.items():
            lead = c.contrasts_of(answers).get(control, {}).get(metric, {})
            yield {
                "answers": answers,
                "n_items": part["n"],
                "n_units": part["n_units"],
                "control": control,
                "kind": KINDS[control].kind,
                "n_draws": score.get("n_draws", 1),
                "metric": metric,
                **{name: score[name] for name in ("mean", "low", "high")},
                **{name: lead.get(key) for name, key in LEAD.items()},
                **said,
                "run_id": homes[control],
            }


def _item_tables(found: Sequence[Comparison]) -> Iterator[pa.Table]:
    """The per-item scores of one record after the other, so that memory holds one of them."""
    configs = _table(_configs(found))
    for i, c in enumerate(found):
        about = {name: configs[name][i] for name in configs.column_names}
        about |= {"valid": pa.scalar(c.valid), "verdict": pa.scalar(verdict(c))}
        for record in c.records:
            table = record.items()
            # CSV knows no dictionaries, and those of two records differ.
            decoded = {n: table[n].cast(pa.string()) if pa.types.is_dictionary(table[n].type) else table[n]
                       for n in table.column_names}  # fmt: skip
            own = about | {"run_id": pa.scalar(record.data["run_id"])}
            yield pa.table({name: pa.repeat(value, len(table)) for name, value in own.items()} | decoded)


def _configs(cells: Sequence[Comparison]) -> list[dict[str, Any]]:
    """What tells each cell from the others, with the same columns in each."""
    flat = [settings(c.config) for c in cells]
    keys = [k for k in dict.fromkeys(k for one in flat for k in one) if not k.endswith("_target_") and k not in NAMED]
    varying = {k: k for k in keys if len({json.dumps(one.get(k)) for one in flat}) > 1}
    columns = {name: _alike([one.get(key) for one in flat]) for key, name in {**NAMED, **varying}.items()}
    columns["size"] = _alike([c.config["dataset"]["size"] for c in cells])
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for row, c in zip(rows, cells, strict=True):
        layers = c.data["layers"]
        row |= {"layer_source": layers["source"], "layer_target": layers["target"]}
        row |= {"n_fit": c.data["n_fit"], "unit": c.data["unit"]}
        row |= {"n_negatives": sum(name in c.scores for name in NEGATIVES)}
    return rows


def _alike(values: Sequence[Any]) -> list[Any]:
    """The values of one column; as JSON where they are not all plain values of one kind."""
    kinds = {type(v) for v in values if v is not None}
    if len(kinds) <= 1 and kinds <= {str, bool, int, float}:
        return list(values)
    return [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    """Write tables of one schema below each other, under a temporary name until all are there."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            first = next(tables)
            kind = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
            with kind(unfinished, first.schema) as file:
                for table in chain([first], tables):
                    file.write_table(table.cast(first.schema))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
