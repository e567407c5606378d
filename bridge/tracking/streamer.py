"""The streamer of a sweep: one process that reads finished records and hands them to a receiver."""

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
# How often new records are looked for.
POLL_S = 2.0
# How long child processes of a killed streamer, such as W&B's service process, may outlive it.
SETTLE_S = 2.0
STATE, STOP, ALIVE = "state.json", "stop", "streamer"


class Streamer:
    """Streams a sweep; the caller holds the sweep's streaming lock.

    Args:
        manifest: of the sweep.
        folder: of the tracker, beside the manifest.
        receiver: makes the receiver.
        follow: id of a process to wait for; None to send what exists now.
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
                # From here on no process waits for this one.
                self._sum_up()
                (self.folder / ALIVE).unlink()
                (self.folder / STOP).unlink(missing_ok=True)
                return state
            self._wait()

    def _sum_up(self) -> None:
        """Send the summary once every cell has a record, of a failure too."""
        run_ids = _recorded_run_ids(self.manifest)
        if all(run_id in run_ids for run_id in self.manifest.run_ids):
            self.receiver.sum_up()

    def _is_over(self) -> bool:
        return self.follow is None or (self.folder / STOP).exists() or not _is_alive(self.follow)

    def _wait(self) -> None:
        deadline = time.monotonic() + POLL_S
        while time.monotonic() < deadline and not (self.folder / STOP).exists():
            time.sleep(0.1)

    def _forget_changed(self) -> None:
        """Forget records that were rewritten since they were read, so that they are read again."""
        for run_id, time_ns in list(self.receiver.read.items()):
            if _modified(self.manifest, run_id) != time_ns:
                del self.receiver.read[run_id]

    def _arrivals(self) -> list[Arrival]:
        """The finished records that have not been read yet."""
        run_ids = _recorded_run_ids(self.manifest)
        arrivals = []
        for cell in self.manifest.cells:
            if cell.run_id not in run_ids or cell.run_id in self.receiver.read or cell.run_id in self._unreadable:
                continue
            time_ns = _modified(self.manifest, cell.run_id)
            try:
                arrived = record.read(self.manifest.outputs, cell.run_id)
            except RecordError as error:
                self._unreadable.add(cell.run_id)
                log.warning("not sent: %s", error)
                continue
            if arrived is not None and time_ns is not None and arrived.ok:
                arrivals.append(Arrival(cell, arrived, time_ns))
        return arrivals

    def _write_state(self, is_last: bool) -> dict[str, Any]:
        counts = {"n_cells": len(self.manifest.cells), "n_done": len(self.receiver.read)}
        state = {**counts, **self.receiver.state(), "ended": is_last}
        record.write_whole(self.folder / STATE, (json.dumps(state) + "\n").encode())
        return state


def state_of(folder: Path) -> dict[str, Any]:
    """The state that the last streamer wrote; {} if there was none."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
    except FileNotFoundError:
        return {}
    return state


def is_sent(manifest: Manifest, folder: Path) -> bool:
    """Whether all finished cells were read and all of their rows have arrived, on a server or in files."""
    state = state_of(folder)
    if not state.get("ended") or state["n_left"]:
        return False
    run_ids, known = _recorded_run_ids(manifest), read_back(folder)
    for run_id in manifest.run_ids:
        if run_id in known:
            if known[run_id] != _modified(manifest, run_id):
                return False
        elif run_id in run_ids and (record.head(manifest.outputs, run_id) or {}).get("status") == "done":
            return False
    return True


def _modified(manifest: Manifest, run_id: str) -> int | None:
    try:
        return (record.runs_folder(manifest.outputs) / run_id / "record.json").stat().st_mtime_ns
    except OSError:
        return None


def _recorded_run_ids(manifest: Manifest) -> set[str]:
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
