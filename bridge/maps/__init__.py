"""Maps from source states to target states: fit on rows X and Y, then transform new rows of X.

Every map can be imported from here by its class name; its file is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bridge.maps.registry import maps

if TYPE_CHECKING:
    from bridge.maps.adapter import Adapter
    from bridge.maps.base import Map
    from bridge.maps.identity import IdentityMap
    from bridge.maps.loading import load_map
    from bridge.maps.moments import Moments
    from bridge.maps.stream import fit_stream

__all__ = ["Adapter", "IdentityMap", "Map", "Moments", "fit_stream", "load_map"]
# Exported names whose module cannot be derived from the name.
_ELSEWHERE = {
    "Adapter": "adapter",
    "IdentityMap": "identity",
    "Map": "base",
    "Moments": "moments",
    "fit_stream": "stream",
    "load_map": "loading",
}


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _ELSEWHERE.get(name) or next((m.name for m in maps().values() if m.class_name == name), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*_ELSEWHERE, *(m.class_name for m in maps().values())])
