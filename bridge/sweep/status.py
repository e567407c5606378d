"""The status of a sweep, read from disk: each cell is done, running, failed or missing."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.records import record
from bridge.records.manifest import Cell, Manifest, names, read
from bridge.sweep.attempts import Attempts
from bridge.sweep.fail_fast import stopped

STATES = ("done", "running", "failed", "missing")
LINES = 20


@dataclass(frozen=True)
class State:
    """The state of one cell: `name` is one of `STATES`; `error` is the message of a failed cell."""

    cell: Cell
    name: str
    error: str = ""


def states(manifest: Manifest) -> list[State]:
    """The state of every cell, in the order of the grid.

    Raises:
        RecordError: a record is damaged or of another version.
    """
    record.refuse_older(manifest.outputs, [cell.run_id for cell in manifest.cells])
    return [_state(manifest, cell) for cell in manifest.cells]


def _state(manifest: Manifest, cell: Cell) -> State:
    head = record.head(manifest.outputs, cell.run_id)
    if head is not None and head["status"] == "done":
        return State(cell, "done")
    attempt = Attempts(manifest.folder, cell.run_id).read()
    if attempt.get("state") in ("running", "told"):
        with record.claimed(manifest.outputs, cell.run_id, wait=False) as free:
            pass
        if not free:
            return State(cell, "running", f"job {attempt['job']} on {attempt['host']}")
        if attempt["state"] == "running":
            return State(cell, "failed", f"its process was killed (job {attempt['job']} on {attempt['host']})")
    if head is not None:
        return State(cell, "failed", head.get("error", ""))
    return State(cell, "missing")


def status_verb(arguments: Sequence[str]) -> int:
    """``bridge status [NAME]``: one line a sweep, or one sweep with the cells that are not done.

    Returns:
        0 where nothing failed.

    Raises:
        ConfigError: there is no such sweep.
    """
    parser = argparse.ArgumentParser("bridge status", description="How far a sweep is, from its records on disk.")
    parser.add_argument("name", nargs="?", help="a sweep; without it, all of them")
    parser.add_argument("--outputs", default="outputs", help="the outputs folder (default: outputs)")
    parser.add_argument("--json", action="store_true", help="for programs: every cell with its state")
    chosen = parser.parse_args(list(arguments))
    if chosen.name is None:
        started = names(chosen.outputs)
        if not started:
            print(f"no sweep was started in {chosen.outputs}; start one with: bridge sweep NAME")
        for name in started:
            counts = Counter(state.name for state in states(read(chosen.outputs, name)))
            print(f"{name:24s} {_counts(counts)}")
        return 0
    manifest = read(chosen.outputs, chosen.name)
    cell_states = states(manifest)
    if chosen.json:
        for state in cell_states:
            line = {"run_id": state.cell.run_id, "state": state.name, "error": state.error}
            print(json.dumps(line | {"overrides": state.cell.overrides}))
        return 0
    counts = Counter(state.name for state in cell_states)
    print(f"{manifest.name}: {_counts(counts)}")
    for name in ("running", "failed", "missing"):
        those = [state for state in cell_states if state.name == name]
        for state in those[:LINES]:
            reason = f": {state.error}" if state.error else ""
            print(f"  {name}: {manifest.label(state.cell)}{reason}")
        if len(those) > LINES:
            print(f"  {name}: and {len(those) - LINES} more (--json lists all)")
    if counts["missing"] and (stop := stopped(manifest.folder)):
        print(stop.line(counts["missing"], len(cell_states)))
    if counts["failed"] or counts["missing"]:
        print(f"logs in {manifest.folder / 'jobs'}; bridge sweep {manifest.name} runs what is missing or failed")
    return 1 if counts["failed"] else 0


def _counts(counts: Counter[str]) -> str:
    text = ", ".join(f"{counts[name]} {name}" for name in STATES if counts[name] or name == "done")
    return f"{text} of {counts.total()} cells"
