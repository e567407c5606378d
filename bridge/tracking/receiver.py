"""What takes the records of one sweep as they arrive, and remembers which."""

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
        read: run id -> modification time of the records that need not be handed over again; read back from disk.
    """

    read: dict[str, int]

    @abstractmethod
    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Take records; whatever is in `read` afterwards is on disk as well, in `noted_in`."""

    def push(self, is_last: bool) -> None:  # noqa: B027 - whoever sends in `take` has nothing to push
        """Send what is held back.

        Args:
            is_last: whether nothing more will come for a while.
        """

    def state(self) -> dict[str, Any]:
        """How far it is: `n_left` is what was taken and has not arrived."""
        return {"n_left": 0}

    def sum_up(self) -> None:  # noqa: B027
        """Send what can be said of a complete sweep alone."""


class OneByOne(Receiver):
    """Hands records over one by one.

    Args:
        folder: of the tracker beside the sweep's manifest.
        send: sends one record.
        close: sends what is still held back.
    """

    def __init__(self, folder: Path, send: Callable[[Record], None], close: Callable[[], None]) -> None:
        self.folder = folder
        self.send = send
        self.close = close
        self.read = read_back(folder)

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Send each, and note so before the next is sent."""
        for arrival in arrivals:
            self.send(arrival.record)
            self.read[arrival.cell.run_id] = arrival.time_ns
            write_whole(noted_in(self.folder), (json.dumps(self.read) + "\n").encode())

    def push(self, is_last: bool) -> None:
        """Send what the tracker holds back."""
        if is_last:
            self.close()


def noted_in(folder: Path) -> Path:
    """The file that says which records were read."""
    return folder / "ledger" / "read.json"


def read_back(folder: Path) -> dict[str, int]:
    """Run id -> modification time of the records that were read."""
    path = noted_in(folder)
    read: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return read
