"""Data that the command line and the sweeper exchange. Hydra constructs the sweeper and passes it the application."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bridge.records.manifest import Manifest


@dataclass
class Handover:
    """Options and results of a sweep.

    Attributes:
        composed_from: key of what the cells are composed from (`bridge.sweep.sources`).
        dry_run: whether to print what would be done, and do nothing.
        manifest: of the sweep, once it was launched.
        packed: whether its cells ran in jobs, so that results are read from records.
        waited: whether the jobs have ended.
        reused: run ids of the cells that had their record before.
        stopped: the message if further cells were not begun (`bridge.sweep.fail_fast`).
    """

    composed_from: str = ""
    dry_run: bool = False
    manifest: Manifest | None = None
    packed: bool = False
    waited: bool = True
    reused: list[str] = field(default_factory=list)
    stopped: str = ""


def handover_of(task_function: Callable[..., Any] | None) -> Handover:
    """The hand-over of the application whose method Hydra runs cells with.

    For another application that uses bridge's sweeper it is an empty one.
    """
    application = getattr(task_function, "__self__", None)
    handover = getattr(application, "handover", None)
    return handover if isinstance(handover, Handover) else Handover()
