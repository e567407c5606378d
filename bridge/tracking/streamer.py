"""What the one process does that streams a sweep: it reads finished records and hands them over."""

import json
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.errors import RecordError
from bridge.records import record
from bridge.records.manifest import Manifest
from bridge.tracking.receiver import Arrival, Receiver, read_back

log = logging.getLogger("bridge")
# How often the records are looked at.
POLL_S = 2.0
# How long what a streamer started may outlive one that was killed, such as W&B's service process.
SETTLE_S = 2.0
STATE, STOP, ALIVE = "state.json", "stop", "streamer"


class Streamer:
    """Streams a sweep; whoever makes one holds the sweep's streaming lock.

    Args:
        manifest: of the sweep.
        folder: of the tracker, beside the manifest.
        receiver: makes what takes the records.
        follow: a process to wait for; None to send what there is.
    """

    def __init__(self, manifest: Manifest, folder: Path, receiver: Callable[[], Receiver], follow: int | None) -> None:
        self.manifest = manifest
        self.folder = folder
        self.follow = follow
        if (folder / ALIVE).exists():
            time.sleep(SETTLE_S)
        (folder / ALIVE).write_text(f"pid {os.getpid()} on {socket.gethostname()}\n")
        self.receiver = receiver()
        self._unreadable: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Stream until there is nothing more to wait for.

        Returns:
            The state, as it is left on disk.
        """
        self._forget_changed()
        while True:
            is_last = self._is_over()
            self.receiver.take(self._arrivals())
            self.receiver.push(is_last)
            state = self._write_state(is_last)
            if is_last:
                # From here on nobody waits for this process.
                self._sum_up()
                (self.folder / ALIVE).unlink()
                (self.folder / STOP).unlink(missing_ok=True)
                return state
            self._wait()

    def _sum_up(self) -> None:
        """Once a sweep is complete. Cells that failed are complete, too."""
        there = _run_ids_there(self.manifest)
        if all(run_id in there for run_id in self.manifest.run_ids):
            self.receiver.sum_up()

    def _is_over(self) -> bool:
        return self.follow is None or (self.folder / STOP).exists() or not _is_alive(self.follow)

    def _wait(self) -> None:
        deadline = time.monotonic() + POLL_S
        while time.monotonic() < deadline and not (self.folder / STOP).exists():
            time.sleep(0.1)

    def _forget_changed(self) -> None:
        """Read again the records that were written anew since they were read."""
        for run_id, time_ns in list(self.receiver.read.items()):
            if _modified(self.manifest, run_id) != time_ns:
                del self.receiver.read[run_id]

    def _arrivals(self) -> list[Arrival]:
        """The finished records that have not been read yet."""
        there = _run_ids_there(self.manifest)
        arrivals = []
        for cell in self.manifest.cells:
            if cell.run_id not in there or cell.run_id in self.receiver.read or cell.run_id in self._unreadable:
                continue
            time_ns = _modified(self.manifest, cell.run_id)
            try:
                made = record.read(self.manifest.outputs, cell.run_id)
            except RecordError as error:
                self._unreadable.add(cell.run_id)
                log.warning("not sent: %s", error)
                continue
            if made is not None and time_ns is not None and made.ok:
                arrivals.append(Arrival(cell, made, time_ns))
        return arrivals

    def _write_state(self, is_last: bool) -> dict[str, Any]:
        counts = {"n_cells": len(self.manifest.cells), "n_done": len(self.receiver.read)}
        state = {**counts, **self.receiver.state(), "ended": is_last}
        record.write_whole(self.folder / STATE, (json.dumps(state) + "\n").encode())
        return state


def state_of(folder: Path) -> dict[str, Any]:
    """What the last streamer left; {} when there was none."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
    except FileNotFoundError:
        return {}
    return state


def is_sent(manifest: Manifest, folder: Path) -> bool:
    """Whether all finished cells were read and all that came of them has arrived, on a server or in files."""
    state = state_of(folder)
    if not state.get("ended") or state["n_left"]:
        return False
    there, known = _run_ids_there(manifest), read_back(folder)
    for run_id in manifest.run_ids:
        if run_id in known:
            if known[run_id] != _modified(manifest, run_id):
                return False
        elif run_id in there and (record.head(manifest.outputs, run_id) or {}).get("status") == "done":
            return False
    return True


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
