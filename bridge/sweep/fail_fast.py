"""Stop a launch whose cells fail with the same error: after ``sweep.fail_fast`` equal errors no further cell is begun.

The stop is noted on disk, so that all jobs of a launch see it and `bridge status` can print the reason.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge.errors import ConfigError
from bridge.records import record


@dataclass(frozen=True)
class Stop:
    """Why a launch stopped.

    Attributes:
        launch: its token.
        n_failed: cells that failed with the same error.
        error: their error.
    """

    launch: str
    n_failed: int
    error: str

    def line(self, n_left: int, n_cells: int) -> str:
        """The message for the user, with how to go on."""
        return (
            f"stopped, because {self.n_failed} cells failed with the same error (sweep.fail_fast): {n_left} of "
            f"{n_cells} cells were not begun; put it right, and the same command runs what is missing or failed"
        )


def check(limit: int | None) -> None:
    """Refuse a limit below 1.

    Raises:
        ConfigError: it is less than 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"sweep.fail_fast={limit}; wanted at least 1, or null to begin every cell: change it")


def note(folder: Path, launch: str, limit: int | None, errors: list[str]) -> None:
    """Stop a launch if enough of its cells failed with the same error.

    Args:
        folder: of the sweep.
        launch: token of the launch.
        limit: how many equal errors stop it; None: any number.
        errors: of all its failed cells.
    """
    if limit is None or not errors:
        return
    (error, n_failed), *_ = Counter(errors).most_common(1)
    if n_failed >= limit:
        record.write_whole(_path(folder), (json.dumps(asdict(Stop(launch, n_failed, error))) + "\n").encode())


def stopped(folder: Path, launch: str | None = None) -> Stop | None:
    """The reason why the last launch was stopped; None if it was not.

    Args:
        folder: of the sweep.
        launch: only of the launch with this token.
    """
    try:
        stop = Stop(**json.loads(_path(folder).read_text()))
    except FileNotFoundError:
        return None
    return stop if launch in (None, stop.launch) else None


def clear(folder: Path) -> None:
    """Begin a new launch."""
    _path(folder).unlink(missing_ok=True)


def _path(folder: Path) -> Path:
    return folder / "stopped.json"
