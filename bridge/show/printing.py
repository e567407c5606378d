"""Terminal output for one cell, and for many."""

from collections.abc import Sequence

from rich.console import Console

from bridge.records.record import Record
from bridge.results.comparison import Comparison
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.results.ladders import ladders
from bridge.show.grid_footer import grid_footer
from bridge.show.grid_tables import grid_tables
from bridge.show.ladder_tables import ladder_note, ladder_table
from bridge.show.tables import gates_line, print_comparison
from bridge.tasks.registry import task_of

# More ladders than this are left to the report.
LADDERS_SHOWN = 8


def print_cell(record: Record, console: Console) -> None:
    """Print the results of a single cell."""
    task = task_of(record.data)
    if task.print_cell(record, console):
        return
    cells = Family(comparisons([record])).cells
    if not cells:
        console.print(f"{task.setting(record.data['config'])}: no points")
        return
    if len(cells) == 1:
        # The verdict of one point is not corrected for others.
        (compared,) = comparisons([record])
        print_comparison(compared, console)
        return
    _print_points(cells, console)
    if cells[0].gates:
        console.print(gates_line(cells[0]))


def print_grid(records: Sequence[Record], console: Console) -> None:
    """Tables of many cells, task by task; their verdicts are corrected for all of them."""
    by_task: dict[str, list[Record]] = {}
    for record in records:
        by_task.setdefault(task_of(record.data).name, []).append(record)
    for some in by_task.values():
        if task_of(some[0].data).print_grid(some, console):
            continue
        # Cells for which the head metric was not scored have separate tables, headed by another metric.
        by_head: dict[str, list[Comparison]] = {}
        for c in Family(comparisons(some)).cells:
            by_head.setdefault(c.head, []).append(c)
        for cells in by_head.values():
            _print_cells(cells, console)


def _print_cells(cells: Sequence[Comparison], console: Console) -> None:
    """Ladders if several maps can be compared, else a row for each cell."""
    # The headline part comes first.
    steps = [step for part in cells[0].task.part_names for step in ladders(cells, part)]
    if not steps:
        _print_points(cells, console)
        return
    for one in steps[:LADDERS_SHOWN]:
        console.print(ladder_table(one, console.width))
    more = len(steps) - LADDERS_SHOWN
    console.print(ladder_note(steps[0]) + (f"; {more} more ladders are in the report" if more > 0 else ""))
    console.print(grid_footer(cells), highlight=False)


def _print_points(cells: Sequence[Comparison], console: Console) -> None:
    for table in grid_tables(cells, width=console.width):
        console.print(table)
    console.print(grid_footer(cells), highlight=False)


def line(record: Record) -> str:
    """The line for one of many cells."""
    task = task_of(record.data)
    own = task.line(record)
    if own is not None:
        return own
    cells = comparisons([record])
    label = cells[0].label if len(cells) == 1 else f"{task.setting(record.data['config'])}, {len(cells)} points"
    at = "" if len(cells) == 1 else f" (the last: {cells[-1].label})"
    return f"{label}{_scores(cells[-1])}{at}" if cells else label


def _scores(c: Comparison) -> str:
    """The estimate with the hardest negative control; empty if these were scored in different cells."""
    estimate, hardest = c.mean(c.estimate), c.hardest
    if estimate is None or hardest is None:
        return ""
    word = c.task.by_name[c.head].word
    return f", {word}: {c.estimate} {estimate:.2f}, highest negative control {c.mean(hardest):.2f} ({hardest})"
