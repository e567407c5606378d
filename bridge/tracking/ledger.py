"""The ledger: every row of every curve in the order in which it is sent, written before anything is sent.

The number of a row is its W&B step. So one number tells how many rows of a curve have arrived, and it is read back from
the server or from the files of offline runs. If a process is killed between writing and sending, or between sending and
noting that, no row is lost or sent twice.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.records.record import write_whole
from bridge.tracking.curves import Curve, Row, as_plain, from_plain, lead_row

OFFLINE = "offline"


@dataclass
class Entry:
    """One curve.

    Attributes:
        curve: its description.
        rows: in the order in which they are sent.
        sent: server -> how many rows are known to have arrived; "offline" for files.
    """

    curve: Curve
    rows: list[Row] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def at(self, kind: str, x: float) -> Row | None:
        """The latest row of a kind at x."""
        return next((row for row in reversed(self.rows) if (row.kind, row.x) == (kind, x)), None)

    def left(self) -> int:
        """How many rows have not been sent anywhere, as far as is known."""
        return len(self.rows) - max(self.sent.values(), default=0)


class Ledger:
    """All curves of a sweep, one file for each.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        # Run id -> modification time of the record that was read.
        self.read: dict[str, int] = {}
        self._by_base: dict[str, list[str]] = {}
        self._changed: set[str] = set()
        for path in sorted((folder / "curves").glob("[!.]*.json")):
            plain = json.loads(path.read_text())
            self._enter(Entry(from_plain(plain["curve"]), [Row(**r) for r in plain["rows"]], plain["sent"]))
        self._read_saved: dict[str, int] | None = None
        if (folder / "read.json").exists():
            self.read = json.loads((folder / "read.json").read_text())
            self._read_saved = dict(self.read)

    def add(self, rows: Iterable[tuple[Curve, Row]]) -> None:
        """Append rows to their curves, unless the curves have them.

        Two cells at one place of a curve (layer 4 and the final layer) are one row. A cell that was computed again with
        another result adds a further row.
        """
        touched: dict[tuple[str, float], None] = {}
        for curve, row in sorted(rows, key=lambda curve_row: curve_row[1].x):
            entry = self.entries.get(curve.id) or self._enter(Entry(curve))
            latest = entry.at(row.kind, row.x)
            if latest is None or (latest.source == row.source and latest.values != row.values):
                self._append(entry, row)
                touched[curve.base, row.x] = None
        for base, x in touched:
            self._add_leads(base, x)

    def _add_leads(self, base: str, x: float) -> None:
        """Estimate minus condition for the conditions that were scored in other cells than the estimate."""
        entries = [self.entries[identity] for identity in self._by_base[base]]
        estimate = next((e.at("scores", x) for e in entries if e.curve.x is not None and e.curve.is_estimate), None)
        if estimate is None:
            return
        for entry in entries:
            control, latest = entry.at("scores", x), entry.at("lead", x)
            if control is None or control.source == estimate.source or entry.curve.is_estimate:
                continue
            row = lead_row(entry.curve.task, control, estimate)
            if latest is None or latest.values != row.values:
                self._append(entry, row)

    def mark(self, entry: Entry, where: str, n: int) -> None:
        """Note that the first `n` rows have arrived."""
        if entry.sent.get(where) != n:
            entry.sent[where] = n
            self._changed.add(entry.curve.id)

    def save(self) -> None:
        """Write changed files atomically; the list of read records is written last.

        Raises:
            RecordError: the outputs folder cannot be written.
        """
        for identity in sorted(self._changed):
            entry = self.entries[identity]
            rows = [row.__dict__ for row in entry.rows]
            _write(
                self.folder / "curves" / f"{identity}.json",
                {"curve": as_plain(entry.curve), "rows": rows, "sent": entry.sent},
            )
        self._changed.clear()
        if self.read != self._read_saved:
            _write(self.folder / "read.json", self.read)
            self._read_saved = dict(self.read)

    def _append(self, entry: Entry, row: Row) -> None:
        entry.rows.append(row)
        self._changed.add(entry.curve.id)

    def _enter(self, entry: Entry) -> Entry:
        self.entries[entry.curve.id] = entry
        self._by_base.setdefault(entry.curve.base, []).append(entry.curve.id)
        return entry


def _write(path: Path, content: Any) -> None:
    write_whole(path, (json.dumps(content) + "\n").encode())
