"""The registry of tasks: those in the folders beside this file, and those of installed packages.

A task is imported when it is first used. Another package adds a task by an entry point of the group ``bridge.tasks``
that names a `bridge.tasks.base.Task`.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError
from bridge.records.record import hashed
from bridge.tasks.base import Task

GROUP = "bridge.tasks"


def names() -> list[str]:
    """The names of all tasks."""
    return sorted({*own(), *_installed()})


def get(name: str) -> Task:
    """The task of a name.

    Raises:
        ConfigError: no task has this name.
    """
    if name in own():
        task: Task = import_module(f"bridge.tasks.{name}").TASK
        return task
    if name in _installed():
        return _loaded(_installed()[name])
    raise ConfigError(f"task={name} is unknown; wanted one of {', '.join(names())}: choose one of them")


def task_of(data: Mapping[str, Any]) -> Task:
    """The task of a record, from record.json."""
    return get(data["config"]["task"]["name"])


def run_id(config: Mapping[str, Any]) -> str:
    """Sixteen hex digits of the hash of everything in a plain config that can change a result."""
    return hashed(get(config["task"]["name"]).used(config))


@cache
def own() -> tuple[str, ...]:
    """The tasks of bridge itself."""
    return tuple(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.ispkg)


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _loaded(point: EntryPoint) -> Task:
    task: Task = point.load()
    return task
