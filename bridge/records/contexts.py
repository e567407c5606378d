"""What models read before each answer, noted on disk: a dry run then counts states without loading a tokenizer."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bridge.records import record

Tokens = list[tuple[int, ...]]
Contexts = tuple[Tokens, Tokens]


def note(outputs: str | Path, key: str, contexts: Sequence[Tokens]) -> None:
    """Leave the contexts of a Rosetta set on disk, unless they are there.

    Args:
        outputs: the outputs folder.
        key: of what they follow from: weights and tokenizers, items, which answers are wanted.
        contexts: those in the source's tokens and those in the target's.

    Raises:
        RecordError: the disk is full or not writable.
    """
    path = _path(outputs, key)
    if not path.exists():
        record.write_whole(path, json.dumps(contexts, separators=(",", ":")).encode())


def noted(outputs: str | Path, key: str) -> Contexts | None:
    """The contexts that `note` left under this key, or None where there are none or they are damaged."""
    try:
        source, target = json.loads(_path(outputs, key).read_text())
        return [tuple(tokens) for tokens in source], [tuple(tokens) for tokens in target]
    except (OSError, ValueError, TypeError):
        return None


def _path(outputs: str | Path, key: str) -> Path:
    # Another version of transformers may read another tokenizer out of the same files.
    digest = hashlib.sha256(f"{key} {version('transformers')}".encode()).hexdigest()[:32]
    return Path(outputs) / "contexts" / f"{digest}.json"
