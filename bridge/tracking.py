"""Where records are streamed to: Weights & Biases, or nothing, behind the same two calls."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, Protocol

from bridge.errors import ConfigError
from bridge.record import Record, writing

log = logging.getLogger("bridge")


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
        self.project = project
        self.entity = entity
        self.group = group
        self.mode = mode
        self.init_timeout_s = init_timeout_s

    def open(self) -> None:
        """See that wandb is installed."""
        _wandb()

    def send(self, record: Record) -> None:
        """Send config and scores of one record, unless the ledger says that this project has it already."""
        wandb = _wandb()
        ledger = self._ledger(record)
        if ledger.exists():
            return
        outputs = record.folder.parent.parent
        options: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            "group": self.group,
            "id": record.data["run_id"],
            "config": record.data["config"],
            "dir": str(outputs),
            "settings": wandb.Settings(init_timeout=self.init_timeout_s, silent=True),
        }
        try:
            # Asked first because wandb.init would wait for a key to be typed where there is a terminal.
            if self.mode == "online" and not wandb.login(prompt=False, verify=False):
                log.warning("no W&B key: going on offline; send the runs later with wandb sync")
                self.mode = "offline"
            run = wandb.init(mode=self.mode, **options)
        except wandb.errors.Error as error:
            log.warning(
                "W&B did not take the run (%s): going on offline; send the runs later with wandb sync",
                str(error).splitlines()[0],
            )
            self.mode = "offline"
            # Its service process still holds the run id of the attempt that failed.
            wandb.teardown()
            run = wandb.init(mode="offline", **options)
        run.log(flat_scores(record))
        run.finish()
        if self.mode != "disabled":
            with writing(outputs):
                ledger.parent.mkdir(parents=True, exist_ok=True)
                sent = {"project": self.project, "entity": self.entity, "mode": self.mode}
                ledger.write_text(json.dumps(sent) + "\n")

    def _ledger(self, record: Record) -> Path:
        """A file that is there once this very record was sent to this project."""
        what = json.dumps([self.project, self.entity, record.data], sort_keys=True)
        digest = hashlib.sha256(what.encode()).hexdigest()[:8]
        return record.folder.parent.parent / "wandb" / "sent" / f"{record.data['run_id']}-{digest}.json"

    def close(self) -> None:
        """Do nothing: every record is sent whole."""


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError("tracker=wandb needs wandb; pip install 'bridge-llm[wandb]', or tracker=none") from error
    return wandb


def flat_scores(record: Record) -> dict[str, float]:
    """Every mean score of a record as ``{"metric/control": value}``, so that W&B shows controls side by side."""
    return {
        f"{metric}/{control}": values["mean"]
        for control, metrics in record.data.get("scores", {}).items()
        for metric, values in metrics.items()
    } | {"valid": float(record.data["valid"])}
