"""Streaming a sweep to W&B from its records, by one process in the background.

Whoever runs a sweep calls `ensure` now and then; it starts ``bridge sync NAME --follow PID`` unless somebody streams
already. No cell waits for W&B: records are on disk, and what could not be sent is sent by the next ``bridge sync``.
"""

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bridge.errors import ConfigError
from bridge.records import record
from bridge.records.manifest import Manifest, read
from bridge.tracking.client import require_wandb
from bridge.tracking.curves import Plan
from bridge.tracking.streamer import ALIVE, STOP, Streamer, is_sent, state_of, tracker_of, wandb_folder

log = logging.getLogger("bridge")
# Cells are more urgent than curves.
NICE = 10
_STARTED: list["subprocess.Popen[bytes]"] = []


def ensure(manifest: Manifest) -> None:
    """See to it that somebody streams a sweep; returns at once.

    Raises:
        ConfigError: wandb is not installed, or ``tracker.x`` is no axis for a cell.
    """
    tracker = tracker_of(manifest)
    if tracker is None or _is_streamed(manifest):
        return
    require_wandb()
    plan = Plan(manifest.name, tracker, list(manifest.axes))
    if not plan.fits_all:
        for cell in manifest.cells:
            plan.check(manifest.config(cell))
    (wandb_folder(manifest) / STOP).unlink(missing_ok=True)
    _start(manifest, tracker["mode"], "--follow", str(os.getpid()))


def finish(manifest: Manifest, timeout_s: float = 60.0) -> dict[str, Any] | None:
    """Have everything sent that can be sent.

    Args:
        manifest: of the sweep.
        timeout_s: how long to wait; after that it goes on in the background.

    Returns:
        What `sync` returns; None where nothing is to be sent, or it is still being sent.
    """
    tracker = tracker_of(manifest)
    if tracker is None:
        return None
    deadline = time.monotonic() + timeout_s
    while _is_streamed(manifest) and not is_sent(manifest) and time.monotonic() < deadline:
        with record.writing(manifest.folder):
            (wandb_folder(manifest) / STOP).touch()
        time.sleep(0.1)
    if not is_sent(manifest) and not _is_streamed(manifest):
        process = _start(manifest, tracker["mode"])
        while process.poll() is None and not is_sent(manifest) and time.monotonic() < deadline:
            time.sleep(0.1)
    if not is_sent(manifest):
        log.warning("W&B has not got everything yet; see how far it is with: bridge sync %s", manifest.name)
        return None
    state = state_of(manifest)
    if state["why_offline"]:
        log.warning("%s: the W&B runs are offline; send them with: bridge sync %s", state["why_offline"], manifest.name)
    return state


def sync(outputs: str | Path, name: str, mode: str | None = None, follow: int | None = None) -> dict[str, Any]:
    """Send what has not been sent yet of a sweep's records.

    Args:
        outputs: the outputs folder.
        name: of the sweep.
        mode: online or offline; None for online, which without a key becomes offline.
        follow: go on until this process has ended or somebody calls `finish`.

    Returns:
        n_cells, n_done, n_curves, n_rows, n_left (rows that have not arrived), mode, why_offline, ended.

    Raises:
        ConfigError: there is no such sweep, another process is streaming it, or wandb is not installed.
    """
    manifest = read(outputs, name)
    require_wandb()
    # Whoever only looks whether it is held holds it for a moment; one that draws the last figures, a little longer.
    with _held(manifest, timeout_s=2.0 if follow is not None else 10.0) as held:
        if held:
            return Streamer(manifest, mode or "online", follow).run()
    if follow is not None:
        return state_of(manifest)
    who = (wandb_folder(manifest) / ALIVE).read_text().strip()
    raise ConfigError(f"another process is streaming the sweep {name!r} ({who}); give the command again when it ended")


@contextlib.contextmanager
def _held(manifest: Manifest, timeout_s: float) -> Iterator[bool]:
    """Hold the right to stream a sweep."""
    folder = wandb_folder(manifest)
    with record.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=timeout_s)
            held = True
        except Timeout:
            held = False
    try:
        yield held
    finally:
        lock.release()


def _is_streamed(manifest: Manifest) -> bool:
    with _held(manifest, timeout_s=0.0) as held:
        return not held


def _start(manifest: Manifest, mode: str, *more: str) -> "subprocess.Popen[bytes]":
    """Start a streamer that outlives this process."""
    words = [sys.executable, "-m", "bridge", "sync", manifest.name, "--outputs", str(manifest.outputs), "--mode", mode]
    folder = wandb_folder(manifest)
    with record.writing(folder), (folder / "stream.log").open("ab") as to:
        process = subprocess.Popen(
            [*words, *more], stdin=subprocess.DEVNULL, stdout=to, stderr=to, start_new_session=True
        )
    # Kept so that those that have ended are reaped when the next one starts.
    _STARTED[:] = [p for p in _STARTED if p.poll() is None] + [process]
    return process


def sync_verb(arguments: Sequence[str]) -> int:
    """``bridge sync NAME``."""
    parser = argparse.ArgumentParser(
        prog="bridge sync", description="Send a sweep's records to W&B; what has arrived there is not sent again."
    )
    parser.add_argument("name", help="the sweep")
    parser.add_argument("--outputs", default="outputs", help="the outputs folder (default: outputs)")
    parser.add_argument("--mode", choices=("online", "offline"), help="default: online, or offline without a key")
    parser.add_argument("--follow", type=int, metavar="PID", help="go on until this process has ended")
    chosen = parser.parse_args(list(arguments))
    if chosen.follow is not None:
        os.nice(NICE)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    os.environ.setdefault("WANDB_SILENT", "true")
    state = sync(chosen.outputs, chosen.name, chosen.mode, chosen.follow)
    if state:
        where = "at W&B" if state["mode"] == "online" else f"in offline runs ({chosen.outputs}/sweeps/{chosen.name})"
        print(
            f"{state['n_done']} of {state['n_cells']} cells, {state['n_curves']} curves, {state['n_rows']} points: "
            f"{state['n_rows'] - state['n_left']} {where}"
        )
    return 0
