"""What tells one model from another, without loading it: a hash of its files, or its commit on the hub."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bridge.errors import ModelError

FINGERPRINTED = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "*.py",
    "token*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


def fingerprint(name: str, revision: str | None = None) -> str:
    """What tells this model's states from any other's.

    Returns:
        For a local folder "sha256:" and the hash of config, weights and tokenizer; for a hub id "id@commit".

    Raises:
        ModelError: neither a local folder nor reachable.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return f"{name}@{origin(name, revision)['revision']}"
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name} is a folder without config.json; give a folder written by save_pretrained")
    files = sorted({path for pattern in FINGERPRINTED for path in folder.glob(pattern) if path.is_file()})
    total = hashlib.sha256()
    for path in tqdm(files, desc=f"hashing {folder.name}", delay=2.0, leave=False, disable=None):
        stat = path.stat()
        total.update(f"{path.name}\0{_file_sha256(str(path), stat.st_size, stat.st_mtime_ns)}\0".encode())
    return f"sha256:{total.hexdigest()}"


@functools.cache
def _file_sha256(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def origin(name: str, revision: str | None) -> dict[str, Any]:
    """Where transformers is to read from: the folder, or the hub id at the commit `revision` means now."""
    folder = Path(name).expanduser()
    return {"path": str(folder)} if folder.is_dir() else {"path": name, "revision": commit(name, revision)}


@functools.cache
def commit(name: str, revision: str | None) -> str:
    """Asked once per process, so that weights, tokenizer and fingerprint belong to one commit."""
    try:
        return _config_on_the_hub(name, revision).parent.name
    except Exception as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"{name}{at} is neither a local folder nor reachable on the Hugging Face hub; give a folder "
            "written by save_pretrained, or get the model first where there is a network: `hf auth login` "
            f"if it is gated, then `hf download {name}`"
        ) from error


def read_config(name: str, revision: str | None = None) -> dict[str, Any]:
    """What config.json says, of a folder or of a hub id at its commit.

    Raises:
        ModelError: neither a local folder nor reachable, or config.json is not there or damaged.
    """
    folder = Path(name).expanduser()
    path = folder / "config.json" if folder.is_dir() else _config_on_the_hub(name, commit(name, revision))
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); save the model there again") from error
    return config


def _config_on_the_hub(name: str, revision: str | None) -> Path:
    """config.json in the hub's cache, in a folder that is called by its commit; fetched where it can be."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        return Path(hf_hub_download(name, "config.json", revision=revision))
    except Exception:
        # Out of reach today, but there from another day.
        there = try_to_load_from_cache(name, "config.json", revision=revision)
        if not isinstance(there, str):
            raise
        return Path(there)
