"""What the one process does that streams a sweep: records into the ledger, the ledger to W&B."""

import json
import logging
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.errors import RecordError
from bridge.records import record
from bridge.records.manifest import Manifest
from bridge.tracking.client import Client, OfflineError
from bridge.tracking.curves import Plan
from bridge.tracking.ledger import Ledger
from bridge.tracking.overview import send_summary
from bridge.tracking.sender import Sender

log = logging.getLogger("bridge")
# How often the records are looked at.
POLL_S = 2.0
# How long W&B's service process may outlive a streamer that was killed.
SETTLE_S = 2.0
STATE, STOP, ALIVE = "state.json", "stop", "streamer"


class Streamer:
    """Streams a sweep; whoever makes one holds the sweep's streaming lock.

    Args:
        manifest: of the sweep.
        mode: online or offline.
        follow: a process to wait for; None to send what there is.
    """

    def __init__(self, manifest: Manifest, mode: str, follow: int | None) -> None:
        self.manifest = manifest
        self.follow = follow
        self.folder = wandb_folder(manifest)
        if (self.folder / ALIVE).exists():
            time.sleep(SETTLE_S)
        (self.folder / ALIVE).write_text(f"pid {os.getpid()} on {socket.gethostname()}\n")
        tracker = tracker_of(manifest) or _default_tracker()
        self.plan = Plan(manifest.name, tracker, list(manifest.axes))
        self.ledger = Ledger(self.folder / "ledger")
        later = f"bridge sync {manifest.name}"
        self.client = Client(tracker["project"], tracker["entity"], mode, tracker["init_timeout_s"], later)
        self.sender = Sender(self.ledger, self.client, manifest.folder)
        self._unreadable: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Stream until there is nothing more to wait for.

        Returns:
            The state, as it is left on disk.
        """
        self._forget_changed()
        while True:
            is_last = self._is_over()
            self._read_records()
            self.ledger.save()
            self.sender.push(is_last)
            self.ledger.save()
            state = self._write_state(is_last)
            if is_last:
                # From here on nobody waits for this process.
                self._send_summary()
                (self.folder / ALIVE).unlink()
                (self.folder / STOP).unlink(missing_ok=True)
                return state
            self._wait()

    def _send_summary(self) -> None:
        """Once a sweep is complete: a table and figures of all cells. Cells that failed are complete, too."""
        there = _run_ids_there(self.manifest)
        if not all(run_id in there for run_id in self.manifest.run_ids):
            return
        what = (self.manifest.name, self.plan.group, self.ledger, self.client, self.manifest.folder)
        try:
            send_summary(*what)
        except OfflineError:
            send_summary(*what)

    def _is_over(self) -> bool:
        return self.follow is None or (self.folder / STOP).exists() or not _is_alive(self.follow)

    def _wait(self) -> None:
        deadline = time.monotonic() + POLL_S
        while time.monotonic() < deadline and not (self.folder / STOP).exists():
            time.sleep(0.1)

    def _forget_changed(self) -> None:
        """Read again the records that were written anew since they were read."""
        for run_id, time_ns in list(self.ledger.read.items()):
            if _modified(self.manifest, run_id) != time_ns:
                del self.ledger.read[run_id]

    def _read_records(self) -> None:
        """Put into the ledger what the records say that are not in it yet."""
        there = _run_ids_there(self.manifest)
        found = []
        for cell in self.manifest.cells:
            if cell.run_id not in there or cell.run_id in self.ledger.read or cell.run_id in self._unreadable:
                continue
            time_ns = _modified(self.manifest, cell.run_id)
            try:
                made = record.read(self.manifest.outputs, cell.run_id)
            except RecordError as error:
                self._unreadable.add(cell.run_id)
                log.warning("not sent to W&B: %s", error)
                continue
            if made is None or time_ns is None or not made.ok:
                continue
            found += self.plan.rows(self.manifest.config(cell), cell.overrides, made.data)
            self.ledger.read[cell.run_id] = time_ns
        self.ledger.add(found)

    def _write_state(self, is_last: bool) -> dict[str, Any]:
        entries = self.ledger.entries.values()
        state = {
            "n_cells": len(self.manifest.cells),
            "n_done": len(self.ledger.read),
            "n_curves": len(entries),
            "n_rows": sum(len(e.rows) for e in entries),
            "n_left": self.sender.n_left(),
            "mode": self.client.mode,
            "why_offline": self.client.why_offline,
            "ended": is_last,
        }
        record.write_whole(self.folder / STATE, (json.dumps(state) + "\n").encode())
        return state


def tracker_of(manifest: Manifest) -> dict[str, Any] | None:
    """The plain tracker node of a sweep that is to be streamed."""
    tracker: dict[str, Any] = manifest.settings.get("tracker", {})
    return tracker if tracker.get("name") == "wandb" and tracker["mode"] != "disabled" else None


def wandb_folder(manifest: Manifest) -> Path:
    """Where everything about W&B of a sweep lies."""
    return manifest.folder / "wandb"


def state_of(manifest: Manifest) -> dict[str, Any]:
    """What the last streamer left; {} when there was none."""
    try:
        state: dict[str, Any] = json.loads((wandb_folder(manifest) / STATE).read_text())
    except FileNotFoundError:
        return {}
    return state


def is_sent(manifest: Manifest) -> bool:
    """Whether all finished cells were read and all their rows have arrived, on a server or in files."""
    state = state_of(manifest)
    if not state.get("ended") or state["n_left"]:
        return False
    there = _run_ids_there(manifest)
    known: dict[str, int] = json.loads((wandb_folder(manifest) / "ledger" / "read.json").read_text())
    for run_id in manifest.run_ids:
        if run_id in known:
            if known[run_id] != _modified(manifest, run_id):
                return False
        elif run_id in there and (record.head(manifest.outputs, run_id) or {}).get("status") == "done":
            return False
    return True


def _default_tracker() -> dict[str, Any]:
    """What ``tracker=wandb`` says, for a sweep that was run without it."""
    from bridge.schema.tracker import WandbConfig

    default = asdict(WandbConfig())
    return default | {"mode": default["mode"].name, "run_per": default["run_per"].name}


def _modified(manifest: Manifest, run_id: str) -> int | None:
    try:
        return (record.runs_folder(manifest.outputs) / run_id / "record.json").stat().st_mtime_ns
    except OSError:
        return None


def _run_ids_there(manifest: Manifest) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(record.runs_folder(manifest.outputs))}
    except OSError:
        return set()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
