"""From axes to cells: the configs of all combinations, as Hydra would compose them, but not one by one.

A composition takes Hydra tens of milliseconds. Axes that change different parts of the config need one composition
for each value rather than for each combination; a random sample of combinations is composed by Hydra and compared.
"""

import hashlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from bridge.config import from_plain, settled, to_plain, typed, uses
from bridge.errors import BridgeError, ConfigError
from bridge.records import record
from bridge.records.manifest import Cell, Manifest
from bridge.sweep.axes import Axes, Exclusions, steps
from bridge.tasks import registry

Compose = Callable[[Sequence[str]], DictConfig]
# The overrides of one step of an axis, or of axes that move together.
Step = tuple[str, ...]
# How many combinations are also composed by Hydra, to check that composing axis by axis gave the same.
N_CHECKED = 3
WHOLE = re.compile(r"\$\{([a-z_.]+)\}")
# Config keys that do not distinguish cells.
SETTINGS = record.NOT_IN_RUN_ID


def expand(
    axes: Axes, compose: Compose, zipped: Sequence[Sequence[str]] = (), excluded: Exclusions | None = None
) -> tuple[list[tuple[str, ...]], list[dict[str, Any]]]:
    """Every combination of the values of `axes` with its plain resolved config.

    Args:
        axes: override key -> values, each as written after ``key=``; a fixed key has one value.
        compose: overrides -> config without the node `hydra`, not resolved.
        zipped: groups of axes that move together.
        excluded: the combinations that are left out.

    Returns:
        The overrides of each combination, the last axis fastest, and the configs in the same order.

    Raises:
        ConfigError, HydraException: a value that does not exist or makes no sense.
    """
    choices = steps(axes, zipped)
    chosen = [c for c in itertools.product(*choices) if not excluded or excluded.keeps(_flat(c))]
    combinations = [_flat(c) for c in chosen]
    n_apart = 1 + sum(len(values) - 1 for values in choices)
    configs = None
    if n_apart + N_CHECKED < len(combinations):
        try:
            configs = _apart(choices, chosen, compose)
        except (BridgeError, HydraException, OmegaConfBaseException):
            # One of the composed combinations may be invalid, and left out for that reason.
            if not excluded:
                raise
    if configs is None:
        bar = tqdm(combinations, desc="composing the cells", delay=2.0, leave=False, disable=None)
        configs = [to_plain(typed(compose(overrides))) for overrides in bar]
    return combinations, configs


def _flat(chosen: Iterable[Step]) -> Step:
    return tuple(itertools.chain.from_iterable(chosen))


def _apart(
    choices: list[list[Step]], combinations: list[tuple[Step, ...]], compose: Compose
) -> list[dict[str, Any]] | None:
    """The configs, assembled from one composition for each value; None if two axes change the same key."""
    first = [values[0] for values in choices]
    base = _leaves(compose(_flat(first)))
    changes: dict[Step, dict[str, Any]] = {step: {} for step in first}
    touched: list[set[str]] = []
    n = sum(len(values) - 1 for values in choices)
    with tqdm(total=n, desc="composing the axes", delay=2.0, leave=False, disable=None) as bar:
        for i, values in enumerate(choices):
            touched.append(set())
            for step in values[1:]:
                composed = compose(_flat([*first[:i], step, *first[i + 1 :]]))
                typed(composed)
                own = _leaves(composed)
                # None: this value removes the key. Otherwise the new value is in a list of one element.
                gone = dict.fromkeys(base.keys() - own.keys())
                changes[step] = gone | {k: [v] for k, v in own.items() if not _same(base.get(k, changes), v)}
                touched[i] |= changes[step].keys()
                bar.update()
    if any(a & b for a, b in itertools.combinations(touched, 2)):
        return None
    configs = []
    for chosen in tqdm(combinations, desc="putting the cells together", delay=2.0, leave=False, disable=None):
        leaves = dict(base)
        for step in chosen:
            for key, value in changes[step].items():
                if value is None:
                    leaves.pop(key, None)
                else:
                    leaves[key] = value[0]
        configs.append(_resolved(leaves))
    for i in random.Random(0).sample(range(len(combinations)), N_CHECKED):
        if configs[i] != to_plain(typed(compose(_flat(combinations[i])))):
            return None
    return configs


def _same(a: Any, b: Any) -> bool:
    """Whether two values are written the same way: layer 1 and layer 1.0 are not."""
    return type(a) is type(b) and bool(a == b)


def _leaves(config: DictConfig) -> dict[str, Any]:
    """Dotted key -> value as written, with interpolations unresolved; empty dicts are leaves."""
    leaves: dict[str, Any] = {}

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                walk(value, f"{prefix}{key}.")
            else:
                leaves[f"{prefix}{key}"] = value

    walk(OmegaConf.to_container(config, resolve=False, enum_to_str=True), "")
    return leaves


def _resolved(leaves: dict[str, Any]) -> dict[str, Any]:
    # An interpolation that is a single key is resolved here, because OmegaConf needs milliseconds for each config.
    for key, value in leaves.items():
        while isinstance(value, str) and (match := WHOLE.fullmatch(value)) and match[1] in leaves:
            value = leaves[key] = leaves[match[1]]
    tree: dict[str, Any] = {}
    for key, value in leaves.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    if any(isinstance(value, str) and "${" in value for value in leaves.values()):
        tree = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)  # type: ignore[assignment]
    return to_plain(settled(from_plain(tree)))


def make(
    name: str,
    outputs: Path,
    combinations: Sequence[tuple[str, ...]],
    configs: Sequence[dict[str, Any]],
    axes: Axes,
    composed_from: str = "",
) -> Manifest:
    """The manifest of composed cells.

    Raises:
        ConfigError: two combinations are one and the same cell.
    """
    run_ids = [registry.run_id(config) for config in configs]
    seen: dict[str, int] = {}
    # A key with one value distinguishes cells too, if only some of them are given it.
    n_given = Counter(o.partition("=")[0] for c in combinations for o in c)
    swept = {key for key, values in axes.items() if len(values) > 1 or n_given[key] < len(combinations)}
    # Hydra requires numbers to be quoted if they are options of a group.
    words = [tuple(o.replace("'", "") for o in c if o.partition("=")[0] in swept) for c in combinations]
    for i, run_id in enumerate(run_ids):
        if run_id in seen:
            raise _same_cell(words[seen[run_id]], words[i], configs[seen[run_id]], configs[i])
        seen[run_id] = i
    base = {k: v for k, v in configs[0].items() if k not in SETTINGS}
    settings = {k: v for k, v in configs[0].items() if k in SETTINGS}
    cells = tuple(
        Cell(run_id, overrides, dict(_difference(base, {k: v for k, v in config.items() if k not in SETTINGS})))
        for run_id, overrides, config in zip(run_ids, words, configs, strict=True)
    )
    swept_axes = {key: values for key, values in axes.items() if key in swept}
    return Manifest(name, outputs, base, cells, swept_axes, settings, composed_from)


def _same_cell(one: Sequence[str], other: Sequence[str], first: dict[str, Any], second: dict[str, Any]) -> ConfigError:
    """The error for two combinations that give the same cell."""
    texts = [" ".join(o) or "(nothing)" for o in (one, other)]
    if texts[0] == texts[1]:
        return ConfigError(
            f"the grid has the cell {texts[0]} twice; wanted each once: leave out the value that is given twice"
        )
    task = registry.get(first["task"]["name"])
    if {k: v for k, v in first.items() if k not in SETTINGS} != {k: v for k, v in second.items() if k not in SETTINGS}:
        keys = ", ".join(dict.fromkeys(o.partition("=")[0] for o in one if o not in other))
        return ConfigError(
            f"the grid sweeps over {keys}, which has no effect in task={task.name} ({uses(task)}); wanted axes with an "
            "effect: leave it out, or give each task a grid of its own (sweep.grids)"
        )
    return ConfigError(
        f"the grid has one cell twice, as {texts[0]} and as {texts[1]}; wanted each once: leave one of them out"
    )


def _difference(base: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys of `other` that differ from `base`; a dict with other keys counts as a whole."""
    for key, value in other.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.keys() == old.keys():
            yield from _difference(old, value, f"{prefix}{key}.")
        elif not _same(old, value):
            yield f"{prefix}{key}", value


def adhoc_name(configs: Iterable[dict[str, Any]]) -> str:
    """The name of a grid without a given name, derived from its cells."""
    text = "".join(sorted(registry.run_id(config) for config in configs))
    return f"multirun_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
