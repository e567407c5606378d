"""No tracker: results are in the records only."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.records.manifest import Manifest
    from bridge.records.record import Record


class NoTracker:
    """Sends nothing."""

    def open(self) -> None:
        """Do nothing."""

    def send(self, record: "Record") -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def ensure(self, manifest: "Manifest") -> None:
        """Do nothing."""

    def finish(self, manifest: "Manifest", timeout_s: float = 60.0) -> None:
        """Do nothing."""

    def sync(self, manifest: "Manifest", mode: str | None = None, follow: int | None = None) -> dict[str, Any]:
        """Do nothing."""
        return {}
