"""Per-item scores read back from records, with the units and the parts of the items."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import RecordError
from bridge.results.points import mask_column
from bridge.results.scores import Branch, Key, Part, key_of

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.records.record import Record
    from bridge.results.metrics import Metric
    from bridge.tasks.base import Task


@dataclass
class ItemScores:
    """Scores of the same items of one point, wherever their conditions were scored.

    Attributes:
        branches: condition -> scores; metrics that hold null are left out.
        units: table -> (m,) integer unit of each item.
        masks: part -> key of a metric -> (m,) whether each item belongs to the part.
    """

    branches: dict[str, Branch] = field(default_factory=dict)
    units: "dict[str, Tensor]" = field(default_factory=dict)
    masks: "dict[str, dict[Key, Tensor]]" = field(default_factory=dict)

    def part(self, label: str, n_resamples: int, seed: int) -> Part:
        """All items, or a part of them, with the masks that the cell stored."""
        return Part(self.units, self.masks[label], n_resamples, seed)


def item_scores(
    records: "Iterable[Record]", task: "Task", names: Sequence[str], metrics: "Sequence[Metric]", point: int = 0
) -> ItemScores:
    """The scores of some conditions in records of cells that differ in their conditions alone.

    Args:
        records: of these cells.
        task: theirs.
        names: of the conditions.
        metrics: those to read.
        point: number of the point.

    Raises:
        RecordError: a table of items cannot be read.
    """
    scores = ItemScores()
    tables = dict.fromkeys(m.items for m in metrics if m.items is not None)
    for record in records:
        have = record.data["points"][point]["scores"]
        missing = [name for name in names if name in have and name not in scores.branches]
        if not missing:
            continue
        branches: dict[str, dict[str, Any]] = {name: {} for name in missing}
        for table in tables:
            here = [m for m in metrics if m.items == table]
            _read(record, task, table, here, point, branches, scores)
        scores.branches |= {name: Branch(values) for name, values in branches.items()}
    return scores


def _read(
    record: "Record",
    task: "Task",
    table: str,
    metrics: "Sequence[Metric]",
    point: int,
    branches: dict[str, dict[str, Any]],
    scores: ItemScores,
) -> None:
    """Put one table of one record into `branches` and `scores`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    path: Path = record.table_path(table)
    keys = list(dict.fromkeys(key_of(m) for m in metrics))
    labels = {(part.name, key): mask_column(part.name, key[1]) for part in task.parts for key in keys}
    try:
        # A record has only the metrics that its own cell scored.
        stored = pq.read_schema(path).names
        wanted = [m.name for m in metrics if m.name in stored]
        columns = ["control", "draw", "unit", *dict.fromkeys(labels.values()), *wanted]
        several = len(record.data["points"]) > 1
        rows = pq.read_table(path, columns=columns, filters=[("point", "=", point)] if several else None)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(
            f"cannot read {path} ({type(error).__name__}); wanted a whole record: move {record.folder} away and run "
            "its cell again"
        ) from error
    column = rows["control"].cast(pa.string()).combine_chunks().dictionary_encode()
    names, index = column.dictionary.to_pylist(), column.indices.to_numpy()
    starts = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist()]
    values = {name: rows[name].to_numpy() for name in ("unit", *dict.fromkeys(labels.values()), *wanted)}
    for start, end in zip(starts, [*starts[1:], len(index)], strict=True):
        name = names[index[start]]
        if name not in branches:
            continue
        n_draws = rows["draw"][end - 1].as_py() + 1
        m = (end - start) // n_draws
        parts = {metric: values[metric][start:end].reshape(n_draws, m) for metric in wanted}
        branches[name] |= {k: torch.tensor(v) for k, v in parts.items() if not np.isnan(v).any()}
        if table not in scores.units:
            scores.units[table] = torch.tensor(values["unit"][start : start + m])
            everything = torch.ones(m, dtype=torch.bool)
            scores.masks.setdefault("all", {}).update(dict.fromkeys(keys, everything))
            for (part, key), label in labels.items():
                home = scores.masks.setdefault(part, {})
                home[key] = torch.tensor(values[label][start : start + m])
