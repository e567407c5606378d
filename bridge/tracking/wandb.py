"""Weights & Biases: one W&B run per record of a plain run, and one per curve of a sweep."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.records.manifest import Manifest
from bridge.records.record import Record, writing
from bridge.tasks.registry import task_of
from bridge.tracking.client import Client, OfflineError, require_wandb
from bridge.tracking.ledger import Ledger
from bridge.tracking.overview import send_summary
from bridge.tracking.plan import Plan
from bridge.tracking.receiver import Arrival, Receiver
from bridge.tracking.sender import Sender
from bridge.tracking.stream import StreamedTracker


class WandbTracker(StreamedTracker):
    """One Weights & Biases run per record, under the record's run id; in a sweep one run is one curve.

    Without a key it works offline and says so once; ``wandb sync`` sends such runs later, ``bridge sync`` those of a
    sweep.

    Args:
        project: the W&B project.
        entity: the user or team; None for the key's own.
        group: the W&B group; None for the sweep's name in a sweep.
        mode: online, offline or disabled.
        init_timeout_s: seconds to wait for the server before going offline.
        x: the axis of curves; None for the task's own choice.
        run_per: "curve" or "cell": what one W&B run is in a sweep.
    """

    name = "wandb"
    title = "W&B"

    def __init__(
        self,
        project: str,
        entity: str | None,
        group: str | None,
        mode: str,
        init_timeout_s: float,
        x: str | None = None,
        run_per: str = "curve",
    ) -> None:
        self.mode = mode
        self.group = group
        self.client = Client(project, entity, mode, init_timeout_s, "wandb sync")
        self.curves = {"project": project, "entity": entity, "group": group, "x": x, "run_per": run_per}

    def open(self) -> None:
        """Check that wandb is installed."""
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
        shown: dict[str, Any] = dict(task_of(record.data).flat(record.data))
        if len(record.data.get("points", [])) > 1:
            shown["points"] = _points_table(record)
        run.log(shown)
        self.client.close(run)

    def _ledger(self, record: Record) -> Path:
        """A file that marks that this very record was sent to this project."""
        what = json.dumps([self.client.project, self.client.entity, record.data], sort_keys=True)
        digest = hashlib.sha256(what.encode()).hexdigest()[:8]
        return record.folder.parent.parent / "wandb" / "sent" / f"{record.data['run_id']}-{digest}.json"

    def streams(self) -> bool:
        """Whether anything is to be sent."""
        return self.mode != "disabled"

    def plan(self, manifest: Manifest) -> Plan:
        """How the cells of a sweep become curves."""
        return Plan(manifest.name, self.curves, list(manifest.axes))

    def check(self, manifest: Manifest) -> None:
        """Check that wandb is installed, and that every cell has a place on its curve."""
        super().check(manifest)
        plan = self.plan(manifest)
        if not plan.fits_all:
            for cell in manifest.cells:
                plan.check(manifest.config(cell))

    def receiver(self, manifest: Manifest, mode: str | None) -> Receiver:
        """The receiver that sends rows of curves; online by default, and offline without a key."""
        old = self.client
        later = f"bridge sync {manifest.name}"
        client = Client(old.project, old.entity, mode or "online", old.init_timeout_s, later)
        return Curves(manifest, self.folder(manifest), self.plan(manifest), client)

    def progress(self, state: dict[str, Any]) -> str:
        """The numbers of cells, curves and points, and where they were sent."""
        where = "at W&B" if state["mode"] == "online" else f"in offline runs ({state['folder']})"
        return (
            f"{state['n_done']} of {state['n_cells']} cells, {state['n_curves']} curves, {state['n_points']} points: "
            f"{state['n_points'] - state['n_left']} {where}"
        )


class Curves(Receiver):
    """Receives records: writes them into the ledger of a sweep, and sends the ledger to W&B.

    Args:
        manifest: of the sweep.
        folder: of everything about W&B of the sweep.
        plan: how its cells become curves.
        client: of W&B.
    """

    def __init__(self, manifest: Manifest, folder: Path, plan: Plan, client: Client) -> None:
        self.manifest = manifest
        self.plan = plan
        self.client = client
        self.ledger = Ledger(folder / "ledger")
        self.sender = Sender(self.ledger, client, manifest.folder)
        self.read = self.ledger.read

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Add the rows of the records to the ledger, and save it before anything is sent."""
        rows = []
        for cell, record, time_ns in ((a.cell, a.record, a.time_ns) for a in arrivals):
            rows += self.plan.rows(self.manifest.config(cell), cell.overrides, record.data)
            self.read[cell.run_id] = time_ns
        self.ledger.add(rows)
        self.ledger.save()

    def push(self, is_last: bool) -> None:
        """Send the rows that are new."""
        self.sender.push(is_last)
        self.ledger.save()

    def state(self) -> dict[str, Any]:
        """The numbers of curves and rows, of rows that have not arrived, and the destination."""
        entries = self.ledger.entries.values()
        return {
            "n_curves": len(entries),
            "n_points": sum(len(e.rows) for e in entries),
            "n_left": self.sender.n_left(),
            "mode": self.client.mode,
            "why_offline": self.client.why_offline,
            "folder": str(self.manifest.folder),
        }

    def sum_up(self) -> None:
        """A table and figures of all cells."""
        what = (self.manifest.name, self.plan.group, self.ledger, self.client, self.manifest.folder)
        try:
            send_summary(*what)
        except OfflineError:
            send_summary(*what)


def _points_table(record: Record) -> Any:
    """Every point, condition and metric of one record, as a W&B table."""
    import wandb

    from bridge.export import scores_table

    table = scores_table([record])
    return wandb.Table(columns=table.column_names, data=[list(row.values()) for row in table.to_pylist()])
