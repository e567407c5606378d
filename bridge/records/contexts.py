"""The contexts that models read before each answer, cached on disk so that a dry run loads no tokenizer."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bridge.records import record

Tokens = list[tuple[int, ...]]
Contexts = tuple[Tokens, Tokens]


def note(outputs: str | Path, key: str, contexts: Sequence[Tokens]) -> None:
    """Write the contexts of a Rosetta set to disk, unless they exist.

    Args:
        outputs: the outputs folder.
        key: names their inputs: weights and tokenizers, items, and which answers are used.
        contexts: those in the source's tokens and those in the target's.

    Raises:
        RecordError: the disk is full or not writable.
    """
    path = _path(outputs, key)
    if not path.exists():
        record.write_whole(path, json.dumps(contexts, separators=(",", ":")).encode())


def noted(outputs: str | Path, key: str) -> Contexts | None:
    """The contexts that `note` wrote under this key; None if there are none or they are damaged."""
    try:
        source, target = json.loads(_path(outputs, key).read_text())
        return [tuple(tokens) for tokens in source], [tuple(tokens) for tokens in target]
    except (OSError, ValueError, TypeError):
        return None


def _path(outputs: str | Path, key: str) -> Path:
    # Another version of transformers may build a different tokenizer from the same files.
    digest = hashlib.sha256(f"{key} {version('transformers')}".encode()).hexdigest()[:32]
    return Path(outputs) / "contexts" / f"{digest}.json"
