"""What is fitted from the source's states to the target's.

The options of a map are the arguments of its class. Their dataclasses are generated here from the source files of the
maps (`bridge.maps.registry`), without loading torch.
"""

import ast
from dataclasses import dataclass, field, fields, make_dataclass
from enum import Enum
from typing import Any

from omegaconf import II, MISSING

from bridge.errors import ConfigError
from bridge.maps.registry import Described, maps
from bridge.schema.training import TrainingConfig

SIMPLE: dict[str, type] = {"bool": bool, "float": float, "int": int, "str": str}


@dataclass
class MapConfig:
    """What is fitted from the source's states to the target's."""

    _target_: str = MISSING
    name: str = MISSING
    training: TrainingConfig = field(default_factory=TrainingConfig)


def config_of(map_: Described) -> type[MapConfig]:
    """The configuration of a map: a field for each argument of its class; an argument named seed is the run's seed.

    Raises:
        ConfigError: an argument of a type that a configuration cannot hold, or a default that is no constant.
    """
    own: list[tuple[str, Any, Any]] = [("_target_", str, map_.target), ("name", str, map_.name)]
    for name, (annotation, default) in map_.arguments.items():
        kind = _kind(map_, name, annotation)
        value = MISSING if default is None else _constant(map_, name, default)
        if isinstance(kind, type) and issubclass(kind, Enum) and value != MISSING:
            value = kind(value)
        own.append((name, kind, II("seed") if name == "seed" else value))
    schema = make_dataclass(f"{map_.class_name}Config", own, bases=(MapConfig,), namespace={"__doc__": map_.says})
    schema.__module__ = __name__
    return schema


def _kind(map_: Described, name: str, annotation: ast.expr | None) -> Any:
    """The type that an annotation names; a Literal of texts is an enumeration of them."""
    match annotation:
        case ast.Name(id) if id in SIMPLE:
            return SIMPLE[id]
        case ast.BinOp(left, ast.BitOr(), ast.Constant(None)):
            return _kind(map_, name, left) | None
        case ast.Subscript(ast.Name("Literal"), ast.Tuple() as texts):
            values = [_constant(map_, name, text) for text in texts.elts]
            title = f"{map_.class_name}{name.title().replace('_', '')}"
            return Enum(title, {value: value for value in values}, module=__name__)
    got = "nothing" if annotation is None else ast.unparse(annotation)
    raise ConfigError(
        f"{map_.target}: argument {name} is annotated {got}; wanted bool, float, int, str, one of them or None, or a "
        "Literal of texts: a map's arguments are its options"
    )


def _constant(map_: Described, name: str, value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise ConfigError(
            f"{map_.target}: the default of argument {name} is {ast.unparse(value)}; wanted a constant: write one, "
            "as a map's arguments are its options"
        ) from None


MAPS: dict[str, type[MapConfig]] = {name: config_of(map_) for name, map_ in maps().items()}


def __getattr__(name: str) -> Any:
    """The generated classes by name, for pickle."""
    for config in MAPS.values():
        for kind in (config, *(f.type for f in fields(config))):
            if isinstance(kind, type) and kind.__module__ == __name__ and kind.__name__ == name:
                return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
