"""Records: what a cell leaves on disk, written under a temporary name and then renamed."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import RecordError
from bridge.records.whole import tried
from bridge.records.whole import write_whole as write_whole
from bridge.records.whole import writing as writing

if TYPE_CHECKING:
    import pyarrow as pa

RECORD_VERSION = 6
# Config keys that never change a result, left out of the run id.
NOT_IN_RUN_ID = ("tracker", "paths", "device", "batch_size", "recompute", "report", "sweep", "direction")
HEAD = ("run_id", "record_version", "status", "inputs", "error")
HEAD_BYTES = 4096
# The suffix of an older record's folder while it is replaced.
REPLACED = ".replaced"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One cell's results.

    Attributes:
        folder: holds record.json, config.yaml, run.log, and items.parquet or a file for each kind of item.
        data: the content of record.json.
        reused: whether it was read from disk rather than computed now.
    """

    folder: Path
    data: dict[str, Any]
    reused: bool = False

    @property
    def ok(self) -> bool:
        """Whether the cell was computed to the end."""
        return bool(self.data["status"] == "done")

    def table_path(self, table: str = "items") -> Path:
        """The file of per-item scores: one row per point, control, draw and item."""
        return self.folder / f"{table}.parquet"

    def items(self, table: str = "items") -> "pa.Table":
        """Per-item scores of one kind of item."""
        # Read when first needed: most readers use the scores alone.
        import pyarrow.parquet as pq

        return pq.read_table(self.table_path(table))

    @property
    def tables(self) -> list[str]:
        """The kinds of item that have per-item scores."""
        return sorted(path.stem for path in self.folder.glob("*.parquet"))


def hashed(used: Mapping[str, Any]) -> str:
    """Sixteen hex digits of the hash of the part of a plain config that can change a result, which is a run id."""
    text = json.dumps([RECORD_VERSION, used], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def runs_folder(outputs: str | Path) -> Path:
    """Where the records of `outputs` lie."""
    return Path(outputs) / "runs"


def _folders(outputs: str | Path, run_id: str) -> tuple[Path, Path]:
    """The folder of a record, and the folder of the older one while it is replaced."""
    runs = runs_folder(outputs)
    return runs / run_id, runs / f".{run_id}{REPLACED}"


def _text(outputs: str | Path, run_id: str, n_chars: int = -1) -> tuple[Path, str] | None:
    """The folder of a record and the beginning of its record.json, or None where there is none."""
    final, replaced = _folders(outputs, run_id)
    # At any moment one of the two exists; a newer record may appear between the two looks.
    for folder in (final, replaced, final):
        try:
            with (folder / "record.json").open() as file:
                return folder, file.read(n_chars)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None


@contextmanager
def claimed(outputs: str | Path, run_id: str, wait: bool = True) -> Iterator[bool]:
    """Lock a run id, so that several processes compute a cell once.

    Args:
        outputs: the outputs folder.
        run_id: to lock; the lock is reentrant within a process.
        wait: whether to wait for another process that holds the lock.

    Yields:
        Whether the lock is held: False only without `wait`, if another process holds it.

    Raises:
        RecordError: `outputs` cannot be written.
    """
    lock = runs_folder(outputs) / ".locks" / run_id
    with tried(lock, outputs, -1 if wait else 0, twice=True) as held:
        yield held


def write(
    outputs: str | Path, run_id: str, data: dict[str, Any], config_yaml: str, tables: Mapping[str, Any], log: str
) -> Record:
    """Write one record whole or not at all; an older one under the same run id is replaced.

    The caller holds the lock of the run id (see `claimed`). If a writer is killed, readers find the older record or the
    newer one: the older is moved to a second name, where `read` looks too, until the newer has its place.

    Args:
        outputs: the outputs folder.
        run_id: names the record's folder.
        data: record.json; numbers must be finite.
        config_yaml: the resolved config.
        tables: kind of item -> column name -> values of its file.
        log: the text of run.log.

    Raises:
        RecordError: the disk is full or not writable.
    """
    final, replaced = _folders(outputs, run_id)
    unfinished = final.with_name(f".{run_id}.{os.getpid()}.unfinished")
    data = {"run_id": run_id, "record_version": RECORD_VERSION, **data}
    try:
        with writing(outputs):
            for left_by_the_killed in final.parent.glob(f".{run_id}.*.unfinished"):
                shutil.rmtree(left_by_the_killed)
            unfinished.mkdir(parents=True, exist_ok=True)
            (unfinished / "record.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
            (unfinished / "config.yaml").write_text(config_yaml)
            (unfinished / "run.log").write_text(log)
            for name, columns in tables.items():
                import pyarrow.parquet as pq

                pq.write_table(_table(columns), unfinished / f"{name}.parquet", compression="zstd")
            if final.exists():
                if replaced.exists():
                    shutil.rmtree(replaced)
                final.rename(replaced)
            unfinished.rename(final)
            if replaced.exists():
                shutil.rmtree(replaced)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Record(final, data)


def _table(columns: dict[str, Any]) -> "pa.Table":
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        array = pa.array(values)
        if pa.types.is_string(array.type):
            array = array.dictionary_encode()
        arrays[name] = array
    return pa.table(arrays)


def read(outputs: str | Path, run_id: str) -> Record | None:
    """The record of a run id, or None when there is none.

    Raises:
        RecordError: record.json is damaged or of another version.
    """
    located = _text(outputs, run_id)
    if located is None:
        return None
    folder, text = located
    path = folder / "record.json"
    try:
        data = json.loads(text)
    except ValueError as error:
        raise RecordError(
            f"{path} is damaged ({error}); wanted a whole record: delete its folder and run the cell again"
        ) from error
    if data.get("record_version") != RECORD_VERSION:
        raise _other_version(outputs, data.get("record_version"))
    return Record(folder, data, reused=True)


def head(outputs: str | Path, run_id: str) -> dict[str, Any] | None:
    """The first keys of a record, before its scores; None when there is no record.

    Reads a few kilobytes only, so that the state of thousands of cells is read quickly.

    Returns:
        run_id, record_version, status and, where the record begins with them, inputs and error.

    Raises:
        RecordError: record.json is damaged.
    """
    located = _text(outputs, run_id, HEAD_BYTES)
    if located is None:
        return None
    folder, text = located
    fields: dict[str, Any] = {}
    decode, at = json.JSONDecoder().raw_decode, 1
    try:
        while True:
            key, at = decode(text, _next(text, at))
            if key not in HEAD:
                break
            fields[key], at = decode(text, _next(text, at))
    except ValueError:
        # Cut off at HEAD_BYTES in the middle of a value, or damaged; the keys before it are enough to tell which.
        pass
    if "status" not in fields:
        raise RecordError(
            f"{folder / 'record.json'} is damaged; wanted a whole record: delete its folder and run the cell again"
        )
    return fields


def _next(text: str, at: int) -> int:
    """Where the next JSON value begins."""
    while at < len(text) and text[at] in " \n,:":
        at += 1
    return at


def is_done(outputs: str | Path, run_id: str) -> bool:
    """Whether a readable record of a finished cell exists."""
    try:
        record = read(outputs, run_id)
    except RecordError:
        return False
    return record is not None and record.ok


def read_all(outputs: str | Path, run_ids: Iterable[str] | None = None) -> list[Record]:
    """Every record under `outputs`, or those of `run_ids` that exist, sorted by run id."""
    records = [read(outputs, run_id) for run_id in sorted(_run_ids(outputs) if run_ids is None else set(run_ids))]
    return [record for record in records if record is not None]


def _run_ids(outputs: str | Path) -> set[str]:
    runs = runs_folder(outputs)
    names = [p.name for p in runs.iterdir() if p.is_dir()] if runs.is_dir() else []
    return {n.removeprefix(".").removesuffix(REPLACED) for n in names if n[0] != "." or n.endswith(REPLACED)}


def refuse_older(outputs: str | Path, run_ids: Iterable[str] | None = None) -> None:
    """Check that every record under `outputs`, or of `run_ids`, is of this version; only their heads are read.

    Raises:
        RecordError: one is of another version, or damaged.
    """
    for run_id in sorted(_run_ids(outputs) if run_ids is None else set(run_ids)):
        fields = head(outputs, run_id)
        if fields is not None and fields.get("record_version") != RECORD_VERSION:
            raise _other_version(outputs, fields.get("record_version"))


def _other_version(outputs: str | Path, version: Any) -> RecordError:
    """The error that says how many records are of another version, and how to move them away."""
    runs = runs_folder(outputs)
    heads = [head(outputs, run_id) for run_id in _run_ids(outputs)]
    versions = [fields.get("record_version") for fields in heads if fields is not None]
    n, away = versions.count(version), f"{runs}-version-{version}"
    move = f"mv {runs} {away}"
    if n < len(versions):
        like = f"'\"record_version\": {version},'"
        move = f"mkdir {away} && grep -l {like} {runs}/*/record.json | xargs dirname | xargs -I{{}} mv {{}} {away}"
    return RecordError(
        f"{n} of {len(versions)} records in {runs} are of record version {version}, this bridge reads "
        f"{RECORD_VERSION}; wanted records of one version: move them away ({move}) and run their cells again"
    )
