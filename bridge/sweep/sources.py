"""A key of everything that the cells of a sweep are composed from, computed without loading Hydra or torch."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from bridge.records import record

BRIDGE = Path(__file__).resolve().parents[1]


def composed_from(words: Sequence[str], folder: Path | None = None) -> str:
    """A hash of the words, the YAML files, the code that composes a config, and the version of records.

    Models and data are not in it: `Manifest.unchanged` looks at their files.

    Args:
        words: of the command line.
        folder: that of the sweep file, where there is one.

    Returns:
        Hex digits; the same key means the same cells.
    """
    conf = BRIDGE / "conf" if (BRIDGE / "conf").is_dir() else BRIDGE.parent / "conf"
    files = [
        BRIDGE / "config.py",
        BRIDGE / "controls" / "names.py",
        BRIDGE / "statistics" / "levels.py",
        *sorted((BRIDGE / "schema").glob("*.py")),
    ]
    files += [*sorted(conf.rglob("*.yaml")), *sorted(folder.rglob("*.yaml") if folder is not None else ())]
    digest = hashlib.sha256(json.dumps([record.RECORD_VERSION, *words]).encode())
    for file in files:
        digest.update(str(file).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
