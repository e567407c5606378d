"""Tables of many cells for a terminal: an estimate never stands without its controls."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rich.table import Table

from bridge.results.axes import Axis
from bridge.results.best import Best, best_places
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, grids
from bridge.results.joining import dataset_label
from bridge.results.verdicts import ABOVE
from bridge.show.fitting import fitting
from bridge.tasks.base import Task

HARDEST = "hardest"
# Grids of more cells than this are shown by the best place of each curve; more curves than this are left to the report.
MOST_ROWS = 60


def grid_tables(cells: Sequence[Comparison], width: int) -> list[Table]:
    """Many cells of one task, the estimate beside every control: a table for each data set.

    It has one row for each cell, or for a large grid one row for each curve: its best place, with the verdict corrected
    for having searched (`bridge.results.best`).

    Args:
        cells: the cells of a family, whose verdicts are corrected for all of them.
        width: columns of the screen.
    """
    task = cells[0].task
    parts = by_dataset(cells)
    if len(cells) <= MOST_ROWS or task.searched is None:
        first = by_dataset(cells[:MOST_ROWS])
        return [_fitted(task, partial(_cells_table, some, name), width) for name, some in first.items()]
    settings = grids(cells)
    best = {_place(b.grid, b.cell): b for b in best_places(settings)}
    curves = [(grid, curve) for grid in settings for curve in grid.curves()][:MOST_ROWS]
    tables = []
    for name, some in parts.items():
        here = [(grid, curve) for grid, curve in curves if name in ("", dataset_label(curve[0].config))]
        if here:
            tables.append(_fitted(task, partial(_curves_table, some, name, here, best), width))
    return tables


def _fitted(task: Task, draw: Callable[[Sequence[str]], Table], width: int) -> Table:
    steps = left_out(task)
    return fitting(lambda form: draw(steps[form]), len(steps), width, wraps=True)


def left_out(task: Task) -> list[tuple[str, ...]]:
    """The columns that a narrower screen leaves out, step by step; records have them all.

    From the third step on only the hardest negative control is shown.
    """
    conditions = task.conditions
    spare = tuple(name for name, c in conditions.items() if c.spare)
    negatives = dict.fromkeys([*conditions.negatives, *(n for n in spare if not conditions[n].tested)])
    steps: list[tuple[str, ...]] = [(), spare, tuple(negatives)] if conditions.negatives else [()]
    for kind in ("ceiling", "reference", "mark"):
        if more := [n for n in conditions.of_kind(kind) if n not in steps[-1]]:
            steps.append((*steps[-1], *more))
    return list(dict.fromkeys(steps))


def by_dataset(cells: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Data set -> its cells, in order; the name is empty where there is only one."""
    parts: dict[str, list[Comparison]] = {}
    for c in cells:
        parts.setdefault(dataset_label(c.config) if "dataset" in c.task.uses else "", []).append(c)
    return parts if len(parts) > 1 else {"": list(cells)}


def _cells_table(cells: Sequence[Comparison], dataset: str, left_out: Sequence[str]) -> Table:
    head = cells[0].task.by_name[cells[0].head]
    table, names = _empty_table(cells, head.word, left_out, "", dataset)
    # Values that tell settings apart, such as a map or a seed, follow the name of the setting.
    titles = {(c.data["run_id"], c.number): grid.title for grid in grids(cells) for c in grid.cells}
    for c in cells:
        place = [titles[c.data["run_id"], c.number], *(axis.label(c.axes) for axis in c.task.axes)]
        table.add_row(*place, *_scores(c, names), *_above(c), style="" if c.valid else "dim")
    return table


def _curves_table(
    cells: Sequence[Comparison],
    dataset: str,
    curves: Sequence[tuple[Grid, list[Comparison]]],
    best: Mapping[tuple[Any, ...], Best],
    left_out: Sequence[str],
) -> Table:
    task = cells[0].task
    assert task.searched is not None
    several = len({grid.pair for grid, _ in curves}) > 1
    title = f"{task.by_name[cells[0].head].word} at the best {task.searched.word} of each curve"
    table, names = _empty_table(cells, title, left_out, "best\n", dataset)
    for grid, curve in curves:
        label = f"{grid.place}, {grid.title}" if several else grid.title
        chosen = best.get(_place(grid, curve[0]))
        shown = curve[0] if chosen is None else chosen.cell
        where = ["-" if chosen is None and axis is task.searched else axis.label(shown.axes) for axis in task.axes]
        if chosen is None:
            why = f"no\n{curve[0].estimate}" if any(c.valid for c in curve) else "none\nvalid"
            n_columns = len(table.columns) - len(where) - 2
            table.add_row(label, *where, *["-"] * n_columns, why, style="dim")
            continue
        above = _above(chosen.cell)
        verdict = chosen.verdict()
        every = "open" if verdict.startswith("open") else _yes(verdict == ABOVE) if chosen.p else "-"
        above[len(task.part_names) - 1] = every
        table.add_row(label, *where, *_scores(chosen.cell, names), *above)
    return table


def _place(grid: Grid, c: Comparison) -> tuple[Any, ...]:
    others = [axis.label(c.axes) for axis in c.task.axes if not axis.searched]
    return grid.heading, grid.title, *others


def _empty_table(
    cells: Sequence[Comparison], what: str, left_out: Sequence[str], best: str, dataset: str
) -> tuple[Table, list[str]]:
    """The columns of a grid, and what stands in them on all items."""
    task = cells[0].task
    conditions = task.conditions
    columns = [*conditions.chosen, *((task.reference,) if task.reference else ())]
    names = [n for n in columns if n not in left_out and any(n in c.scores for c in cells)]
    if conditions.negatives and set(conditions.negatives) <= set(left_out):
        names.insert(names.index(conditions.estimate) + 1 if conditions.estimate in names else 0, HARDEST)
    pairs = dict.fromkeys(c.config["pair"]["name"] if "pair" in task.uses else task.name for c in cells)
    place = " / ".join(pairs)
    title = f"{place}, {dataset}: {what}" if dataset else f"{place}: {what}"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.padding, table.collapse_padding = (0, 0, 0, 1), True
    table.add_column(task.heading)
    for heading in (*(_over(axis, best) for axis in task.axes), *_part_headings(task), *_headings(task, names)):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in task.part_names:
        table.add_column(f"above\n{part}" if task.parts else "above", no_wrap=True)
    if conditions.baselines:
        table.add_column("above\nbase-\nline", no_wrap=True)
    return table, names


def _over(axis: Axis, best: str) -> str:
    return (best if axis.searched else "") + axis.word.replace(" ", "\n")


def _part_headings(task: Task) -> list[str]:
    """The estimate and the hardest negative control on the headline part, where there is one."""
    if not task.parts:
        return []
    own, hardest = _headings(task, [task.conditions.estimate, HARDEST])
    return [f"{task.part_names[0]}\n{own}", f"{task.part_names[0]}\n{hardest}"]


def _headings(task: Task, names: Sequence[str]) -> list[str]:
    return ["hard-\nest" if n == HARDEST else task.conditions[n].heading or n.replace("_", "\n") for n in names]


def _scores(c: Comparison, names: Sequence[str]) -> list[str]:
    """Estimate and hardest negative control on the headline part, then what `names` are on all items."""
    numbers = []
    if c.task.parts:
        on = c.on(c.headline)
        first = None if on is None else on.mean(c.estimate, c.head)
        numbers = [first, None if on is None or on.hardest is None else on.mean(on.hardest)]
    hardest = None if c.hardest is None else c.mean(c.hardest)
    return [_short(value) for value in (*numbers, *(hardest if n == HARDEST else c.mean(n) for n in names))]


def _above(c: Comparison) -> list[str]:
    """Whether the estimate is above every negative control, part by part, and which baselines on all items."""
    parts, baselines = c.task.part_names, c.task.conditions.baselines
    n_columns = len(parts) + bool(baselines)
    if not c.valid:
        return [c.state, *[""] * (n_columns - 1)]
    if not c.has_estimate:
        return ["-"] * n_columns
    findings = [c.finding(part) for part in parts]
    above = ["open" if f.missing and f.is_tested else _yes(f.is_above) if f.is_tested else "-" for f in findings]
    if not baselines:
        return above
    beside = findings[-1].baselines
    beaten = [name for name, is_above in beside.items() if is_above]
    if len(beaten) == len(baselines) > 1:
        return [*above, "both" if len(baselines) == 2 else "all"]
    words = [c.task.conditions[name].word or name for name in beaten]
    return [*above, ", ".join(words) if words else "none" if beside else "-"]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
