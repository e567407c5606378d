"""Atomic writing of files and folders: written under a temporary name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from filelock import FileLock, Timeout

from bridge.errors import BridgeError, RecordError

UNFINISHED = ".unfinished"


@contextmanager
def writing(where: str | Path, error_class: type[BridgeError] = RecordError) -> Iterator[None]:
    """Turn errors of the file system into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise error_class(
            f"cannot write to {where}: {error.strerror or error}; free some space or set paths.outputs to a "
            "writable folder. Nothing was half-written"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the file `path` against other processes; its folder is made if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def tried(path: Path, where: str | Path, timeout_s: float, twice: bool = False) -> Iterator[bool]:
    """Lock the file `path` if possible within a time.

    Args:
        path: of the lock file; its folder is made if it does not exist.
        where: named in the error if it cannot be written.
        timeout_s: how long to wait for another process; negative: without limit.
        twice: whether the lock is reentrant within this process.

    Yields:
        Whether the lock is held.

    Raises:
        RecordError: the folder cannot be written.
    """
    with writing(where):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, is_singleton=twice)
        try:
            lock.acquire(timeout=timeout_s)
            held = True
        except Timeout:
            held = False
    try:
        yield held
    finally:
        if held:
            lock.release()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write a file under, which is renamed to `path` at the end and removed after an error.

    Raises:
        RecordError: the disk is full or not writable.
    """
    unfinished = _unfinished(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that no reader sees a half-written file.

    Raises:
        RecordError: the disk is full or not writable.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder, which is renamed to `folder` at the end and removed after an error.

    The caller holds a lock. Remains of a killed process are removed, and an older `folder` is replaced.
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
    """Give files the default permissions: some libraries write private files."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
