"""Where records are streamed to: Weights & Biases, or nothing, behind the same two calls."""

import logging
import os
from typing import Any, Protocol

from bridge.errors import ConfigError
from bridge.record import Record

log = logging.getLogger("bridge")


class Tracker(Protocol):
    """Takes records, one by one."""

    def send(self, record: Record) -> None:
        """Send one record."""

    def close(self) -> None:
        """Send what is still held back."""


class NoTracker:
    """Sends nothing: the records on disk are enough."""

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

    def send(self, record: Record) -> None:
        """Send config and scores of one record; one that was read back from disk was sent when it was computed."""
        if record.reused:
            return
        try:
            import wandb
        except ImportError as error:
            raise ConfigError("tracker=wandb needs wandb; pip install 'bridge-llm[wandb]', or tracker=none") from error
        if self.mode == "online" and not (os.environ.get("WANDB_API_KEY") or wandb.api.api_key):
            log.warning("no W&B key: going on offline; send the runs later with wandb sync")
            self.mode = "offline"
        options: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            "group": self.group,
            "id": record.data["run_id"],
            "config": record.data["config"],
            "dir": str(record.folder.parent.parent),
        }
        settings = {"init_timeout": self.init_timeout_s, "silent": True}
        try:
            run = wandb.init(mode=self.mode, settings=wandb.Settings(**settings), **options)
        except wandb.errors.CommError as error:
            log.warning("W&B did not answer (%s): going on offline; send the runs later with wandb sync", error)
            self.mode = "offline"
            run = wandb.init(mode="offline", settings=wandb.Settings(**settings), **options)
        run.log(flat_scores(record))
        run.finish()

    def close(self) -> None:
        """Do nothing: every record is sent whole."""


def flat_scores(record: Record) -> dict[str, float]:
    """Every mean score of a record as ``{"metric/control": value}``, so that W&B shows controls side by side."""
    return {
        f"{metric}/{control}": values["mean"]
        for control, metrics in record.data.get("scores", {}).items()
        for metric, values in metrics.items()
    } | {"valid": float(record.data["valid"])}
