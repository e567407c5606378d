"""The manifest of a sweep: its cells on disk, so that they need not be composed again.

Reads and writes JSON alone, so that a finished sweep is recognised without loading torch or Hydra.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from bridge.errors import ConfigError
from bridge.records import record

MANIFEST_VERSION = 1
FILE = "sweep.json"


@dataclass(frozen=True)
class Cell:
    """One cell of a sweep.

    Attributes:
        run_id: of its record.
        overrides: the swept values, as Hydra overrides.
        changes: dotted key -> value, on top of the config that all cells share.
    """

    run_id: str
    overrides: tuple[str, ...]
    changes: dict[str, Any]


@dataclass
class Manifest:
    """The cells of a sweep.

    Attributes:
        name: names its folder.
        outputs: the outputs folder.
        base: the plain config that all cells share.
        cells: in the order of the grid.
        axes: override key -> the values that were swept.
        settings: config values of the last launch that never change a result (tracker, device, batch_size, ...).
        composed_from: key of the words and files that the cells were composed from.
        inputs: path -> [bytes, modification time in ns] of the files behind all done cells, when they were last checked
            against the inputs of the records; empty if never.
    """

    name: str
    outputs: Path
    base: dict[str, Any]
    cells: tuple[Cell, ...]
    axes: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    composed_from: str = ""
    inputs: dict[str, list[int]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of everything about the sweep, except its records."""
        return folder_of(self.outputs, self.name)

    @property
    def run_ids(self) -> list[str]:
        """Run ids of all cells, in the order of the grid."""
        return [cell.run_id for cell in self.cells]

    @cached_property
    def by_run_id(self) -> dict[str, Cell]:
        """Run id -> cell."""
        return {cell.run_id: cell for cell in self.cells}

    def config(self, cell: Cell) -> dict[str, Any]:
        """The plain resolved config of one cell, with the settings of the last launch."""
        whole: dict[str, Any] = json.loads(json.dumps(self.base))
        for key, value in cell.changes.items():
            *path, last = key.split(".")
            node = whole
            for part in path:
                node = node[part]
            node[last] = json.loads(json.dumps(value))
        return whole | json.loads(json.dumps(self.settings))

    def label(self, cell: Cell) -> str:
        """A short text that tells the cell from the others."""
        return ", ".join(cell.overrides) or "the only cell"

    def unchanged(self) -> bool:
        """Whether the input files of the records are unchanged, by size and modification time."""
        return bool(self.inputs) and all(stamp(path) == was for path, was in self.inputs.items())

    def is_finished(self) -> bool:
        """Whether every cell is done, its input files are unchanged, and `recompute` is off."""
        if self.settings["recompute"] or not self.unchanged():
            return False
        heads = (record.head(self.outputs, run_id) or {} for run_id in self.run_ids)
        return all(head.get("status") == "done" for head in heads)

    def write(self) -> None:
        """Write the manifest whole or not at all.

        Raises:
            RecordError: the outputs folder cannot be written.
        """
        whole = {
            "manifest_version": MANIFEST_VERSION,
            "name": self.name,
            "composed_from": self.composed_from,
            "axes": self.axes,
            "settings": self.settings,
            "inputs": self.inputs,
            "base": self.base,
            "cells": [[cell.run_id, list(cell.overrides), cell.changes] for cell in self.cells],
        }
        record.write_whole(self.folder / FILE, (json.dumps(whole) + "\n").encode())


def stamp(path: str | Path) -> list[int] | None:
    """Size in bytes and modification time in ns of a file; None when it is gone."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def folder_of(outputs: str | Path, name: str) -> Path:
    """The folder of a sweep."""
    return Path(outputs) / "sweeps" / name


def check_name(name: str) -> None:
    """Refuse a name that cannot name a folder.

    Raises:
        ConfigError: it has other characters than letters, digits, `.`, `_`, `-`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", name):
        raise ConfigError(
            f"{name!r} is no name for a sweep; wanted letters, digits, '_', '-' and '.': change sweep.name"
        )


def names(outputs: str | Path) -> list[str]:
    """The sweeps that have a manifest under `outputs`, by name."""
    return sorted(path.parent.name for path in (Path(outputs) / "sweeps").glob(f"*/{FILE}"))


def read(outputs: str | Path, name: str) -> Manifest:
    """The manifest of a sweep.

    Raises:
        ConfigError: there is no such sweep under `outputs`, or its manifest is damaged or of another version.
    """
    path = folder_of(outputs, name) / FILE
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        started = ", ".join(names(outputs)) or "none yet"
        raise ConfigError(
            f"no sweep {name!r} was started in {outputs}; wanted one of {started}: correct the name, or start one "
            "with bridge sweep NAME"
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged ({error}); wanted a manifest: delete it and give the bridge sweep command again"
        ) from error
    if data.get("manifest_version") != MANIFEST_VERSION:
        raise ConfigError(
            f"{path} is of manifest version {data.get('manifest_version')}; wanted version {MANIFEST_VERSION}: "
            "delete it and give the bridge sweep command again"
        )
    cells = tuple(Cell(run_id, tuple(overrides), changes) for run_id, overrides, changes in data["cells"])
    return Manifest(
        name,
        Path(outputs),
        data["base"],
        cells,
        data["axes"],
        data["settings"],
        data["composed_from"],
        data["inputs"],
    )


def finished_grid(outputs: str | Path, key: str) -> Manifest | None:
    """The finished grid with this key, or None.

    Args:
        outputs: the outputs folder.
        key: of its words and files (`bridge.sweep.sources.composed_from`).

    Raises:
        ConfigError: its manifest is damaged.
    """
    for path in sorted((Path(outputs) / "sweeps").glob(f"*/{FILE}")):
        # Most manifests belong to other grids; searching the text for the key is cheaper than parsing it.
        if f'"composed_from": "{key}"' in path.read_text():
            manifest = read(outputs, path.parent.name)
            return manifest if manifest.is_finished() else None
    return None


@contextmanager
def held(outputs: str | Path, name: str) -> Iterator[None]:
    """Lock a sweep's manifest, so that two commands do not overwrite each other.

    Raises:
        RecordError: the outputs folder cannot be written.
    """
    folder = folder_of(outputs, name)
    with record.writing(outputs):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", is_singleton=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
