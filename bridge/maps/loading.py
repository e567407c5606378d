"""Fitted maps read back from disk."""

from collections.abc import Mapping
from pathlib import Path

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.identity import IdentityMap
from bridge.maps.registry import map_class
from bridge.maps.stored import Scalar, read_map


def load_map(folder: str | Path, about: Mapping[str, Scalar] | None = None) -> Map:
    """Read a map that `Map.save` wrote; it transforms bit for bit as the one that was saved.

    Args:
        folder: the folder given to `Map.save`.
        about: what the map must have been fitted for; every key must exist and agree.

    Returns:
        A fitted map on the CPU; `about_` holds what was saved with it.

    Raises:
        FitError: no map in the folder, a damaged or foreign file, a newer format, or a map fitted for something else.

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
    described, tensors = read_map(folder, about or {})
    name = described["class"]
    try:
        kind = IdentityMap if name == IdentityMap.__name__ else map_class(name)
    except LookupError:
        raise FitError(f"the map in {folder} is a {name}; wanted a class of bridge.maps: update bridge") from None
    try:
        map_: Map = kind(**described["options"])
        map_._restore(tensors, described["facts"])
    except (KeyError, TypeError, ValueError) as error:
        raise FitError(
            f"the map in {folder} does not fit its class ({error}); wanted the options and tensors that its class "
            "stores: save it again"
        ) from None
    map_.about_ = described["about"]
    return map_
