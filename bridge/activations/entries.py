"""Entries of the store of states: their names and their checksums. Needs no torch."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bridge.errors import StoreError

FORMAT_VERSION = 2
DATA, META = "states.safetensors", "meta.json"

# (path, bytes, modification time in ns) of files whose checksum this process has seen to be right.
_verified: set[tuple[str, int, int]] = set()


def entry_name(
    fingerprint: str,
    texts: Sequence[str | tuple[int, ...]],
    layer: float | None,
    position: str = "last",
    positions: Sequence[Sequence[int]] | None = None,
    dtype: str = "float32",
    attn_implementation: str | None = None,
) -> str:
    """The name of an entry's folder; without a layer, the name that all layers of one extraction share."""
    places = None if positions is None else [list(tokens) for tokens in positions]
    made_by = [FORMAT_VERSION, version("transformers"), fingerprint, dtype, attn_implementation]
    parts = [*made_by, position, places, list(texts)]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return digest if layer is None else f"{digest}-layer{layer:g}"


def sound(folder: Path) -> Path:
    """The file of states of an entry, whose checksum is right.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is none, or it is damaged.
        StoreError: the entry exists but cannot be read.
    """
    try:
        meta = json.loads((folder / META).read_text())
        data = folder / DATA
        stat = data.stat()
        seen = (str(data.resolve()), stat.st_size, stat.st_mtime_ns)
        if seen not in _verified:
            with data.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != meta["sha256"]:
                    raise ValueError("its checksum is wrong")
            _verified.add(seen)
    except PermissionError as error:
        raise StoreError(
            f"{folder} cannot be read ({error.strerror}); wanted a readable folder: give yourself the right to read it"
        ) from error
    return data


def missing(
    root: Path,
    fingerprint: str,
    texts: Sequence[str | tuple[int, ...]],
    layers: Sequence[float],
    position: str = "last",
    dtype: str = "float32",
    attn_implementation: str | None = None,
) -> list[float]:
    """The layers whose states `Store.states` would have to extract for the same arguments.

    Raises:
        StoreError: an entry exists but cannot be read.
    """
    return [
        layer
        for layer in layers
        if not _is_sound(root / entry_name(fingerprint, texts, layer, position, None, dtype, attn_implementation))
    ]


def _is_sound(folder: Path) -> bool:
    try:
        sound(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def readable(n_bytes: int) -> str:
    """A number of bytes for people.

    >>> readable(123), readable(12_345_678)
    ('123 B', '12.3 MB')
    """
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
