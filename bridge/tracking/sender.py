"""From the ledger to W&B: every row of every curve exactly once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bridge.tracking.client import Client, OfflineError
from bridge.tracking.curves import means
from bridge.tracking.ledger import OFFLINE, Entry, Ledger
from bridge.tracking.offline import files, n_rows, repair

# The most online runs that are open at once; the one that has waited longest for a row is finished first.
MAX_OPEN = 100
# Offline, a curve is written when it has as many new rows as old ones, and at least this many, so that there are few
# folders.
LEAST_ROWS = 8
AT_ONCE = 8
# How long W&B's service process may take to write a file.
SERVICE_S = 10.0


class Sender:
    """Sends the rows that have not arrived yet.

    Online, a row is sent as soon as it exists. Offline, a curve is written in a few pieces:
    W&B gives each its own folder, and ``wandb sync`` joins them in the order of their dates.

    Args:
        ledger: of the sweep.
        client: of W&B.
        folder: of the sweep.
    """

    def __init__(self, ledger: Ledger, client: Client, folder: Path) -> None:
        self.ledger = ledger
        self.client = client
        self.folder = folder
        self._open: dict[str, Any] = {}
        self._next: dict[str, int] = {}

    def push(self, is_last: bool) -> None:
        """Send the rows that are new.

        Args:
            is_last: whether nothing more will come for a while, so that all runs are finished.
        """
        entries = sorted(self.ledger.entries.values(), key=lambda e: e.curve.name)
        if self.client.mode == "online":
            try:
                self._stream([e for e in entries if self._next.get(e.curve.id, self._arrived(e)) < len(e.rows)])
                if is_last:
                    self._finish(list(self._open))
            except OfflineError:
                self._open.clear()
                self._next.clear()
        if self.client.mode == OFFLINE:
            written = [entry for entry in entries if self._write(entry, is_last)]
            for entry in written:
                self._note_written(entry)

    def n_left(self) -> int:
        """How many rows have not arrived at the client's destination."""
        return sum(len(e.rows) - self._arrived(e) for e in self.ledger.entries.values())

    def _arrived(self, entry: Entry) -> int:
        if self.client.mode == "online":
            return entry.sent.get(self.client.server, 0)
        return max(entry.sent.values(), default=0)

    def _stream(self, entries: list[Entry]) -> None:
        """Log the rows that the server does not have, and keep the runs open for more."""
        for start in range(0, len(entries), AT_ONCE):
            some = entries[start : start + AT_ONCE]
            new = [e for e in some if e.curve.id not in self._open]
            self._finish(list(self._open)[: max(0, len(self._open) + len(new) - MAX_OPEN)])
            for entry, run in zip(new, self._at_once(self._open_online, new), strict=True):
                self._open[entry.curve.id] = run
                # An earlier process may have sent rows that it did not note before it ended.
                self._next[entry.curve.id] = run.starting_step
            for entry in some:
                # The curves that have waited longest for a row come first.
                run = self._open[entry.curve.id] = self._open.pop(entry.curve.id)
                self._log(run, entry, self._next[entry.curve.id])
                self._next[entry.curve.id] = len(entry.rows)

    def _finish(self, identities: list[str]) -> None:
        """Finish online runs; their rows have arrived then."""
        self._at_once(self.client.close, [self._open[identity] for identity in identities])
        for identity in identities:
            del self._open[identity]
            self.ledger.mark(self.ledger.entries[identity], self.client.server, self._next[identity])
            # `wandb sync` would send offline folders again; this marker of W&B prevents it.
            for path in files(self.folder, identity):
                path.with_name(f"{path.name}.synced").touch()

    def _at_once(self, do: Callable[[Any], Any], what: list[Any]) -> list[Any]:
        """Run in threads, because opening and finishing a run is mostly waiting for the server."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(do, what))

    def _write(self, entry: Entry, is_last: bool) -> bool:
        """Write new rows into an offline folder, if there are enough."""
        identity = entry.curve.id
        if identity not in self._next:
            for path in files(self.folder, identity):
                repair(path)
            self.ledger.mark(entry, OFFLINE, max(n_rows(self.folder, identity), self._arrived(entry)))
            self._next[identity] = entry.sent[OFFLINE]
        first = self._next[identity]
        n_new = len(entry.rows) - first
        if not n_new or not (is_last or n_new >= max(first, LEAST_ROWS)):
            return False
        run = self._init(entry, OFFLINE)
        self._log(run, entry, first)
        self.client.close(run)
        self._next[identity] = len(entry.rows)
        return True

    def _note_written(self, entry: Entry) -> None:
        """Note the rows in the files; W&B's service process writes them with a delay."""
        deadline = time.monotonic() + SERVICE_S
        while (n := n_rows(self.folder, entry.curve.id)) < len(entry.rows) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.ledger.mark(entry, OFFLINE, max(n, self._arrived(entry)))

    def _open_online(self, entry: Entry) -> Any:
        return self._init(entry, "online")

    def _init(self, entry: Entry, mode: str) -> Any:
        curve = entry.curve
        run = self.client.open(
            self.folder,
            mode,
            id=curve.id,
            name=curve.name,
            group=curve.group,
            job_type=curve.control,
            tags=list(curve.tags),
            config=curve.config,
            resume="allow",
        )
        if curve.x is not None:
            run.define_metric(curve.x)
            run.define_metric("*", step_metric=curve.x)
        return run

    def _log(self, run: Any, entry: Entry, first: int) -> None:
        for step, row in enumerate(entry.rows[first:], first):
            place = {} if entry.curve.x is None else {entry.curve.x: row.x}
            # Without commit=True W&B would hold a row back until the next one.
            run.log(place | row.values, step=step, commit=True)
        if entry.curve.x is not None:
            latest = {row.x: row for row in entry.rows if row.kind == "scores"}
            run.summary.update(dict(means(entry.curve.task, latest)))
