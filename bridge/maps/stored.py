"""Fitted maps on disk: tensors in safetensors, everything else in JSON, nothing that could run code."""

import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bridge.errors import FitError

if TYPE_CHECKING:
    from bridge.maps.base import Map

FORMAT = 1
TENSORS, FACTS = "map.safetensors", "map.json"
KEYS = ("format", "class", "options", "facts", "about", "sha256")
Scalar = str | int | float | bool | None


def options_of(map_: "Map") -> dict[str, Any]:
    """Return the constructor's arguments by name; constructors only store, so that each is an attribute."""
    return {name: getattr(map_, name) for name in inspect.signature(type(map_)).parameters}


def write_map(map_: "Map", folder: Path, about: Mapping[str, Scalar]) -> None:
    """Write a fitted map; the tensors first, so that the JSON file never describes what is not there yet."""
    for key, value in about.items():
        if not isinstance(value, str | int | float | bool | None):
            raise FitError(
                f"about[{key!r}] is a {type(value).__name__}; wanted text, a number, a truth value or None: convert it"
            )
    tensors, facts = map_._state()
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    described = {
        "format": FORMAT,
        "class": type(map_).__name__,
        "options": options_of(map_),
        "facts": facts,
        "about": dict(about),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / TENSORS, data)
    replace(folder / FACTS, (json.dumps(described, indent=1) + "\n").encode())


def load_map(folder: str | Path, about: Mapping[str, Scalar] | None = None) -> "Map":
    """Read a map that `Map.save` wrote; it transforms bit for bit as the one that was saved.

    Args:
        folder: the folder given to `Map.save`.
        about: what the map must have been fitted for; every key must be there and agree.

    Returns:
        A fitted map on the CPU; `about_` holds what was saved with it.

    Raises:
        FitError: no map there, a damaged or foreign file, a newer format, or a map fitted for something else.

    Example:
        >>> import tempfile, torch
        >>> from bridge.maps import Linear
        >>> X = torch.eye(2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Linear().fit(X, 2 * X).save(folder, about={"source": "a"})
        ...     load_map(folder, about={"source": "a"}).transform(X).tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    folder = Path(folder)
    described, data = _read(folder)
    for key, wanted in (about or {}).items():
        if described["about"].get(key) != wanted:
            had = f"{key}={described['about'][key]}" if key in described["about"] else f"no {key}"
            raise FitError(
                f"the map in {folder} was fitted for {had}, got {key}={wanted}; "
                "wanted the same: load the map of this pair and layer, or fit one"
            )
    map_class = _class(described["class"], folder)
    try:
        map_ = map_class(**described["options"])
        # a copy, so that alignment in memory, and with it the last bit, is that of any other tensor
        tensors = {name: tensor.clone() for name, tensor in load(data).items()}
        map_._restore(tensors, described["facts"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FitError(f"the map in {folder} does not fit its class ({error}); save it again") from None
    map_.about_ = described["about"]
    return map_


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
        raise FitError(f"{folder / FACTS} is not JSON; it is damaged: save the map again") from None
    if not isinstance(described, dict) or not isinstance(described.get("format"), int):
        raise FitError(f"{folder / FACTS} does not describe a map; wanted a folder that Map.save wrote")
    if described["format"] > FORMAT:
        raise FitError(
            f"the map in {folder} has format {described['format']}, newer than {FORMAT}, the newest known; "
            "update bridge, or save the map with this version"
        )
    if lacking := [key for key in KEYS if key not in described]:
        raise FitError(f"{folder / FACTS} lacks {', '.join(lacking)}; it is damaged: save the map again")
    if hashlib.sha256(data).hexdigest() != described["sha256"]:
        raise FitError(f"{folder / TENSORS} is not the file that was saved; it is damaged: save the map again")
    return described, data


def _class(name: Any, folder: Path) -> "type[Map]":
    import bridge.maps
    from bridge.maps.base import Map

    found = getattr(bridge.maps, str(name), None) if name in bridge.maps.__all__ else None
    if not (inspect.isclass(found) and issubclass(found, Map)):
        raise FitError(f"the map in {folder} is a {name}; wanted a class that bridge.maps exports: update bridge")
    return found


def replace(path: Path, data: bytes) -> None:
    """Write beside the file and rename, so that a reader sees the old file or the new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def kept(attributes: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split fitted attributes, whose names end in "_", into tensors and what goes into JSON."""
    fitted = {k: v for k, v in attributes.items() if k.endswith("_") and not k.startswith("_") and k != "about_"}
    tensors = {k: v for k, v in fitted.items() if isinstance(v, Tensor)}
    return tensors, {k: v for k, v in fitted.items() if k not in tensors}
