"""Streaming a sweep from its records, by one process in the background.

Processes that run a sweep call `StreamedTracker.ensure` from time to time; it starts ``bridge sync NAME --follow PID``
unless a streamer runs already. Cells never wait for a tracker: records are on disk, and what could not be sent is sent
by the next ``bridge sync``.
"""

import argparse
import logging
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError
from bridge.records import record
from bridge.records.manifest import Manifest, read
from bridge.records.whole import tried
from bridge.tracking.base import tracker_of
from bridge.tracking.none import NoTracker
from bridge.tracking.receiver import OneByOne, Receiver
from bridge.tracking.streamer import ALIVE, STOP, Streamer, is_sent, state_of

if TYPE_CHECKING:
    from bridge.records.record import Record

log = logging.getLogger("bridge")
# Nice value of the streamer: cells are more urgent.
NICE = 10
_STARTED: list["subprocess.Popen[bytes]"] = []


class StreamedTracker(ABC):
    """A tracker that streams a sweep by sending one record after the other.

    Attributes:
        name: of its option, and of its folder beside a sweep's manifest.
        title: its name in messages.
        mode: online, offline, ...; None for a tracker without modes.
    """

    name: str = ""
    title: str = ""
    mode: str | None = None

    def open(self) -> None:  # noqa: B027 - most have nothing to say
        """Raise if records cannot be sent."""

    @abstractmethod
    def send(self, record: "Record") -> None:
        """Send one record. It may be sent twice, if a process was killed after sending and before noting it."""

    def close(self) -> None:  # noqa: B027
        """Send what was not sent yet."""

    def check(self, manifest: Manifest) -> None:
        """Check that the records of a sweep can be sent.

        Raises:
            ConfigError: they cannot be sent.
        """
        self.open()

    def receiver(self, manifest: Manifest, mode: str | None) -> Receiver:
        """The receiver of a sweep's records; by default they are sent one by one, each once."""
        return OneByOne(self.folder(manifest), self.send, self.close)

    def streams(self) -> bool:
        """Whether anything is to be sent."""
        return True

    def progress(self, state: dict[str, Any]) -> str:
        """The progress of a sweep, in one line."""
        return f"{state['n_done']} of {state['n_cells']} cells sent"

    def folder(self, manifest: Manifest) -> Path:
        """The folder of this tracker's notes about a sweep."""
        return manifest.folder / self.name

    def ensure(self, manifest: Manifest) -> None:
        """See `bridge.tracking.base.Tracker.ensure`."""
        if not self.streams() or self._is_streamed(manifest):
            return
        self.check(manifest)
        (self.folder(manifest) / STOP).unlink(missing_ok=True)
        self._start(manifest, "--follow", str(os.getpid()))

    def finish(self, manifest: Manifest, timeout_s: float = 60.0) -> dict[str, Any] | None:
        """See `bridge.tracking.base.Tracker.finish`."""
        if not self.streams():
            return None
        folder = self.folder(manifest)
        deadline = time.monotonic() + timeout_s
        process = None
        while not is_sent(manifest, folder) and time.monotonic() < deadline:
            if self._is_streamed(manifest):
                with record.writing(manifest.folder):
                    (folder / STOP).touch()
            elif process is None:
                process = self._start(manifest)
            elif process.poll() is not None and not is_sent(manifest, folder):
                break
            time.sleep(0.1)
        later = f"bridge sync {manifest.name}"
        if not is_sent(manifest, folder):
            log.warning("%s has not got everything yet; see how far it is with: %s", self.title or self.name, later)
            return None
        state = state_of(folder)
        if why := state.get("why_offline"):
            log.warning("%s: the %s runs are offline; send them with: %s", why, self.title or self.name, later)
        return state

    def sync(self, manifest: Manifest, mode: str | None = None, follow: int | None = None) -> dict[str, Any]:
        """See `bridge.tracking.base.Tracker.sync`.

        Raises:
            ConfigError: another process is streaming the sweep.
        """
        self.open()
        folder = self.folder(manifest)
        # The lock may be held for a moment by a process that only checks it, and longer by one that draws the last
        # figures.
        with _held(folder, timeout_s=2.0 if follow is not None else 10.0) as held:
            if held:
                return Streamer(manifest, folder, lambda: self.receiver(manifest, mode), follow).run()
        if follow is not None:
            return state_of(folder)
        who = (folder / ALIVE).read_text().strip()
        raise ConfigError(
            f"another process is streaming the sweep {manifest.name!r} ({who}); wanted no other one: run this "
            "again when it has ended"
        )

    def _is_streamed(self, manifest: Manifest) -> bool:
        with _held(self.folder(manifest), timeout_s=0.0) as held:
            return not held

    def _start(self, manifest: Manifest, *more: str) -> "subprocess.Popen[bytes]":
        """Start a streamer that outlives this process."""
        words = [sys.executable, "-m", "bridge", "sync", manifest.name, "--outputs", str(manifest.outputs)]
        if self.mode is not None:
            more = ("--mode", self.mode, *more)
        folder = self.folder(manifest)
        with record.writing(folder), (folder / "stream.log").open("ab") as to:
            process = subprocess.Popen(
                [*words, *more], stdin=subprocess.DEVNULL, stdout=to, stderr=to, start_new_session=True
            )
        # Kept so that ended processes are reaped when the next one starts.
        _STARTED[:] = [p for p in _STARTED if p.poll() is None] + [process]
        return process


def _held(folder: Path, timeout_s: float) -> AbstractContextManager[bool]:
    """Lock the streaming of a sweep."""
    return tried(folder / "lock", folder, timeout_s)


def streamed(manifest: Manifest) -> StreamedTracker:
    """The tracker for ``bridge sync``: that of the sweep, or Weights & Biases if it has none."""
    tracker = tracker_of(manifest.settings)
    if isinstance(tracker, NoTracker):
        from bridge.building import build
        from bridge.schema.tracker import WandbConfig

        tracker = build(WandbConfig())
    assert isinstance(tracker, StreamedTracker)
    return tracker


def sync(outputs: str | Path, name: str, mode: str | None = None) -> dict[str, Any]:
    """Send what has not been sent yet of a sweep's records; see `bridge.tracking.base.Tracker.sync`.

    Raises:
        ConfigError: there is no such sweep, or another process is streaming it.
    """
    manifest = read(outputs, name)
    return streamed(manifest).sync(manifest, mode)


def sync_verb(arguments: Sequence[str]) -> int:
    """``bridge sync NAME``."""
    parser = argparse.ArgumentParser(
        prog="bridge sync",
        description="Send a sweep's records to its tracker, or to W&B; what has arrived there is not sent again.",
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
    manifest = read(chosen.outputs, chosen.name)
    tracker = streamed(manifest)
    state = tracker.sync(manifest, chosen.mode, chosen.follow)
    if state:
        print(tracker.progress(state))
    return 0
