"""Fitted maps on disk: tensors in safetensors, everything else in JSON, nothing that could run code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bridge.errors import FitError
from bridge.records.whole import write_whole

FORMAT = 1
TENSORS, FACTS = "map.safetensors", "map.json"
KEYS = ("format", "class", "options", "facts", "about", "sha256")
Scalar = str | int | float | bool | None


def write_map(
    folder: Path,
    class_name: str,
    options: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    about: Mapping[str, Scalar],
) -> None:
    """Write a fitted map; the tensors first, so that the JSON file never describes missing tensors.

    Args:
        folder: made if it does not exist.
        class_name: of the map.
        options: its constructor's arguments.
        tensors: its fitted tensors.
        facts: its other fitted attributes, as JSON values.
        about: what the map belongs to.

    Raises:
        FitError: an `about` that JSON cannot hold.
        RecordError: the disk is full or not writable.
    """
    for key, value in about.items():
        if not isinstance(value, str | int | float | bool | None):
            raise FitError(
                f"about[{key!r}] is a {type(value).__name__}; wanted text, a number, a truth value or None: convert it"
            )
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    described = {
        "format": FORMAT,
        "class": class_name,
        "options": dict(options),
        "facts": dict(facts),
        "about": dict(about),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_whole(folder / TENSORS, data)
    write_whole(folder / FACTS, (json.dumps(described, indent=1) + "\n").encode())


def read_map(folder: Path, about: Mapping[str, Scalar]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of map.json, and the tensors.

    Args:
        folder: that `write_map` wrote.
        about: what the map must have been fitted for; every key must exist and agree.

    Raises:
        FitError: no map in the folder, a damaged or foreign file, a newer format, or a map fitted for something else.
    """
    described, data = _read(folder)
    for key, wanted in about.items():
        if described["about"].get(key) != wanted:
            had = f"{key}={described['about'][key]}" if key in described["about"] else f"no {key}"
            raise FitError(
                f"the map in {folder} was fitted for {had}, got {key}={wanted}; "
                "wanted the same: load the map of this pair and layer, or fit one"
            )
    try:
        # a copy, so that its alignment in memory, which affects the last bit of products, is the usual one
        return described, {name: tensor.clone() for name, tensor in load(data).items()}
    except SafetensorError as error:
        raise FitError(
            f"{folder / TENSORS} cannot be read ({error}); wanted an undamaged file: save the map again"
        ) from None


def content_of(folder: Path) -> str:
    """A fingerprint of the map in a folder: the hash of map.json, which holds the checksums of the other files.

    Raises:
        FitError: no map in the folder.
    """
    try:
        return f"sha256:{hashlib.sha256((folder / FACTS).read_bytes()).hexdigest()}"
    except OSError as error:
        raise FitError(
            f"no map in {folder}, as {error.filename} cannot be read ({error.strerror}); wanted a saved map: name a "
            "folder that a cell with task.save_map=true left"
        ) from None


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    try:
        text, data = (folder / FACTS).read_bytes(), (folder / TENSORS).read_bytes()
    except OSError as error:
        raise FitError(
            f"no map in {folder}: {error.filename} cannot be read ({error.strerror}); "
            f"wanted {FACTS} and {TENSORS}: name a folder that Map.save wrote"
        ) from None
    try:
        described = json.loads(text)
    except ValueError:
        raise FitError(f"{folder / FACTS} is not JSON; wanted an undamaged file: save the map again") from None
    if not isinstance(described, dict) or not isinstance(described.get("format"), int):
        raise FitError(
            f"{folder / FACTS} does not describe a map; wanted a saved map: name a folder that Map.save wrote"
        )
    if described["format"] > FORMAT:
        raise FitError(
            f"the map in {folder} has format {described['format']}; wanted at most {FORMAT}, the newest that this "
            "bridge reads: update bridge, or save the map with this version"
        )
    if lacking := [key for key in KEYS if key not in described]:
        raise FitError(f"{folder / FACTS} lacks {', '.join(lacking)}; wanted an undamaged file: save the map again")
    if hashlib.sha256(data).hexdigest() != described["sha256"]:
        raise FitError(
            f"{folder / TENSORS} is not the file that was saved; wanted an undamaged one: save the map again"
        )
    return described, data


def kept(attributes: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split fitted attributes, whose names end in "_", into tensors and what goes into JSON."""
    fitted = {k: v for k, v in attributes.items() if k.endswith("_") and not k.startswith("_") and k != "about_"}
    tensors = {k: v for k, v in fitted.items() if isinstance(v, Tensor)}
    return tensors, {k: v for k, v in fitted.items() if k not in tensors}
