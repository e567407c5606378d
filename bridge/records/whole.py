"""Files and folders that are there whole or not at all: written under a temporary name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from filelock import FileLock

from bridge.errors import BridgeError, RecordError

UNFINISHED = ".unfinished"


@contextmanager
def writing(where: str | Path, error_class: type[BridgeError] = RecordError) -> Iterator[None]:
    """Turn what the file system refuses into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise error_class(
            f"cannot write to {where}: {error.strerror or error}; free some space or set paths.outputs to a "
            "writable folder. Nothing was half-written"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, whose folder is made if it is not there, against other processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that no half-written one is ever seen.

    Raises:
        RecordError: the disk is full or not writable.
    """
    unfinished = _unfinished(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` at the end; after an error nothing of it is left.

    Whoever writes holds a lock: what a killed process left is cleared away, and an older `folder` is replaced.
    """
    unfinished = _unfinished(folder)
    try:
        for left_by_the_killed in folder.parent.glob(f".{escape(folder.name)}.*{UNFINISHED}"):
            shutil.rmtree(left_by_the_killed)
        unfinished.mkdir(parents=True)
        yield unfinished
        _open_to_others(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")


def _open_to_others(folder: Path) -> None:
    """Some libraries write private files; all get the rights that any new file here would have."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
