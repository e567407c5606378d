"""Reading the files of offline W&B runs.

A ``.wandb`` file is a header of seven bytes and blocks of 32 KiB with pieces of records: checksum, length and kind
(1 whole, 2 first, 3 middle, 4 last), then the bytes. W&B writes a file's last block when the run is finished.
"""

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

HEADER, BLOCK, PIECE = 7, 32768, struct.Struct("<IHB")
WHOLE, LAST = 1, 4


def pieces(path: Path) -> list[Any]:
    """The records of a ``.wandb`` file, up to the first truncated one.

    Returns:
        A list of ``wandb.proto.wandb_internal_pb2.Record``.
    """
    return _whole(path)[0]


def repair(path: Path) -> None:
    """Remove a truncated record that a killed process left, or a folder without records.

    ``wandb sync`` stops at a truncated record, skips further folders of the run, and when called again sends the same
    rows twice.
    """
    records, end = _whole(path)
    if not records:
        shutil.rmtree(path.parent)
    elif end < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(end)


def _whole(path: Path) -> tuple[list[Any], int]:
    """Records, and where the last of them ends."""
    from wandb.proto import wandb_internal_pb2 as pb

    data = path.read_bytes()
    at = end = HEADER
    whole, records = b"", []
    while at + PIECE.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < PIECE.size:  # the rest of a block is padding
            at += left
            continue
        checksum, length, kind = PIECE.unpack_from(data, at)
        content = data[at + PIECE.size : at + PIECE.size + length]
        if len(content) < length or zlib.crc32(bytes([kind]) + content) != checksum:
            break
        whole += content
        at += PIECE.size + length
        if kind in (WHOLE, LAST):
            parsed = pb.Record()
            parsed.ParseFromString(whole)
            records.append(parsed)
            whole, end = b"", at
    return records, end


def files(folder: Path, run_id: str) -> list[Path]:
    """The files of one W&B run's offline folders below `folder`, oldest first."""
    return sorted((folder / "wandb").glob(f"offline-run-*-{run_id}*/run-{run_id}.wandb"))


def n_rows(folder: Path, run_id: str) -> int:
    """How many rows of a W&B run are in its offline folders: one more than the last step."""
    steps = [r.history.step.num for path in files(folder, run_id) for r in pieces(path) if r.HasField("history")]
    return max(steps, default=-1) + 1
