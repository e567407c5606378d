"""Attempts on cells: a file for each unfinished cell says which process runs it and how earlier attempts ended."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from bridge.records import record

# How often a cell is tried in one launch if its process is killed (by the out-of-memory killer, for example).
MAX_DEATHS = 2
# How often a cell may exceed the time limit of a job that ran nothing else, before it is given up.
MAX_CUTS = 2


class Attempts:
    """The attempts on one cell of a sweep. The writer holds the lock of the run id.

    Args:
        folder: of the sweep.
        run_id: the cell.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.path = folder / "attempts" / f"{run_id}.json"

    def read(self) -> dict[str, Any]:
        """The last attempt: launch, state, job, host, pid, since, n_deaths, n_cuts, error; {} when there is none."""
        try:
            attempt: dict[str, Any] = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return attempt

    def begin(self, launch: str, job: str, state: str = "running") -> dict[str, Any]:
        """Note that this process runs the cell; an earlier attempt that is still `running` counts as died.

        Args:
            launch: token of the launch.
            job: id of the job.
            state: "running", or "told" if the process was signalled that it will be killed.

        Returns:
            The attempt, with how often processes died on the cell in this launch before.
        """
        before = self.read()
        same = before.get("launch") == launch
        died = same and before["state"] == "running"
        now = {
            "launch": launch,
            "state": state,
            "job": job,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": time.time(),
            "n_deaths": before["n_deaths"] + died if same else 0,
            "n_cuts": before["n_cuts"] if same else 0,
        }
        if died:
            now["died"] = {k: before[k] for k in ("job", "host", "pid")}
        return self._write(now)

    def end(self, state: str, **changes: Any) -> None:
        """Note how the attempt ended: "failed", "dropped" (to be run later) or "told" (its process will be killed)."""
        self._write(self.read() | {"state": state} | changes)

    def clear(self) -> None:
        """Remove the file, as the cell is done."""
        self.path.unlink(missing_ok=True)

    def _write(self, data: dict[str, Any]) -> dict[str, Any]:
        record.write_whole(self.path, (json.dumps(data) + "\n").encode())
        return data


def errors(folder: Path, launch: str) -> dict[str, str]:
    """Run id -> error of the cells of a sweep that failed in one launch.

    Args:
        folder: of the sweep.
        launch: token of the launch.
    """
    attempts = {path.stem: Attempts(folder, path.stem).read() for path in (folder / "attempts").glob("*.json")}
    return {
        run_id: attempt.get("error", "")
        for run_id, attempt in attempts.items()
        if attempt.get("launch") == launch and attempt["state"] == "failed"
    }
