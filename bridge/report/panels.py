"""The contents of the sections that every task has: panels of plots, and tables."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import combinations

from bridge.report.gathered import Gathered
from bridge.report.headline import by_pair, chips, each
from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, conditions_in, missing_in
from bridge.show import plots, row_plots
from bridge.show.page import MANY, Cell, figure, interval, sentence, table, text
from bridge.show.places import joined_text, main_axis, others, place_text
from bridge.show.planes import WITHOUT_NUMBERS, has_numbers, score_plane

# Tables of more cells than this are left to the export, because a browser needs seconds to lay them out.
MOST_SCORES = 300


def by_part(grids: Sequence[Grid]) -> str:
    """A panel for each setting, and the same as numbers."""

    def panel(grid: Grid) -> str:
        c = grid.fixed
        parts = ", ".join(f"{part['n']} {label} ({part['n_units']} units)" for label, part in c.parts.items())
        where = joined_text(place_text(c), "" if parts else c.sizes) + (f"; eval items: {parts}" if parts else "")
        return figure(grid.title, row_plots.by_part(c), notes([c]), where)

    task, names = grids[0].task, conditions_in(grid.fixed for grid in grids)
    rows: list[list[str]] = []
    for grid in grids:
        c = grid.fixed
        for label, part in (c.parts or {"all": c.point}).items():
            scores = c.scores_of(label)
            numbers = [interval_or_none(scores.get(name, {}).get(c.head)) for name in names]
            rows.append([text(grid.title), text(label), str(part["n"]), str(part["n_units"]), *numbers])
    numbers_table = table([task.heading, task.noun, "items", "units", *names], rows)
    return each(grids, panel) + f"<details><summary>the same as numbers</summary>{numbers_table}</details>"


def notes(cells: Sequence[Comparison]) -> str:
    """Notes under a panel: dead and invalid points, and conditions that were not scored."""
    lines = []
    estimate = sentence(cells[0].estimate)
    off = Counter(c.verdict() for c in cells if not c.valid)
    for reason, k in off.items():
        lines.append(f"{k} of {len(cells)} cells {reason}." if len(cells) > 1 else f"{sentence(reason)}.")
    if absent := missing_in(cells):
        lines.append(f"Not scored in every cell: {', '.join(absent)}.")
    if n := sum(c.is_withheld for c in cells):
        where = f" in {n} of {len(cells)} cells" if len(cells) > 1 else ""
        lines.append(f"{estimate} score not shown{where}, because no negative control was scored.")
    elif not any(c.has_estimate for c in cells):
        lines.append(f"No {cells[0].estimate} score beside these controls.")
    return "".join(f'<p class="note bad">{escape(line)}</p>' for line in lines)


def over(grids: Sequence[Grid], axis: Axis) -> str:
    """Curves along one axis, setting by setting."""

    def panel(grid: Grid, part: str, name: str | None) -> str:
        along = grid.along(axis)
        cells = plots.on_part(along, part) if name is None else along
        if not cells:
            return ""
        metric = grid.task.by_name[cells[0].head if name is None else name]
        if not _is_scored(cells, metric.name):
            return ""
        c = cells[-1]
        which = c.title_of(part) if name is None and grid.task.parts else ""
        quiet = joined_text(metric.word, which, others(c, axis))
        return figure(grid.title, plots.curves(cells, metric, axis), chips(c, metric) + notes(cells), quiet)

    def rows(some: list[Grid]) -> str:
        task = some[0].task
        # One place makes no curve; its scores are in other sections.
        single = [grid for grid in some if not axis.searched and len(grid.along(axis)) == 1]
        some = [grid for grid in some if grid not in single]
        # The headline part comes first.
        wanted: list[tuple[str, str | None]] = [(part, None) for part in task.part_names]
        wanted += [("all", m.name) for m in task.metrics if m.panel and not m.heads]
        panels = ["".join(panel(grid, part, name) for grid in some) for part, name in wanted]
        if len(some) == 1:
            panels = ["".join(panels)]
        names = "; ".join(grid.title for grid in single)
        note = f'<p class="quiet">One {escape(axis.one)} only: {escape(names)}.</p>' if single else ""
        return "".join(f'<div class="panels">{row}</div><p></p>' for row in panels if row) + note

    return by_pair(grids, rows)


def _is_scored(cells: Sequence[Comparison], metric: str) -> bool:
    """Whether any condition has a score by a metric; comparisons hold no estimate without a negative control."""
    return any(c.mean(name, metric) is not None for c in cells for name in c.scores)


def heat(grid: Grid) -> str:
    """Every condition at every place of the main axis, part by part."""
    axis = main_axis(grid)
    panels = ""
    for part in grid.task.part_names:
        if some := plots.on_part(plots.along_main(grid), part):
            which = some[-1].title_of(part) if grid.task.parts else ""
            quiet = joined_text(which, others(some[-1], axis))
            drawn = plots.heat_map(some, grid.task.by_name[some[0].head], axis)
            panels += figure(grid.title, drawn, notes(some), quiet, full=len(some) > 7)
    return panels


def planes(grids: Sequence[Grid]) -> str:
    """Every pair of axes of every grid that has two axes with several places."""
    if not any(len(grid.axes) > 1 for grid in grids):
        return ""

    def panels(grid: Grid) -> str:
        drawn = ""
        for pair in combinations(grid.axes, 2):
            # The searched axis lies below, as in every other picture.
            rows, columns = sorted(pair, key=lambda axis: axis.searched)
            for part in grid.task.part_names:
                if cells := plots.on_part(grid.across(rows, columns), part):
                    drawn += _plane(grid, cells, rows, columns)
                    break
        return drawn

    return each(grids, panels)


def _plane(grid: Grid, cells: Sequence[Comparison], rows: Axis, columns: Axis) -> str:
    metric = grid.task.by_name[cells[0].head]
    places = [len({axis.label(c.axes) for c in cells}) for axis in (rows, columns)]
    key = "" if has_numbers(*places) else f'<p class="note">{WITHOUT_NUMBERS}.</p>'
    rest = place_text(cells[0], (axis for axis in grid.task.axes if axis not in (rows, columns)))
    shown = [grid.task.conditions.estimate, None] if any(c.has_estimate for c in cells) else [None]
    panels = ""
    for name in shown:
        note = "" if name is None else notes(cells)
        where = joined_text(name or "hardest negative control", rest)
        panels += figure(grid.title, score_plane(cells, name, metric, rows, columns), key + note, where)
    return panels


def leads(grid: Grid) -> str:
    """The estimate minus every condition in the fixed cell, part by part."""
    c = grid.fixed
    where = place_text(c)
    if not c.contrasts:
        return figure(grid.title, "", notes([c]), joined_text(where, c.sizes))
    note = f'<p class="note"><b>{escape(sentence(c.verdict()))}.</b></p>' if c.valid else ""
    panels = ""
    for part in c.shown_parts:
        if (on := c.on(part)) is not None and on.contrasts:
            sizes = f"all {on.sizes}" if part == "all" and c.task.parts else on.sizes
            panels += figure(grid.title, row_plots.leads(on), note + notes([c]), joined_text(where, sizes))
    return panels


def all_scores(one: Gathered) -> str:
    """For each metric with `tabled`, a table of all cells."""
    task = one.task
    titled = [(grid.title, c) for grid in one.grids for c in grid.cells]
    if len(titled) > MOST_SCORES:
        return (
            f'<p class="quiet">{len(titled)} cells are too many for a page. bridge export writes every score of every '
            "cell and control to a table. The heat maps show all cells.</p>"
        )
    names = conditions_in(c for _, c in titled)
    has_pair = "pair" in task.uses

    def row(title: str, c: Comparison, metric: str) -> list[str]:
        return [
            *([text(c.config["pair"]["name"])] if has_pair else []),
            text(title, "text tight"),
            *(Cell(escape(axis.label(c.axes)), "tight") for axis in task.axes),
            f"{c.point['n']} / {c.point['n_units']}",
            *[interval_or_none(c.scores.get(name, {}).get(metric)) for name in names],
            text(c.verdict(), "text long" if c.valid else "text long bad"),
        ]

    heading = [*(["pair"] if has_pair else []), task.heading, *(axis.word for axis in task.axes)]
    heading += ["items / units", *names, "verdict"]
    muted = [not c.valid for _, c in titled]
    shown = sorted(
        (m for m in task.metrics if m.heads or m.panel or m.tabled), key=lambda m: (not m.heads, not m.panel)
    )
    tables = ""
    for metric in shown:
        if _is_scored([c for _, c in titled], metric.name):
            body = table(heading, [row(title, c, metric.name) for title, c in titled], muted)
            opened = " open" if metric.heads and len(titled) <= MANY else ""
            tables += f"<details{opened}><summary>{escape(metric.word)}</summary>{body}</details>"
    return tables


def interval_or_none(score: dict[str, float] | None) -> str:
    """A score in a table; a dash where there is none."""
    return "–" if score is None else interval(score)
