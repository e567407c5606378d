"""The contents of a report: the records of each task, compared, corrected and grouped into grids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bridge.records.record import Record
from bridge.results.best import Best, best_places
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, grids
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.tasks.base import Task
from bridge.tasks.registry import task_of


@dataclass(frozen=True)
class Gathered:
    """All cells of one task.

    Attributes:
        task: which.
        records: finished and failed.
    """

    task: Task
    records: tuple[Record, ...]

    @cached_property
    def family(self) -> Family:
        """Every comparison, corrected for all of them."""
        return Family(comparisons(self.records))

    @property
    def cells(self) -> list[Comparison]:
        """Every comparison."""
        return self.family.cells

    @cached_property
    def grids(self) -> list[Grid]:
        """The comparisons, grouped into grids."""
        return grids(self.cells)

    @cached_property
    def bests(self) -> list[Best]:
        """The best place of every curve."""
        return best_places(self.grids)

    @property
    def failed(self) -> list[Record]:
        """Cells that failed."""
        return [r for r in self.records if not r.ok]

    @property
    def is_common(self) -> bool:
        """Whether the common sections show its cells, and there is at least one."""
        return bool(self.cells) and not self.task.own_report


def gather(records: Iterable[Record]) -> list[Gathered]:
    """The records of each task, those of tasks with a report of their own last."""
    by_task: dict[str, list[Record]] = {}
    tasks: dict[str, Task] = {}
    for record in records:
        task = task_of(record.data)
        tasks[task.name] = task
        by_task.setdefault(task.name, []).append(record)
    names = sorted(by_task, key=lambda name: (tasks[name].own_report, name))
    return [Gathered(tasks[name], tuple(by_task[name])) for name in names]


def points_of(cells: Sequence[Comparison]) -> list[list[Comparison]]:
    """The comparisons of each cell together, which are its points."""
    by_cell: dict[str, list[Comparison]] = {}
    for c in cells:
        by_cell.setdefault(str(c.data["run_id"]), []).append(c)
    return list(by_cell.values())
