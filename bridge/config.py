"""The resolved config as dataclasses, and the run id.

Below this module code sees dataclasses, never a DictConfig.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING, DictConfig, OmegaConf

from bridge.composer import Composer
from bridge.errors import ConfigError, layer_out_of_range
from bridge.schema import (
    SCHEMAS,
    BridgeConfig,
    Direction,
    SplitBy,
    TaskConfig,
    Wordings,
    ZooConfig,
    register,
    register_layer,
)
from bridge.statistics.levels import ALPHA, ENOUGH_DRAWS, draws_needed, least_p
from bridge.tasks import registry
from bridge.tasks.base import Task

# In control.names: every control that the task has.
ALL = "all"
log = logging.getLogger("bridge")
TARGETS = {node._target_: node for _, _, node in SCHEMAS if hasattr(node, "_target_")}


def conf_dir() -> Path:
    """The folder of YAML files: inside an installed wheel, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def compose_config(*overrides: str) -> BridgeConfig:
    """Compose a config without a command line, as ``bridge`` does with the same words.

    Args:
        overrides: Hydra overrides such as ``"injection=late_layer"`` or ``"dataset.size=100"``.

    Returns:
        The typed config.

    Raises:
        hydra.errors.HydraException: an unknown key or option.

    Example:
        >>> compose_config("layer=2", "injection=late_layer").layer.source
        2
    """
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        compose = Composer(GlobalHydra.instance().config_loader(), "config")
        return typed(compose([quote_layer(o) for o in overrides]))


def quote_layer(override: str) -> str:
    """Quote the numbers of a ``layer=8,16`` override: Hydra takes only strings as options of a group.

    Numbers and fractions that are not registered as options yet are registered.

    Example:
        >>> quote_layer("layer=8,0.41"), quote_layer("layer.source=2"), quote_layer("layer=mid")
        ("layer='8','0.41'", 'layer.source=2', 'layer=mid')
    """
    key, equals, value = override.partition("=")
    if key != "layer" or not equals:
        return override
    numbers = {v for v in value.split(",") if re.fullmatch(r"-?\d+|\d*\.\d+", v)}
    for number in numbers:
        register_layer(number)
    return f"layer={','.join(repr(v) if v in numbers else v for v in value.split(','))}"


def resolve_layer(layer: int | float | str, n_blocks: int, model: str) -> int:
    """A layer in 0..N from a number, -1, a fraction of the depth, or 'final'.

    Args:
        layer: what the config says.
        n_blocks: N.
        model: named in the error.

    Raises:
        ConfigError: the layer is none of these, or `model` has fewer blocks.

    Example:
        >>> [resolve_layer(layer, 32, "llama") for layer in (8, -1, 0.5, "0.25", "final")]
        [8, 32, 16, 8, 32]
    """
    if isinstance(layer, str):
        if layer == "final":
            return n_blocks
        try:
            layer = float(layer) if "." in layer else int(layer)
        except ValueError:
            raise ConfigError(
                f"layer {layer!r} is not a layer; wanted a number from 0 to {n_blocks}, -1, a fraction such as 0.5, "
                "or final: change it"
            ) from None
    number = round(layer * n_blocks) if isinstance(layer, float) and 0 < layer < 1 else layer
    number = n_blocks if number == -1 else number
    if number != int(number) or not 0 <= number <= n_blocks:
        raise layer_out_of_range(layer, model, n_blocks)
    return int(number)


def typed(config: DictConfig) -> BridgeConfig:
    """The resolved config as dataclasses.

    Raises:
        ConfigError: a value is missing (``pair.source.name`` of ``pair=custom``) or out of range.
    """
    missing = sorted(_missing(OmegaConf.to_container(config, resolve=False)))
    if missing:
        raise ConfigError(f"no value for {', '.join(missing)}; wanted one: add {missing[0]}=... to the command line")
    result: BridgeConfig = OmegaConf.to_object(config)  # type: ignore[assignment]
    task = registry.get(result.task.name)
    unknown = sorted({*result.control.names} - {*task.conditions.chosen, ALL})
    if unknown and "control" in task.uses:
        chosen = ", ".join(task.conditions.chosen)
        raise ConfigError(f"unknown control {', '.join(unknown)}; wanted some of {chosen}: change control.names")
    if result.batch_size < 1:
        raise ConfigError(f"batch_size={result.batch_size} is too small; wanted at least 1: change it")
    if getattr(result.dataset, "wordings", None) is Wordings.all and result.dataset.split.by is SplitBy.item:
        raise ConfigError(
            "dataset.wordings=all asks each fact several times, and dataset.split.by=item can put one on both sides; "
            "wanted a split that keeps all wordings of a fact together: give dataset.split.by=subject"
        )
    if not 0 < result.dataset.split.eval_fraction < 1:
        given = f"dataset.split.eval_fraction={result.dataset.split.eval_fraction}"
        raise ConfigError(f"{given} is out of range; wanted a number between 0 and 1: change it")
    return settled(result)


def _missing(node: Any, key: str = "") -> list[str]:
    """The keys without a value; keys that follow such a key by an interpolation are not among them."""
    if isinstance(node, dict):
        return [found for name, inner in node.items() for found in _missing(inner, f"{key}.{name}".lstrip("."))]
    return [key] if node == MISSING else []


def settled(config: BridgeConfig) -> BridgeConfig:
    """The config with every choice made: the list of controls, the number of draws, and the pair's direction.

    ``direction=reverse`` exchanges source and target, which makes another pair. ``control.n_draws=auto`` is one draw
    more than p <= 0.05 needs. A family of many cells needs no more draws than one cell, because it is tested draw by
    draw.

    Raises:
        ConfigError: the number of draws is neither auto nor at least 1.
    """
    task = registry.get(config.task.name)
    if "control" in task.uses and ALL in config.control.names:
        config.control.names = list(task.conditions.chosen)
    n_draws = config.control.n_draws
    if n_draws == "auto":
        config.control.n_draws = ENOUGH_DRAWS
    elif not isinstance(n_draws, int) or isinstance(n_draws, bool) or n_draws < 1:
        raise ConfigError(f"control.n_draws={n_draws} is no number of draws; wanted auto or at least 1: change it")
    if config.direction is Direction.reverse:
        pair = config.pair
        pair.source, pair.target, pair.name = pair.target, pair.source, f"{pair.name}_reverse"
        config.direction = Direction.forward
    return config


def too_few_draws(n_draws: int, ranked: Sequence[str]) -> str | None:
    """The warning for a number of draws whose ranks cannot reach the level of a verdict; None where they can.

    Example:
        >>> too_few_draws(5, ["random"])
        'control.n_draws=5: a rank among 5 draws has p of at least 0.17, so nothing can be found above random; \
give control.n_draws=19 or more, or auto'
    """
    if not ranked or least_p(n_draws) <= ALPHA:
        return None
    return (
        f"control.n_draws={n_draws}: a rank among {n_draws} draws has p of at least {least_p(n_draws):.2f}, so nothing "
        f"can be found above {', '.join(ranked)}; give control.n_draws={draws_needed(ALPHA)} or more, or auto"
    )


def warn_of_draws(configs: Iterable[dict[str, Any]]) -> None:
    """Warn before a run where a control has too few draws for any verdict; once for each number of draws."""
    ranked: dict[int, dict[str, None]] = {}
    for config in configs:
        task, control = registry.get(config["task"]["name"]), config["control"]
        if "control" in task.uses:
            names = [name for name in control["names"] if task.conditions[name].ranked]
            ranked.setdefault(control["n_draws"], {}).update(dict.fromkeys(names))
    for n_draws, some in ranked.items():
        if warning := too_few_draws(n_draws, list(some)):
            log.warning(warning)


def without_effect(config: BridgeConfig, overrides: Sequence[str]) -> list[str]:
    """One line for each override that has no effect in the task."""
    task = registry.get(config.task.name)
    lines = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        part = [used for used in task.uses if used.startswith(f"{key}.")]
        if task.ignores(key):
            lines.append(f"{key} has no effect in task={task.name}; {uses(task)}")
        elif part:
            lines.append(f"{key}={value} has no effect in task={task.name} but by {', '.join(part)}; {uses(task)}")
    return lines


def uses(task: Task) -> str:
    """The config groups that a task uses, in a sentence."""
    return f"it uses {', '.join(task.uses) or 'no group but task'}"


def to_plain(config: BridgeConfig) -> dict[str, Any]:
    """The config as plain dicts, lists, strings and numbers, as records and trackers store it."""
    return _plain(config)


def _plain(node: Any) -> Any:
    if isinstance(node, Enum):
        return node.name
    if is_dataclass(node):
        return {f.name: _plain(getattr(node, f.name)) for f in fields(node)}
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list | tuple) else node


def from_plain(plain: dict[str, Any]) -> BridgeConfig:
    """The inverse of `to_plain`; nothing is checked again.

    Example:
        >>> config = compose_config("injection=late_layer")
        >>> from_plain(to_plain(config)) == config
        True
    """
    config: BridgeConfig = _typed_node(BridgeConfig, plain)
    return config


_hints = cache(get_type_hints)


def _typed_node(kind: Any, value: Any) -> Any:
    kinds = [k for k in get_args(kind) or (kind,) if k is not type(None)]
    if value is None or len(kinds) != 1:
        return value
    (kind,) = kinds
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[value]
    if not is_dataclass(kind):
        return value
    if kind is TaskConfig:
        kind = registry.get(value["name"]).config
    elif kind is ZooConfig:
        kind = next(k for k in ZooConfig.__subclasses__() if {f.name for f in fields(k)} == value.keys())
    else:
        kind = TARGETS.get(value.get("_target_"), kind)
    hints = _hints(kind)
    return kind(**{name: _typed_node(hints[name], inner) for name, inner in value.items()})


def run_id(config: BridgeConfig) -> str:
    """Sixteen hex digits of the hash of everything in `config` that can change a result."""
    return registry.run_id(to_plain(config))
