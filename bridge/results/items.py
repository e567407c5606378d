"""Per-item scores read back from records, with the units and the parts of the items."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from bridge.errors import RecordError
from bridge.records.record import Record
from bridge.results.scores import Branch, Part

PARTS = ("all", "new", "known")
LABELS = ("unit", "known_token", "known_answer")


@dataclass(frozen=True)
class ItemScores:
    """Scores of the same m items, wherever their controls were scored.

    Attributes:
        branches: control -> scores; metrics that hold null are left out.
        units: (m,) integer unit of each item.
        known_token: (m,) whether the first token of its answer is one that was fitted on.
        known_answer: (m,) whether its whole answer is.
    """

    branches: dict[str, Branch] = field(default_factory=dict)
    units: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    known_token: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    known_answer: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))

    def part(self, label: str, n_resamples: int, seed: int) -> Part:
        """All items, the new or the known ones, as the cell itself parted them."""
        every = torch.ones_like(self.known_token)
        masks = {
            "all": (every, every),
            "new": (~self.known_token, ~self.known_answer),
            "known": (self.known_token, self.known_answer),
        }
        return Part(self.units, *masks[label], n_resamples, seed)


def item_scores(records: Iterable[Record], controls: Sequence[str], metrics: Sequence[str]) -> ItemScores:
    """The scores of `controls` in `records`, which are cells that differ in their controls alone."""
    scores = ItemScores()
    for record in records:
        missing = {c for c in controls if c in record.data["scores"] and c not in scores.branches}
        if not missing:
            continue
        path = record.folder / "items.parquet"
        try:
            # A record has the scores that its cell was asked for, and not those of other records.
            wanted = [metric for metric in metrics if metric in pq.read_schema(path).names]
            table = pq.read_table(path, columns=["control", "draw", *LABELS, *wanted])
        except (OSError, pa.ArrowException) as error:
            raise RecordError(
                f"cannot read {path} ({type(error).__name__}); the record is not whole: move {record.folder} away and "
                "run its cell again"
            ) from error
        column = table["control"].combine_chunks()
        names, index = column.dictionary.to_pylist(), column.indices.to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist()]
        values = {name: table[name].to_numpy() for name in (*LABELS, *wanted)}
        branches = dict(scores.branches)
        for start, end in zip(starts, [*starts[1:], len(index)], strict=True):
            name = names[index[start]]
            if name not in missing:
                continue
            n_draws = table["draw"][end - 1].as_py() + 1
            m = (end - start) // n_draws
            labels = [torch.tensor(values[label][start : start + m]) for label in LABELS]
            parts = {metric: values[metric][start:end].reshape(n_draws, m) for metric in wanted}
            branches[name] = Branch({k: torch.tensor(v) for k, v in parts.items() if not np.isnan(v).any()})
            scores = ItemScores(branches, *labels)
    return scores
