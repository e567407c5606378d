"""Receivers: they take the records of one sweep as they arrive, and note which they have."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.records.manifest import Cell
from bridge.records.record import Record, write_whole


@dataclass(frozen=True)
class Arrival:
    """A finished record that was not read before.

    Attributes:
        cell: of the sweep.
        record: its record.
        time_ns: modification time of the record.
    """

    cell: Cell
    record: Record
    time_ns: int


class Receiver(ABC):
    """Takes the records of one sweep.

    Attributes:
        read: run id -> modification time of the records that were received already; restored from disk.
    """

    read: dict[str, int]

    @abstractmethod
    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Receive records, and note them in `read` and on disk, in `noted_in`."""

    def push(self, is_last: bool) -> None:  # noqa: B027 - whoever sends in `take` has nothing to push
        """Send what was not sent yet.

        Args:
            is_last: whether no more records will come for a while.
        """

    def state(self) -> dict[str, Any]:
        """The progress: `n_left` is the number of received records that have not been sent."""
        return {"n_left": 0}

    def sum_up(self) -> None:  # noqa: B027
        """Send the summary of a complete sweep."""


class OneByOne(Receiver):
    """Sends records one by one.

    Args:
        folder: of the tracker beside the sweep's manifest.
        send: sends one record.
        close: sends what was not sent yet.
    """

    def __init__(self, folder: Path, send: Callable[[Record], None], close: Callable[[], None]) -> None:
        self.folder = folder
        self.send = send
        self.close = close
        self.read = read_back(folder)

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Send each record, and note it before the next is sent."""
        for arrival in arrivals:
            self.send(arrival.record)
            self.read[arrival.cell.run_id] = arrival.time_ns
            write_whole(noted_in(self.folder), (json.dumps(self.read) + "\n").encode())

    def push(self, is_last: bool) -> None:
        """Send what the tracker has not sent yet."""
        if is_last:
            self.close()


def noted_in(folder: Path) -> Path:
    """The file with the records that were read."""
    return folder / "ledger" / "read.json"


def read_back(folder: Path) -> dict[str, int]:
    """Run id -> modification time of the records that were read."""
    path = noted_in(folder)
    read: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return read
