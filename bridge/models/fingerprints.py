"""Fingerprints of models, without loading them: a hash of the files, or the commit on the hub."""

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
    """The fingerprint of a model's weights and tokenizer.

    Returns:
        For a local folder "sha256:" and the hash of config, weights and tokenizer; for a hub id "id@commit".

    Raises:
        ModelError: neither a local folder nor reachable, or without this revision.
    """
    folder = _folder(name, revision)
    if folder is None:
        return f"{name}@{origin(name, revision)['revision']}"
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{name} is a folder without config.json; wanted a saved model: give a folder written by save_pretrained"
        )
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
    """The path that transformers reads: the folder, or the hub id at the current commit of `revision`."""
    folder = _folder(name, revision)
    return {"path": name, "revision": commit(name, revision)} if folder is None else {"path": str(folder)}


def _folder(name: str, revision: str | None) -> Path | None:
    """The local folder of this name; None for a hub id."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    if revision is not None:
        raise ModelError(
            f"revision {revision} was asked for of {name}, a local folder, which has none; wanted a hub id, or no "
            "revision: leave pair.source.revision or pair.target.revision null, or give the folder of that revision"
        )
    return folder


@functools.cache
def commit(name: str, revision: str | None) -> str:
    """The commit of a revision, cached per process, so that weights, tokenizer and fingerprint belong to one commit."""
    try:
        return _config_on_the_hub(name, revision).parent.name
    except Exception as error:
        if revision is not None and (lacking := _lacks(name, revision, error)) is not None:
            raise lacking from error
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"{name}{at} is neither a local folder nor reachable on the Hugging Face hub; wanted one of the two: "
            "give a folder written by save_pretrained, or get the model first where there is a network: `hf auth "
            f"login` if it is gated, then `hf download {name}`"
        ) from error


def _lacks(name: str, revision: str, error: Exception) -> ModelError | None:
    """The error for a model that is there, on the hub or in its cache, but not at this revision; else None."""
    from huggingface_hub import constants
    from huggingface_hub.errors import RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            f"{name} has no revision {revision} on the Hugging Face hub; wanted a branch, tag or commit of it: change "
            "pair.source.revision or pair.target.revision"
        )
    refs = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs"
    known = sorted(str(path.relative_to(refs)) for path in refs.rglob("*") if path.is_file())
    if not known:
        return None
    return ModelError(
        f"{name} is in the cache of the Hugging Face hub, but not at revision {revision}, and the hub does not answer; "
        f"wanted a revision that is there ({', '.join(known)}): change pair.source.revision or pair.target.revision, "
        f"or get it first where there is a network: `hf download {name} --revision {revision}`"
    )


def read_config(name: str, revision: str | None = None) -> dict[str, Any]:
    """The content of config.json, of a folder or of a hub id at its commit.

    Raises:
        ModelError: neither a local folder nor reachable, or config.json is missing or damaged.
    """
    folder = _folder(name, revision)
    path = _config_on_the_hub(name, commit(name, revision)) if folder is None else folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}); wanted a readable config.json: save the model there again"
        ) from error
    return config


def _config_on_the_hub(name: str, revision: str | None) -> Path:
    """The path of config.json in the hub's cache, whose folder is named by the commit.

    It is fetched if the hub can be reached, and taken from the cache otherwise.
    """
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(name, "config.json", revision=revision))
