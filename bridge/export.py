"""Records as one CSV or Parquet table: a row for each point, condition and metric, or for each item."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from bridge.errors import RecordError
from bridge.records import manifest
from bridge.records.record import Record, read_all, runs_folder
from bridge.records.whole import whole_file
from bridge.results.comparison import Comparison
from bridge.results.curves import settings
from bridge.results.families import Family
from bridge.results.joining import comparisons

if TYPE_CHECKING:
    from bridge.results.axes import Axis

# Config keys whose column has a name of its own; every other key that differs between cells keeps its dotted name.
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
# Columns for the numbers of a contrast.
CONTRAST = {
    "difference": "difference",
    "diff_low": "low",
    "diff_high": "high",
    "p": "p",
    "p_draws": "p_draws",
    "p_draws_family": "p_draws_family",
    "p_exact": "p_exact",
    "p_holm": "p_holm",
}
# Numbers of scores and contrasts that have a column already; of draws only their count is exported.
SCORE = frozenset({"mean", "low", "high", "n_draws"})
CONTRASTED = frozenset(CONTRAST.values())


def write_export(
    outputs: str | Path, name: str | None = None, to: str | Path | None = None, items: bool = False
) -> Path:
    """Write the scores of all records under `outputs`, or of one sweep, as a table.

    A row is one metric of one condition (`control`) at one point of a cell, on all items or on a `part` of them, with
    `difference` = estimate minus that condition, as in the report; `p_holm` and `p_draws_family` are corrected for all
    contrasts of that metric in the table. Where the point lies is in a column for each axis of the task. `n_units` is
    the number of units that intervals and p values are computed from. `n_negatives` counts the negative controls that
    were scored beside the row's cell: where it is 0, the estimate has no row, and `verdict` says so.

    Args:
        outputs: the outputs folder.
        name: a sweep; every record when None.
        to: a file that ends in .csv or .parquet; `outputs`/reports/export.csv, or the sweep's name in place of
            `export`, when None.
        items: a row per point, condition, draw and item instead; where there are several kinds of item, `table` says
            of which kind it is.

    Returns:
        Where it was written.

    Raises:
        RecordError: no finished cell, a file that ends in something else, or one that cannot be written.
        ConfigError: there is no such sweep.
    """
    path = Path(outputs) / "reports" / f"{name or 'export'}.csv" if to is None else Path(to)
    if path.suffix not in (".csv", ".parquet"):
        raise RecordError(
            f"cannot export to {path}, which ends in {path.suffix!r}; wanted a file ending in .csv or .parquet: "
            "rename it"
        )
    records = [r for r in read_all(outputs, None if name is None else manifest.read(outputs, name).run_ids) if r.ok]
    if not records:
        where = runs_folder(outputs) if name is None else f"sweep {name}"
        raise RecordError(f"no finished cell in {where}; wanted at least one: run bridge first, then export")
    if items and not any(record.tables for record in records):
        tasks = ", ".join(sorted({record.data["config"]["task"]["name"] for record in records}))
        raise RecordError(f"task={tasks} has no scores by item; wanted a task that has: leave out --items")
    _write(path, _item_tables(records) if items else iter([scores_table(records)]))
    return path


def scores_table(records: Iterable[Record]) -> pa.Table:
    """A row for every point, part, condition and metric of finished records."""
    cells = _corrected(records)
    return _table([about | row for c, about in zip(cells, _abouts(cells), strict=True) for row in _rows(c)])


def _corrected(records: Iterable[Record]) -> list[Comparison]:
    """Comparisons whose verdicts are corrected for all contrasts of a metric in the table."""
    compared = comparisons(records)
    metrics = list(dict.fromkeys(m for c in compared for by_metric in c.contrasts.values() for m in by_metric))
    return Family(compared, metrics).cells


def _rows(c: Comparison) -> Iterator[dict[str, Any]]:
    homes = {name: r.data["run_id"] for r in reversed(c.records) for name in r.data["points"][c.number]["scores"]}
    verdict = {"valid": c.valid, "verdict": c.verdict()}
    for label in [label for label in ("all", *c.parts) if c.scores_of(label)]:
        for condition, scores in c.scores_of(label).items():
            contrasts = c.contrasts_of(label).get(condition, {})
            for metric, score in scores.items():
                contrast = contrasts.get(metric, {})
                counts = c.counts(label, metric)
                yield {
                    "part": label,
                    "n_items": counts["n"],
                    "n_units": counts["n_units"],
                    "control": condition,
                    "kind": c.task.conditions[condition].kind,
                    "n_draws": score.get("n_draws", 1),
                    "metric": metric,
                    **{name: score[name] for name in ("mean", "low", "high")},
                    **_further(score, SCORE),
                    **{column: contrast.get(key) for column, key in CONTRAST.items()},
                    **_further(contrast, CONTRASTED),
                    **verdict,
                    "run_id": homes[condition],
                }


def _further(numbers: Mapping[str, Any], named: frozenset[str]) -> dict[str, Any]:
    """The numbers that only some tasks have."""
    return {name: x for name, x in numbers.items() if name not in named and isinstance(x, int | float | None)}


def _abouts(cells: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The config values and places that differ between points, with the same columns for each."""
    flat = [settings(c.config) for c in cells]
    keys = [k for k in dict.fromkeys(k for one in flat for k in one) if not k.endswith("_target_") and k not in NAMED]
    varying = {k: k for k in keys if len({json.dumps(one.get(k)) for one in flat}) > 1}
    named = {key: name for key, name in NAMED.items() if any(key in one for one in flat)}
    columns = {name: _alike([one.get(key) for one in flat]) for key, name in {**named, **varying}.items()}
    if any("dataset" in c.task.uses for c in cells):
        columns["size"] = _alike([c.config["dataset"]["size"] if "dataset" in c.task.uses else None for c in cells])
    places = [{k: v for axis in c.task.axes for k, v in _places(axis, c.axes).items()} for c in cells]
    for name in dict.fromkeys(name for place in places for name in place):
        columns[name] = _alike([place.get(name) for place in places])
    columns["unit"] = [c.point["unit"] for c in cells]
    columns["n_negatives"] = [sum(name in c.scores for name in c.task.conditions.negatives) for c in cells]
    columns = {"task": [c.task.name for c in cells]} | columns
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _places(axis: "Axis", axes: Mapping[str, Any]) -> dict[str, Any]:
    """Where a point lies on an axis: one column, or of a pair of places one for each, named by its config key."""
    place = axis.value(axes)
    if not isinstance(place, tuple):
        return {axis.name: place}
    alike = len(axis.keys) == len(place)
    names = [k.replace(".", "_") for k in axis.keys] if alike else [f"{axis.name}_{i + 1}" for i in range(len(place))]
    return dict(zip(names, place, strict=True))


def _item_tables(records: Sequence[Record]) -> Iterator[pa.Table]:
    """The per-item scores, one record at a time, so that only one table is in memory."""
    with_items = [(record, table) for record in records for table in record.tables]
    several = len({table for _, table in with_items}) > 1
    cells = _corrected(records)
    rows = {
        (record.data["run_id"], c.number): {**about, "valid": c.valid, "verdict": c.verdict()}
        for c, about in zip(cells, _abouts(cells), strict=True)
        for record in c.records
    }
    # Two records may have other scores, and other kinds of item have other columns.
    schemas = [_decoded(pq.read_schema(record.table_path(table))) for record, table in with_items]
    by_item = pa.unify_schemas(schemas, promote_options="permissive")
    own = [pa.field("run_id", pa.string()), *([pa.field("table", pa.string())] if several else [])]
    # The unit of an item takes the place of what the units are.
    about = [field for field in _table(list(rows.values())).schema if field.name not in by_item.names]
    schema = pa.schema([*about, *own, *by_item])
    for record, table in with_items:
        items = record.items(table)
        run_id = record.data["run_id"]
        points = _table([rows[run_id, i] for i in range(len(record.data["points"]))]).take(items["point"])
        columns = {field.name: points[field.name] for field in about if field.name in points.column_names} | {
            "run_id": pa.repeat(run_id, len(items))
        }
        columns |= {"table": pa.repeat(table, len(items))} if several else {}
        columns |= {name: items[name] for name in items.column_names}
        yield pa.table(
            [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(len(items), f.type) for f in schema],
            schema=schema,
        )


def _decoded(schema: pa.Schema) -> pa.Schema:
    """A schema without dictionary columns: CSV has none, and they differ from record to record."""
    return pa.schema(
        [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema]
    )


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
    """Write tables of one schema below each other, under a temporary name until all are written."""
    with whole_file(path) as unfinished:
        first = next(tables)
        kind = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
        with kind(unfinished, first.schema) as file:
            for table in chain([first], tables):
                file.write_table(table.cast(first.schema))
