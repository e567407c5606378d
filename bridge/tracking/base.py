"""What a tracker is: where records are streamed to, one by one, or a whole sweep."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bridge.records.manifest import Manifest
    from bridge.records.record import Record


class Tracker(Protocol):
    """Takes the records of plain runs one by one, and those of a sweep from disk, whoever computes them.

    A class that derives from `bridge.tracking.stream.StreamedTracker` says how one record is sent, and has sweeps.
    """

    def open(self) -> None:
        """Say at once what would keep records from being sent, before a cell is computed for nothing."""

    def send(self, record: "Record") -> None:
        """Send one record."""

    def close(self) -> None:
        """Send what is still held back."""

    def ensure(self, manifest: "Manifest") -> None:
        """See to it that somebody streams a sweep; returns at once.

        Raises:
            ConfigError: what would keep its records from being sent.
        """

    def finish(self, manifest: "Manifest", timeout_s: float = 60.0) -> dict[str, Any] | None:
        """Have everything of a sweep sent that can be sent.

        Args:
            manifest: of the sweep.
            timeout_s: how long to wait; after that it goes on in the background.

        Returns:
            What `sync` returns; None where nothing is to be sent, or it is still being sent.
        """

    def sync(self, manifest: "Manifest", mode: str | None = None, follow: int | None = None) -> dict[str, Any]:
        """Send, in this process, what has not been sent yet of a sweep's records.

        Args:
            manifest: of the sweep.
            mode: of a tracker that has several, such as online or offline; None for its own choice.
            follow: go on until this process has ended or somebody calls `finish`.

        Returns:
            How far it is, as it is left on disk; {} where there is nothing to say.
        """


def tracker_of(settings: Mapping[str, Any]) -> Tracker:
    """The tracker of a sweep.

    Args:
        settings: of its manifest; what has no tracker's class there is tracked nowhere.

    Raises:
        ConfigError: there is no such class.
    """
    node = settings.get("tracker", {})
    if "_target_" not in node:
        from bridge.tracking.none import NoTracker

        return NoTracker()
    # Loads what composes configs, which a status or an export does not need.
    from bridge.config import built

    tracker: Tracker = built(node)
    return tracker
