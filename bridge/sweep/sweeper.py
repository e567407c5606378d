"""Between Hydra and a sweep: axes from the command line and the sweep file, cells to a launcher."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from bridge.config import to_plain, typed, warn_of_draws
from bridge.errors import BridgeError, ConfigError
from bridge.records import record
from bridge.records.manifest import Manifest, check_name, held, names, read
from bridge.sweep import inputs
from bridge.sweep.grid import adhoc_name, expand, make
from bridge.sweep.launcher import launch
from bridge.tracking.base import tracker_of

log = logging.getLogger("bridge")
# Axes that decide what the others are: each pair has its own layers.
OUTER = ("pair", "direction", "experiment")


@dataclass
class Launched:
    """What the sweeper did last in this process, for the command line to tell of.

    Attributes:
        manifest: of the sweep.
        packed: whether its cells ran in jobs, so that only the records tell what came out.
        waited: whether the jobs have ended.
        reused: run ids of the cells that had their record before.
    """

    manifest: Manifest
    packed: bool
    waited: bool = True
    reused: list[str] = field(default_factory=list)


LAUNCHED: list[Launched] = []


@dataclass(frozen=True)
class Asked:
    """What `bridge sweep` asks beyond what Hydra knows: whether only to say what would be done.

    `composed_from` is the key of what the cells are composed from.
    """

    composed_from: str = ""
    dry_run: bool = False


# Set while `bridge sweep` runs: Hydra makes the sweeper, so nothing can be handed to it.
ASKED: list[Asked] = []


def plan(config: DictConfig, context: HydraContext, arguments: Sequence[str]) -> tuple[Manifest, list[tuple[str, ...]]]:
    """Compose a grid.

    Args:
        config: Hydra's, of the whole multirun.
        context: Hydra's.
        arguments: the command line's overrides, swept or not.

    Returns:
        The manifest, and for each of its cells the overrides that a launcher needs.

    Raises:
        ConfigError, HydraException: the grid is empty, has a cell twice or is not the one that has its name.
    """
    axes = _axes(_params(config), arguments, context)
    outer = {key: axes[key] for key in axes if key.split(".")[0] in OUTER and len(axes[key]) > 1}

    def compose(overrides: Sequence[str]) -> DictConfig:
        return _without_hydra(config, context, overrides)

    combinations: list[tuple[str, ...]] = []
    configs: list[dict[str, Any]] = []
    # What is chosen for all cells, such as an experiment, may say what the axes are.
    told = _axes({}, arguments, context).items()
    fixed = [f"{key}={values[0]}" for key, values in told if len(values) == 1 and key not in outer]
    for chosen in _products(outer):
        here = context.config_loader.load_sweep_config(config, [*fixed, *chosen]) if outer else config
        inner = _axes(_params(here), [*arguments, *chosen], context)
        overrides, composed = expand(inner, compose)
        combinations += overrides
        configs += composed
        axes |= {key: _united(axes.get(key, []), inner[key]) for key in inner if key not in outer}
    warn_of_draws(configs)
    outputs = Path(config.paths.outputs)
    name = config.sweep.name or adhoc_name(configs)
    check_name(name)
    for plain in configs:
        plain["sweep"] = {"name": name}
    manifest = make(name, outputs, combinations, configs, axes, _asked().composed_from)
    return manifest, [(*overrides, f"sweep.name={name}") for overrides in combinations]


def _asked() -> Asked:
    return ASKED[-1] if ASKED else Asked()


def _register(manifest: Manifest) -> None:
    """Write the manifest, unless its name belongs to other cells."""
    with held(manifest.outputs, manifest.name):
        if manifest.name in names(manifest.outputs):
            old = read(manifest.outputs, manifest.name)
            gone = old.by_run_id.keys() - manifest.by_run_id.keys()
            if gone:
                new = len(manifest.by_run_id.keys() - old.by_run_id.keys())
                raise ConfigError(
                    f"another sweep is called {manifest.name!r} in {manifest.outputs}: {len(gone)} of its "
                    f"{len(old.cells)} cells are not in this one, which has {new} others; give this one a name of its "
                    f"own with sweep.name=..., or delete {old.folder}"
                )
            if old.run_ids == manifest.run_ids:
                manifest.inputs = old.inputs
        manifest.write()


def _params(config: DictConfig) -> dict[str, Any]:
    """The axes of the sweep file, resolved."""
    try:
        return OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}), resolve=True)  # type: ignore
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, BridgeError):
            raise error.__cause__ from error
        raise


def _axes(params: dict[str, Any], arguments: Sequence[str], context: HydraContext) -> dict[str, list[str]]:
    """Override key -> values; what the command line says replaces what the sweep file says."""
    words = [f"{key}={value}" for key, value in params.items()]
    parser = OverridesParser.create(config_loader=context.config_loader)
    axes: dict[str, list[str]] = {}
    for override in parser.parse_overrides([*words, *arguments]):
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            axes[key] = list(override.sweep_string_iterator())
        else:
            raise ConfigError(f"{override.input_line} is no list of values; give them as {key}=A,B,C or choice(...)")
        if not axes[key]:
            raise ConfigError(f"{override.input_line} has no values; give at least one")
    return axes


def _united(values: list[str], more: list[str]) -> list[str]:
    """The values of an axis, with those that only another pair has."""
    return [*values, *(value for value in more if value not in values)]


def _products(outer: dict[str, list[str]]) -> list[list[str]]:
    chosen: list[list[str]] = [[]]
    for key, values in outer.items():
        chosen = [[*words, f"{key}={value}"] for words in chosen for value in values]
    return chosen


def sweep(
    config: DictConfig, context: HydraContext, launcher: Any, arguments: Sequence[str], max_batch_size: int | None
) -> list[Sequence[JobReturn]]:
    """Run a grid on whichever launcher is configured: packed into jobs, or cell by cell.

    Returns:
        Hydra's returns, batch by batch; none of a packed launcher, whose cells leave records alone.
    """
    manifest, overrides = plan(config, context, arguments)
    packed = type(launcher).__name__ == "PackedLauncher"
    if _asked().dry_run:
        from bridge.sweep.dry_run import print_dry_run

        name = config.hydra.runtime.choices["hydra/launcher"]
        print_dry_run(manifest, todo(manifest), launcher.params if packed else None, name)
        return []
    _register(manifest)
    LAUNCHED.append(Launched(manifest, packed))
    if packed:
        LAUNCHED[-1].waited = launch(manifest, todo(manifest), launcher.params)
        if LAUNCHED[-1].waited:
            inputs.note(manifest)
        return []
    in_jobs = "submitit" in type(launcher).__module__
    # To compose a cell once more takes Hydra longer than to read its record back.
    wanted = set(todo(manifest))
    LAUNCHED[-1].packed = in_jobs
    LAUNCHED[-1].reused = [r for r in manifest.run_ids if r not in wanted]
    if LAUNCHED[-1].reused:
        log.info("%d of %d cells have their record already", len(LAUNCHED[-1].reused), len(manifest.cells))
    batch = [o for cell, o in zip(manifest.cells, overrides, strict=True) if cell.run_id in wanted]
    tracker = tracker_of(manifest.settings)
    tracker.ensure(manifest)
    returns = []
    size = max_batch_size or len(batch) or 1
    for start in range(0, len(batch), size):
        try:
            returns.append(launcher.launch(batch[start : start + size], initial_job_idx=start))
            for result in returns[-1]:
                # Raises what the job raised.
                _ = result.return_value
        except Exception as error:
            if not in_jobs:
                raise
            # A job that was killed hides the results of the others from its launcher; the records tell them all.
            log.warning("a job ended without a result: %s", str(error).strip().splitlines()[0])
    tracker.finish(manifest)
    inputs.note(manifest)
    return returns


def todo(manifest: Manifest) -> list[str]:
    """Run ids of the cells without a finished record of today's inputs; all of them with recompute=true."""
    if manifest.settings["recompute"]:
        return manifest.run_ids
    undone = {r for r in manifest.run_ids if (record.head(manifest.outputs, r) or {}).get("status") != "done"}
    if len(undone) < len(manifest.cells):
        undone |= set(inputs.changed(manifest))
    return [r for r in manifest.run_ids if r in undone]


def launch_overrides(
    config: DictConfig, context: HydraContext, params: dict[str, Any], job_overrides: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """Pack cells that another sweeper chose into jobs.

    Returns:
        One return for each cell, without a value: scores are in the records.
    """
    configs = [to_plain(typed(_without_hydra(config, context, overrides))) for overrides in job_overrides]
    outputs = Path(config.paths.outputs)
    name = config.sweep.name or adhoc_name(configs)
    check_name(name)
    for plain in configs:
        plain["sweep"] = {"name": name}
    axes: dict[str, list[str]] = {}
    for overrides in job_overrides:
        for key, _, value in (o.partition("=") for o in overrides):
            axes[key] = list(dict.fromkeys([*axes.get(key, []), value]))
    manifest = make(name, outputs, [tuple(o) for o in job_overrides], configs, axes)
    _register(manifest)
    LAUNCHED.append(Launched(manifest, packed=True))
    LAUNCHED[-1].waited = launch(manifest, todo(manifest), params)
    return [_finished(overrides) for overrides in job_overrides]


def _finished(overrides: Sequence[str]) -> JobReturn:
    done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    done.return_value = None
    return done


def _without_hydra(config: DictConfig, context: HydraContext, overrides: Sequence[str]) -> DictConfig:
    """The config of one cell as Hydra composes it, without Hydra's own node."""
    composed = context.config_loader.load_sweep_config(config, list(overrides))
    with flag_override(composed, ["struct", "readonly"], False):
        del composed["hydra"]
    return composed
