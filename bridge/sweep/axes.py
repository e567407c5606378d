"""The axes of a sweep: their values, which of them move together, and which combinations are left out."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bridge.config import quote_layer
from bridge.errors import BridgeError, ConfigError

# Override key -> its values, each as written after ``key=``; a fixed key has one value.
Axes = dict[str, list[str]]
# Keys that the sweeper reads itself; they are not part of a cell.
OWN_KEYS = ("sweep.zip", "sweep.exclude", "sweep.grids")


def n_grids(config: DictConfig) -> int:
    """The number of grids of a sweep: those of ``sweep.grids``, or else the one of ``hydra.sweeper.params``."""
    return len(config.sweep.grids) or 1


def grid(config: DictConfig, i: int) -> dict[str, Any]:
    """The axes of one grid, resolved: those of ``hydra.sweeper.params``, with those of ``sweep.grids[i]`` on top."""
    params = resolved(config.hydra.sweeper.params or OmegaConf.create({}))
    return params | resolved(config.sweep.grids[i]) if config.sweep.grids else params


def resolved(node: Any) -> Any:
    """A node of the config as plain lists and dicts.

    Raises:
        BridgeError: an interpolation such as ``${all_layers:}`` cannot be resolved.
    """
    try:
        return OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, BridgeError):
            cause = cause.__cause__ or cause.__context__
        raise cause or error from error


def parse(values: dict[str, Any], arguments: Sequence[str], context: HydraContext) -> Axes:
    """The values of every axis; the command line replaces values of the sweep file.

    Args:
        values: of each key: a text as on the command line (``"1,2"``), a list, or one value.
        arguments: the command line's overrides.
        context: Hydra's.

    Raises:
        ConfigError: an axis without values, or whose values are no list.
    """
    words = [quote_layer(f"{key}={_values(value)}") for key, value in values.items()]
    parser = OverridesParser.create(config_loader=context.config_loader)
    axes: Axes = {}
    for override in parser.parse_overrides([*words, *arguments]):
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            axes[key] = list(override.sweep_string_iterator())
        else:
            raise ConfigError(
                f"{override.input_line} is a range; wanted a list of values: give {key}=A,B,C or choice(...)"
            )
        if not axes[key]:
            raise ConfigError(
                f"{override.input_line} has no values; wanted at least one: give some, or leave the axis out"
            )
    return axes


def _values(value: Any) -> str:
    if not isinstance(value, list):
        return _word(value)
    # A text with a comma in it is one value of the list.
    return ",".join(
        f"'{v}'" if isinstance(v, str) and re.search(r"[,:\s]", v) and v[0] not in "'\"[{" else _word(v) for v in value
    )


def _word(value: Any) -> str:
    """A value of a YAML file, as it would be written on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_word, value))}]"
    return str(value)


def united(values: list[str], more: list[str]) -> list[str]:
    """The values of an axis, followed by those that only another pair or grid has."""
    return [*values, *(value for value in more if value not in values)]


def check_zipped(zipped: Sequence[Sequence[str]], axes: Axes) -> None:
    """Refuse a ``sweep.zip`` that is invalid for every grid.

    Raises:
        ConfigError: a group of fewer than two axes, an axis in two of them, or one that no grid has.
    """
    keys = [key for group in zipped for key in group]
    for group in zipped:
        if len(group) < 2:
            raise ConfigError(
                f"sweep.zip has the group [{', '.join(group)}]; wanted at least two axes in a group: name another"
            )
        if unknown := [key for key in group if key not in axes]:
            raise ConfigError(f"sweep.zip names {unknown[0]}; wanted axes of this sweep: name some of {_named(axes)}")
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"sweep.zip names {twice[0]} twice; wanted each axis in one group: leave one of them out")


def steps(axes: Axes, zipped: Sequence[Sequence[str]] = ()) -> list[list[tuple[str, ...]]]:
    """The independent axes, each as the overrides of its steps; axes that move together count as one.

    Raises:
        ConfigError: axes that move together have different numbers of values.

    Example:
        >>> steps({"seed": ["0"], "map": ["ridge", "cca"], "layer": ["4", "2"]}, [["map", "layer"]])
        [[('seed=0',)], [('map=ridge', 'layer=4'), ('map=cca', 'layer=2')]]
    """
    steps_of: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for axis in axes:
        group = next((tuple(keys) for keys in zipped if axis in keys), (axis,))
        # A grid in which none of them has several values has nothing to zip.
        together = group if any(len(axes.get(key, [])) > 1 for key in group) else (axis,)
        n = {key: len(axes.get(key, [])) for key in together}
        if len(set(n.values())) > 1:
            counts = ", ".join(f"{key} has {count}" for key, count in n.items())
            raise ConfigError(
                f"of axes that move together {counts} values; wanted as many of each: change one, or sweep.zip"
            )
        steps_of[together] = list(zip(*([f"{key}={value}" for value in axes[key]] for key in together), strict=True))
    return list(steps_of.values())


def product(choices: Iterable[Iterable[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """Every combination of steps, the last fastest."""
    return [tuple(itertools.chain(*parts)) for parts in itertools.product(*choices)]


class Exclusions:
    """The combinations that ``sweep.exclude`` leaves out.

    Args:
        entries: each a dict of axis -> value or list of values; a cell is left out if it matches all axes of an entry.
    """

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        self.entries = [
            {
                key: {_canonical(_word(v)) for v in (value if isinstance(value, list) else [value])}
                for key, value in e.items()
            }
            for e in entries
        ]
        self.n_matched = [0] * len(self.entries)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def keeps(self, overrides: Iterable[str]) -> bool:
        """Whether a combination is kept; counts the matches of each entry."""
        values = {key: _canonical(value) for key, _, value in (o.partition("=") for o in overrides)}
        matched = [all(values.get(key) in some for key, some in entry.items()) for entry in self.entries]
        self.n_matched = [n + m for n, m in zip(self.n_matched, matched, strict=True)]
        return not any(matched)

    def check(self, axes: Axes, replaced: Iterable[str] = ()) -> None:
        """Refuse an entry that matched nothing.

        Args:
            axes: of all grids.
            replaced: axes whose values the command line replaced; entries of the sweep file on them may match nothing.

        Raises:
            ConfigError: an entry that matched no combination.
        """
        for entry, n_matched in zip(self.entries, self.n_matched, strict=True):
            text = ", ".join(f"{key}={','.join(sorted(values))}" for key, values in entry.items())
            if unknown := [key for key in entry if key not in axes]:
                raise ConfigError(
                    f"sweep.exclude names {unknown[0]}; wanted axes of this sweep: name some of {_named(axes)}"
                )
            if not entry:
                raise ConfigError(
                    "sweep.exclude has an entry without axes, which every cell matches; wanted at least one axis: "
                    "name one, or leave the entry out"
                )
            if not n_matched and not entry.keys() & set(replaced):
                raise ConfigError(
                    f"sweep.exclude leaves out {text}, which no cell has; wanted values that are swept: change the "
                    "entry, or leave it out"
                )


def _canonical(text: str) -> str:
    """A canonical text of a value, whether quoted or not, written as 1e-3 or as 0.001."""
    bare = text.strip("'\"")
    for kind in (int, float):
        try:
            return str(kind(bare))
        except ValueError:
            continue
    return bare


def _named(axes: Axes) -> str:
    return ", ".join(key for key, values in axes.items() if len(values) > 1) or "none"
