"""The sweeper: turns axes of the command line and the sweep file into cells, and hands them to a launcher."""

import logging
from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, flag_override

from bridge.composer import Composer
from bridge.config import to_plain, typed, warn_of_draws
from bridge.errors import ConfigError
from bridge.records import record
from bridge.records.manifest import Manifest, check_name, held, names, read
from bridge.sweep import fail_fast, inputs
from bridge.sweep.attempts import errors
from bridge.sweep.axes import (
    OWN_KEYS,
    Axes,
    Exclusions,
    check_zipped,
    grid,
    n_grids,
    parse,
    product,
    resolved,
    steps,
    united,
)
from bridge.sweep.grid import Compose, adhoc_name, expand, make
from bridge.sweep.handover import Handover
from bridge.sweep.launcher import launch
from bridge.tracking.base import tracker_of

log = logging.getLogger("bridge")
# Axes that determine the values of others: each pair has its own layers.
OUTER = ("pair", "direction", "experiment")


def plan(
    config: DictConfig, context: HydraContext, arguments: Sequence[str], composed_from: str = ""
) -> tuple[Manifest, list[tuple[str, ...]]]:
    """Compose a grid.

    Args:
        config: Hydra's, of the whole multirun.
        context: Hydra's.
        arguments: the command line's overrides, swept or not.
        composed_from: key of what the cells are composed from.

    Returns:
        The manifest, and for each of its cells the overrides that a launcher needs.

    Raises:
        ConfigError, HydraException: the grid is empty, has a cell twice, or has the name of another grid.
    """
    compose = _composer(config, context)
    all_axes = [parse(grid(config, i), arguments, context) for i in range(n_grids(config))]
    given = parse({}, arguments, context)
    zipped, excluded = resolved(config.sweep.zip), Exclusions(resolved(config.sweep.exclude))
    check_zipped(zipped, dict(ChainMap(*all_axes)))
    axes: Axes = {}
    combinations: list[tuple[str, ...]] = []
    configs: list[dict[str, Any]] = []
    for i, own in enumerate(all_axes):
        axes |= {key: [] for key in own if key not in axes and key not in OWN_KEYS}
        outer = _outer(own, given, zipped)
        # Options of all cells, such as an experiment, may define the axes.
        fixed = [f"{key}={values[0]}" for key, values in given.items() if len(values) == 1 and key not in outer]
        for chosen in product(steps(outer, zipped)):
            here = context.config_loader.load_sweep_config(config, [*fixed, *chosen]) if outer else config
            inner = parse(grid(here, i), [*arguments, *chosen], context)
            inner = {key: values for key, values in inner.items() if key not in OWN_KEYS}
            overrides, composed = expand(inner, compose, zipped, excluded)
            combinations += overrides
            configs += composed
            axes |= {key: united(axes.get(key, []), values) for key, values in inner.items()}
    excluded.check(axes, () if "sweep.exclude" in given else given)
    if not combinations:
        raise ConfigError("sweep.exclude leaves no cell of the grid; wanted at least one: leave out fewer")
    warn_of_draws(configs)
    outputs = Path(config.paths.outputs)
    name = config.sweep.name or adhoc_name(configs)
    check_name(name)
    fail_fast.check(config.sweep.fail_fast)
    for plain in configs:
        plain["sweep"]["name"] = name
    manifest = make(name, outputs, combinations, configs, axes, composed_from)
    cleared = [f"{key}=[]" for key in OWN_KEYS if OmegaConf.select(config, key)]
    return manifest, [(*overrides, *cleared, f"sweep.name={name}") for overrides in combinations]


def _outer(own: Axes, given: Axes, zipped: Sequence[Sequence[str]]) -> Axes:
    """The axes of a grid that determine others, with the axes that move together with them."""
    some = {k for k, v in own.items() if k.split(".")[0] in OUTER and (len(v) > 1 or k not in given)}
    some |= {key for group in zipped if some & set(group) for key in group}
    return {key: values for key, values in own.items() if key in some}


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
                    f"{len(old.cells)} cells are not in this one, which has {new} others; wanted a name of its own for "
                    f"each: give this one sweep.name=..., or delete {old.folder}"
                )
            if old.run_ids == manifest.run_ids:
                manifest.inputs = old.inputs
        manifest.write()
        fail_fast.clear(manifest.folder)


def sweep(
    config: DictConfig,
    context: HydraContext,
    launcher: Any,
    arguments: Sequence[str],
    max_batch_size: int | None,
    handover: Handover,
) -> list[Sequence[JobReturn]]:
    """Run a grid on whichever launcher is configured: packed into jobs, or cell by cell.

    `handover` holds the options, and receives the results.

    Returns:
        Hydra's returns, batch by batch; none of a packed launcher, whose cells leave records alone.
    """
    manifest, overrides = plan(config, context, arguments, handover.composed_from)
    packed = type(launcher).__name__ == "PackedLauncher"
    in_jobs = "submitit" in type(launcher).__module__
    if in_jobs and config.sweep.fail_fast is not None:
        raise ConfigError(
            "sweep.fail_fast has no effect on a launcher that begins every cell at once; wanted one that begins them "
            "one after another: give hydra/launcher=local or hydra/launcher=slurm, or leave it out"
        )
    if handover.dry_run:
        from bridge.sweep.dry_run import print_dry_run

        name = config.hydra.runtime.choices["hydra/launcher"]
        print_dry_run(manifest, todo(manifest), launcher.params if packed else None, name)
        return []
    _register(manifest)
    handover.manifest, handover.packed = manifest, packed
    if packed:
        handover.waited = launch(manifest, todo(manifest), launcher.params)
        if handover.waited:
            inputs.note(manifest)
            handover.stopped = _stopped(manifest)
        return []
    # Hydra takes longer to compose a cell again than it takes to read its record.
    wanted = set(todo(manifest))
    handover.packed = in_jobs
    handover.reused = [r for r in manifest.run_ids if r not in wanted]
    if handover.reused:
        log.info("%d of %d cells have their record already", len(handover.reused), len(manifest.cells))
    batch = [(cell.run_id, o) for cell, o in zip(manifest.cells, overrides, strict=True) if cell.run_id in wanted]
    tracker = tracker_of(manifest.settings)
    tracker.ensure(manifest)
    returns = []
    limit = config.sweep.fail_fast
    size = 1 if limit is not None else max_batch_size or len(batch) or 1
    failed: list[str] = []
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        try:
            returns.append(launcher.launch([o for _, o in part], initial_job_idx=start))
            for result in returns[-1]:
                # Raises what the job raised.
                _ = result.return_value
        except Exception as error:
            if not in_jobs:
                raise
            # If a job was killed, its launcher loses the results of the others; the records have them all.
            log.warning("a job ended without a result: %s", str(error).strip().splitlines()[0])
        heads = [record.head(manifest.outputs, run_id) or {} for run_id, _ in part]
        failed += [head["error"] for head in heads if head.get("status") == "failed"]
        fail_fast.note(manifest.folder, "", limit, failed)
        left = len(batch) - start - len(part)
        if left and (stop := fail_fast.stopped(manifest.folder)):
            handover.stopped = stop.line(left, len(manifest.cells))
            break
    tracker.finish(manifest)
    inputs.note(manifest)
    return returns


def _stopped(manifest: Manifest) -> str:
    """The message if the jobs of a launch stopped early."""
    stop = fail_fast.stopped(manifest.folder)
    if stop is None:
        return ""
    begun = errors(manifest.folder, stop.launch)
    heads = {r: record.head(manifest.outputs, r) or {} for r in manifest.run_ids if r not in begun}
    left = sum(head.get("status") != "done" for head in heads.values())
    return stop.line(left, len(manifest.cells)) if left else ""


def todo(manifest: Manifest) -> list[str]:
    """Run ids of the cells without a finished record of today's inputs; all of them with recompute=true."""
    if manifest.settings["recompute"]:
        return manifest.run_ids
    undone = {r for r in manifest.run_ids if (record.head(manifest.outputs, r) or {}).get("status") != "done"}
    if len(undone) < len(manifest.cells):
        undone |= set(inputs.changed(manifest))
    return [r for r in manifest.run_ids if r in undone]


def launch_overrides(
    config: DictConfig,
    context: HydraContext,
    params: dict[str, Any],
    job_overrides: Sequence[Sequence[str]],
    handover: Handover,
) -> list[JobReturn]:
    """Pack cells that another sweeper chose into jobs.

    `handover` receives the results.

    Returns:
        One return for each cell, without a value: scores are in the records.
    """
    if own := [key for key in OWN_KEYS if OmegaConf.select(config, key)]:
        raise ConfigError(
            f"{own[0]} has no effect here; wanted hydra/sweeper=grid: leave the other sweeper or {own[0]} out"
        )
    configs = [to_plain(typed(cell)) for cell in map(_composer(config, context), job_overrides)]
    outputs = Path(config.paths.outputs)
    name = config.sweep.name or adhoc_name(configs)
    check_name(name)
    fail_fast.check(config.sweep.fail_fast)
    for plain in configs:
        plain["sweep"]["name"] = name
    axes: Axes = {}
    for overrides in job_overrides:
        for key, _, value in (o.partition("=") for o in overrides):
            axes[key] = list(dict.fromkeys([*axes.get(key, []), value]))
    manifest = make(name, outputs, [tuple(o) for o in job_overrides], configs, axes)
    _register(manifest)
    handover.manifest, handover.packed = manifest, True
    handover.waited = launch(manifest, todo(manifest), params)
    handover.stopped = _stopped(manifest) if handover.waited else ""
    return [_finished(overrides) for overrides in job_overrides]


def _finished(overrides: Sequence[str]) -> JobReturn:
    done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    done.return_value = None
    return done


def _composer(config: DictConfig, context: HydraContext) -> Compose:
    """Composes cells of a command: without the sweep's axes, which no cell has."""
    cell = Composer(context.config_loader, config.hydra.job.config_name, config.hydra.overrides.hydra)

    def compose(overrides: Sequence[str]) -> DictConfig:
        composed = cell(overrides)
        # Resolvers such as ``now`` give every cell the value that the command has.
        OmegaConf.copy_cache(from_config=config, to_config=composed)
        with flag_override(composed, ["struct", "readonly"], False):
            for key in OWN_KEYS:
                OmegaConf.update(composed, key, [], merge=False)
        return composed

    return compose
