"""The interface of trackers: they receive the records of plain runs one by one, or those of a whole sweep."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bridge.records.manifest import Manifest
    from bridge.records.record import Record


class Tracker(Protocol):
    """Receives the records of plain runs one by one, and reads those of a sweep from disk.

    A class that derives from `bridge.tracking.stream.StreamedTracker` defines how one record is sent, and can stream
    sweeps.
    """

    def open(self) -> None:
        """Raise, before a cell is computed, if records cannot be sent."""

    def send(self, record: "Record") -> None:
        """Send one record."""

    def close(self) -> None:
        """Send the records that were not sent yet."""

    def ensure(self, manifest: "Manifest") -> None:
        """Ensure that a streamer of the sweep runs, in the background.

        Raises:
            ConfigError: its records cannot be sent.
        """

    def finish(self, manifest: "Manifest", timeout_s: float = 60.0) -> dict[str, Any] | None:
        """Wait until everything of a sweep is sent that can be sent.

        Args:
            manifest: of the sweep.
            timeout_s: how long to wait; sending then continues in the background.

        Returns:
            The result of `sync`; None if nothing is to be sent, or sending has not ended.
        """

    def sync(self, manifest: "Manifest", mode: str | None = None, follow: int | None = None) -> dict[str, Any]:
        """Send, in this process, what has not been sent yet of a sweep's records.

        Args:
            manifest: of the sweep.
            mode: for a tracker with several, such as online or offline; None for its default.
            follow: id of a process; continue until it has ended or `finish` is called.

        Returns:
            The progress, as it is written to disk; {} if there is none.
        """


def tracker_of(settings: Mapping[str, Any]) -> Tracker:
    """The tracker of a sweep.

    Args:
        settings: of its manifest; without a tracker's class in it nothing is tracked.

    Raises:
        ConfigError: the class does not exist.
    """
    node = settings.get("tracker", {})
    if "_target_" not in node:
        from bridge.tracking.none import NoTracker

        return NoTracker()
    # Imported here because it loads the modules that compose configs, which a status or an export does not need.
    from bridge.building import built

    tracker: Tracker = built(node)
    return tracker
