"""What the command line and the sweeper tell each other. Hydra makes the sweeper, and hands it the application."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bridge.records.manifest import Manifest


@dataclass
class Handover:
    """What is asked of a sweep, and what came of it.

    Attributes:
        composed_from: key of what the cells are composed from (`bridge.sweep.sources`).
        dry_run: whether only to say what would be done.
        manifest: of the sweep, once it was launched.
        packed: whether its cells ran in jobs, so that only the records tell what came out.
        waited: whether the jobs have ended.
        reused: run ids of the cells that had their record before.
        stopped: what to say where further cells were not begun (`bridge.sweep.fail_fast`).
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

    An application of somebody else that uses bridge's sweeper asks for nothing and is told nothing: an empty one.
    """
    application = getattr(task_function, "__self__", None)
    handover = getattr(application, "handover", None)
    return handover if isinstance(handover, Handover) else Handover()
