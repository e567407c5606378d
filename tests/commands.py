"""Commands as a user types them, in processes of their own or in this one, and what they leave on disk."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq

from bridge.cli import main
from bridge.records import record

# What differs between two runs of one cell without meaning anything: when, where, and from which working tree.
INCIDENTAL = ("wall_s", "commit", "dirty", "models", "config")

# A user's own sweep file.
SWEEP_FILE = """\
defaults: [config, override hydra/launcher: {launcher}, _self_]
sweep: {{name: {name}}}
hydra: {{mode: MULTIRUN, sweeper: {{params: {{{params}}}}}}}
"""

# Verbs that read what is on disk; the others take overrides.
ON_RECORDS = ("status", "report", "export")


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr of a command that was refused."""
        assert self.code == 1, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("bridge: "), self.err
        assert "Traceback" not in self.out
        return lines[0].removeprefix("bridge: ")


@dataclass
class Shell:
    """Runs `bridge` on one outputs folder."""

    outputs: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "bridge", *self._whole(words)],
            cwd=self.outputs.parent,
            env=self._seen,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *words: str, limit_s: float = 240) -> Said:
        """Run a command to its end."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"{words} still ran after {limit_s} s\n{out}\n{err}") from None
        return Said(process.returncode, out, err)

    def here(self, *words: str) -> Said:
        """Run a command in this process, which has loaded what one of its own would take seconds to load."""
        out, err, code = io.StringIO(), io.StringIO(), None
        with ExitStack() as stack:
            for context in (chdir(self.outputs.parent), redirect_stdout(out), redirect_stderr(err)):
                stack.enter_context(context)
            stack.enter_context(patch.dict(os.environ, self._seen, clear=True))
            try:
                main(self._whole(words))
            except SystemExit as stop:
                code = int(stop.code or 0)
        assert code is not None
        return Said(code, out.getvalue(), err.getvalue())

    def _whole(self, words: Iterable[str]) -> list[str]:
        """A command with the outputs folder in it."""
        verb, *_ = words = list(words)
        return [
            *words,
            *(("--outputs", str(self.outputs)) if verb in ON_RECORDS else [f"paths.outputs={self.outputs}"]),
        ]

    @property
    def _seen(self) -> dict[str, str]:
        """The environment of a command."""
        inherited = {name: value for name, value in self.environment.items() if name != "COLUMNS"}
        return {**inherited, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    @property
    def runs(self) -> Path:
        """Where the records lie."""
        return self.outputs / "runs"

    def records(self) -> dict[str, dict[str, Any]]:
        """Run id -> record.json, of every record."""
        return {p.parent.name: json.loads(p.read_text()) for p in sorted(self.runs.glob("[!.]*/record.json"))}

    def states(self, name: str) -> Counter[str]:
        """How many cells of a sweep are done, running, failed, missing: what `bridge status` says."""
        lines = self.here("status", name, "--json").out.splitlines()
        return Counter(json.loads(line)["state"] for line in lines)

    def n_done(self) -> int:
        """How many cells are done."""
        return len(list(self.runs.glob("[!.]*/items.parquet")))

    def jobs(self, name: str) -> dict[str, dict[str, Any]]:
        """What each job of a sweep that has begun said of itself: pid, host, gpus."""
        files = (self.outputs / "sweeps" / name / "jobs").glob("*.json")
        return {path.stem: json.loads(path.read_text()) for path in sorted(files)}

    def logs(self, name: str) -> str:
        """What the jobs of a sweep wrote to their logs."""
        files = (self.outputs / "sweeps" / name / "jobs").glob("*_log.out")
        return "".join(path.read_text() for path in sorted(files))

    def done(self) -> set[str]:
        """Run ids of the cells that were computed to the end."""
        return {run_id for run_id, data in self.records().items() if data["status"] == "done"}


def beside(shell: Shell, name: str) -> Shell:
    """Another outputs folder with the same models."""
    outputs = shell.outputs.with_name(name)
    outputs.mkdir()
    (outputs / "artefacts").symlink_to((shell.outputs / "artefacts").resolve())
    return Shell(outputs, shell.environment)


def scores(shell: Shell) -> dict[str, tuple[dict[str, Any], dict[str, list[Any]]]]:
    """Run id -> all that a record holds but the incidental, with its scores item by item."""
    return {
        run_id: (
            {key: value for key, value in data.items() if key not in INCIDENTAL},
            pq.read_table(shell.runs / run_id / "items.parquet").to_pydict(),
        )
        for run_id, data in shell.records().items()
        if data["status"] == "done"
    }


def leftovers(shell: Shell) -> list[str]:
    """What a killed process may not leave for good: half-written records."""
    return sorted(p.name for p in shell.runs.glob(".*") if p.name != ".locks")


@contextmanager
def held(outputs: Path, run_ids: Iterable[str]) -> Iterator[None]:
    """Hold cells, so that whoever comes to them waits and what is to be disturbed cannot end before that."""
    with ExitStack() as stack:
        for run_id in run_ids:
            assert stack.enter_context(record.claimed(outputs, run_id, wait=False)), run_id
        yield


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = 240, state: Callable[[], str] = str) -> Any:
    """Wait until a condition holds, and return what it gave; where it never does, `state` explains."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {limit_s:.0f} s still not: {what}\n{state()}")
        time.sleep(0.1)
    return value
