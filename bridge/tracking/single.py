"""A plain run: one Weights & Biases run per record."""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from bridge.records.record import Record, writing
from bridge.tasks.similarity import matrices
from bridge.tracking.client import Client, OfflineError, require_wandb


class Tracker(Protocol):
    """Takes records, one by one."""

    def open(self) -> None:
        """Say at once what would keep records from being sent, before a cell is computed for nothing."""

    def send(self, record: Record) -> None:
        """Send one record."""

    def close(self) -> None:
        """Send what is still held back."""


class NoTracker:
    """Sends nothing: the records on disk are enough."""

    def open(self) -> None:
        """Do nothing."""

    def send(self, record: Record) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class WandbTracker:
    """One Weights & Biases run per record, under the record's run id.

    Without a key it works offline and says so once; ``wandb sync`` sends such runs later.

    Args:
        project: the W&B project.
        entity: the user or team; None for the key's own.
        group: the W&B group.
        mode: online, offline or disabled.
        init_timeout_s: seconds to wait for the server before going on offline.
    """

    def __init__(self, project: str, entity: str | None, group: str | None, mode: str, init_timeout_s: float) -> None:
        self.group = group
        self.client = Client(project, entity, mode, init_timeout_s, "wandb sync")

    def open(self) -> None:
        """See that wandb is installed."""
        require_wandb()

    def send(self, record: Record) -> None:
        """Send config and scores of one record, unless the ledger says that this project has it already."""
        require_wandb()
        ledger = self._ledger(record)
        if ledger.exists():
            return
        outputs = record.folder.parent.parent
        try:
            self._send(record, outputs)
        except OfflineError:
            self._send(record, outputs)
        if self.client.mode != "disabled":
            with writing(outputs):
                ledger.parent.mkdir(parents=True, exist_ok=True)
                sent = {"project": self.client.project, "entity": self.client.entity, "mode": self.client.mode}
                ledger.write_text(json.dumps(sent) + "\n")

    def _send(self, record: Record, outputs: Path) -> None:
        run = self.client.open(
            outputs, self.client.mode, id=record.data["run_id"], group=self.group, config=record.data["config"]
        )
        shown: dict[str, Any] = dict(flat_scores(record.data))
        if matrices.is_similarity(record.data) and record.ok:
            shown["layers"] = _layers_table(record.data)
        run.log(shown)
        self.client.close(run)

    def _ledger(self, record: Record) -> Path:
        """A file that is there once this very record was sent to this project."""
        what = json.dumps([self.client.project, self.client.entity, record.data], sort_keys=True)
        digest = hashlib.sha256(what.encode()).hexdigest()[:8]
        return record.folder.parent.parent / "wandb" / "sent" / f"{record.data['run_id']}-{digest}.json"

    def close(self) -> None:
        """Do nothing: every record is sent whole."""


def _layers_table(data: dict[str, Any]) -> Any:
    """Every measure at every pair of layers, with what the nulls say, as a W&B table."""
    import wandb

    rows = matrices.rows(data)
    return wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])


def flat_scores(data: dict[str, Any]) -> dict[str, float]:
    """Every mean score of a record as ``{"metric/control": value}``, so that W&B shows controls side by side.

    Of task=similarity, whose nulls are its controls, the deepest and the best layers of every measure.
    """
    if matrices.is_similarity(data):
        return matrices.flat_scores(data)
    parts = {"": data.get("scores", {})}
    parts |= {f"_{label}": part["scores"] for label, part in data.get("by_answer", {}).items() if "scores" in part}
    return {
        f"{metric}{suffix}/{control}": values["mean"]
        for suffix, scores in parts.items()
        for control, metrics in scores.items()
        for metric, values in metrics.items()
    } | {"valid": float(data["valid"])}
