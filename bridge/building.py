"""Builds the objects that nodes of the config name in ``_target_``."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, TypeVar

from bridge.errors import ConfigError

T = TypeVar("T")
# What an error advises where a class is not one of bridge.
CHOOSE = "choose it by a group option, such as map=ridge"


def build(node: Any, **more: Any) -> Any:
    """Build the object that a config node names in ``_target_``.

    Args:
        node: a config dataclass with ``_target_``; those of its fields that the class takes are passed on.
        more: further arguments.

    Raises:
        ConfigError: ``_target_`` lies outside ``bridge.``, or is no class there.
    """
    return make(_class(node._target_), node, **more)


def built(plain: Mapping[str, Any]) -> Any:
    """As `build`, from a config node that `to_plain` made plain.

    Raises:
        ConfigError: as `build`.
    """
    kind = _class(plain["_target_"])
    takes = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in plain.items() if name in takes})


def _class(target: str) -> Any:
    if not target.startswith("bridge."):
        raise ConfigError(f"_target_={target} lies outside bridge.; wanted a class of bridge: {CHOOSE}")
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"_target_={target} is not a class of bridge ({error}); wanted one: {CHOOSE}") from error


def make(kind: Callable[..., T], node: Any, **more: Any) -> T:
    """An object of a class, from those fields of a config node that the class takes."""
    takes = inspect.signature(kind).parameters
    values = {f.name: getattr(node, f.name) for f in fields(node) if f.name in takes}
    return kind(**{k: v.value if isinstance(v, Enum) else v for k, v in values.items()}, **more)
