"""The sections of a report that every task has: an estimate beside its controls, whatever was computed."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import combinations

from bridge.report.gathered import Gathered
from bridge.report.headline import by_pair, chips, each, fits
from bridge.report.search import best_places, lead_maps
from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, conditions_in, missing_in
from bridge.show import plots, row_plots
from bridge.show.page import MANY, Cell, figure, interval, sentence, table, text
from bridge.show.places import joined_text, main_axis, others, place_text
from bridge.show.planes import WITHOUT_NUMBERS, has_numbers, score_plane
from bridge.tasks.base import Section, Task

# More cells than this are left to the export; a page of them takes a browser seconds to lay out.
MOST_SCORES = 300
RIBBONS = (
    "Ribbons are 95 % intervals over units, and of controls drawn many times the range of the draws; ceilings, "
    "references and marks are dashed. Points of controls stand side by side, so that all are seen."
)


def common_sections(one: Gathered) -> list[Section]:
    """The sections of one task, in order."""
    task = one.task
    shown, told = fits(one.grids)
    estimate, head = task.conditions.estimate, task.head
    fixed = f"One cell per panel, fixed beforehand rather than searched: {_last(task)}."
    best = "place" if task.searched is None else task.searched.one
    sections = [
        _parts(task, told + _by_part(shown), fixed),
        Section("best", f"Best {best}s", best_places(one), _best_lead(task), f"best {best}s"),
        Section("map", "Heat maps", lead_maps(task, one.grids) + told + each(shown, _heat), _heat_lead(task),
                "heat maps"),
    ]  # fmt: skip
    if body := _planes(shown):
        sections.append(Section("plane", "Two axes at once", told + body, _plane_lead(task), "two axes"))
    for axis in _drawn(task):
        lead = f"{_at_last(task, axis)}{RIBBONS if axis is _drawn(task)[0] else ''}"
        lead += f" The numbers under a panel are means at its last {axis.one}."
        sections.append(Section(f"over-{axis.name}", f"Scores over {axis.many}", told + _over(shown, axis),
                                lead.strip(), f"{axis.many}"))  # fmt: skip
    wins = f" {'Right' if head.higher_is_better else 'Left'} of zero {_estimate(task)} wins."
    return [
        *sections,
        Section("leads", f"{sentence(estimate)} minus control", each(one.grids, _leads), fixed + wins,
                f"{estimate} − control"),
        Section("scores", "All scores", _all_scores(one), "", "all scores"),
    ]  # fmt: skip


def _drawn(task: Task) -> list[Axis]:
    """Axes that have curves, the searched one first."""
    return sorted(task.axes, key=lambda axis: not axis.searched)


def _last(task: Task) -> str:
    """Which cell of a grid is the fixed one, in words."""
    rest = [f"the last {axis.one}" for axis in task.axes if axis is not task.searched]
    if task.searched is not None:
        rest.append(f"the deepest {task.searched.one}" if not rest else f"there, the deepest {task.searched.one}")
    return " and ".join([", ".join(rest[:-1]), rest[-1]] if len(rest) > 1 else rest) or "the only one"


def _at_last(task: Task, axis: Axis) -> str:
    """Where curves along one axis lie on the others, in words."""
    rest = " and ".join(f"{other.one}" for other in task.axes if other is not axis)
    return f"At the last {rest} that has at least three quarters of the {axis.many}. " if rest else ""


def _best_lead(task: Task) -> str:
    of = "" if task.searched is None else f"the {task.searched.many} of a curve and for "
    at = "place" if task.searched is None else task.searched.one
    most = "most of it" if task.head.higher_is_better else "least of it"
    return (
        f"{sentence(task.head.word)} at the {at} where {_estimate(task)} has {most}, chosen after looking; p is "
        f"corrected for the search over {of}the number of curves (see the definitions at the end). Dead and invalid "
        "cells are never best."
    )


def _estimate(task: Task) -> str:
    name = task.conditions.estimate
    return task.conditions[name].what or f"the {name} score"


def _heat_lead(task: Task) -> str:
    axis = task.searched or next(iter(task.axes), None)
    every = "" if axis is None else f" at every {axis.one}"
    same = ", at the same place on the other axes as the curves below" if len(task.axes) > 1 else ""
    return (
        "First every cell by its lead over the negative control that is hardest to beat there; then "
        f"{task.head.word} of every control{every}{same}."
    )


def _plane_lead(task: Task) -> str:
    of = f" on {task.part_names[0]} {task.noun}" if task.part_names[0] != "all" else ""
    return (
        f"{sentence(task.head.word)}{of} of the {task.conditions.estimate} score over two axes, beside the negative "
        "control that is hardest to beat at each place. Bold: above every negative control; grey: not; ×: dead or "
        "invalid. The best score is the darkest, with the same colours in both."
    )


def _parts(task: Task, body: str, fixed: str) -> Section:
    """Scores on each part of the items, or on all where they are alike."""
    if not task.parts:
        return Section("conditions", "Side by side", body, fixed, "side by side")
    names = [part.name for part in task.parts]
    first = task.parts[0]
    what = f"{first.name} {task.noun}" + (f", {first.what}" if first.what else "")
    rest = ", ".join(f"{name} {task.noun}" for name in names[1:])
    lead = f"{fixed} Bold marks: {what}." + (f" Faint marks: {rest}." if rest else "")
    title = sentence(" and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names))
    return Section(task.noun, f"{title} {task.noun}", body, lead, " / ".join(names))


def _by_part(grids: Sequence[Grid]) -> str:
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
    """What a reader of a panel must know: dead and invalid points, and what was not scored."""
    lines = []
    estimate = sentence(cells[0].estimate)
    off = Counter(c.conclusion for c in cells if not c.valid)
    for told, k in off.items():
        lines.append(f"{k} of {len(cells)} cells {told}." if len(cells) > 1 else f"{sentence(told)}.")
    if absent := missing_in(cells):
        lines.append(f"Not scored in every cell: {', '.join(absent)}.")
    if n := sum(c.is_withheld for c in cells):
        where = f" in {n} of {len(cells)} cells" if len(cells) > 1 else ""
        lines.append(f"{estimate} score not shown{where}, because no negative control was scored.")
    elif not any(c.has_estimate for c in cells):
        lines.append(f"No {cells[0].estimate} score beside these controls.")
    return "".join(f'<p class="note bad">{escape(line)}</p>' for line in lines)


def _over(grids: Sequence[Grid], axis: Axis) -> str:
    def panel(grid: Grid, part: str, name: str | None) -> str:
        along = grid.along(axis)
        cells = plots.on_part(along, part) if name is None else along
        if not cells:
            return ""
        metric = grid.task.by_name[cells[0].head if name is None else name]
        if all(c.mean(condition, metric.name) is None for c in cells for condition in c.scores):
            return ""
        c = cells[-1]
        which = c.title_of(part) if name is None and grid.task.parts else ""
        told = joined_text(metric.word, which, others(c, axis))
        return figure(grid.title, plots.curves(cells, metric, axis), chips(c, metric) + notes(cells), told)

    def rows(some: list[Grid]) -> str:
        task = some[0].task
        # One place makes no curve; its scores stand in other sections.
        single = [grid for grid in some if not axis.searched and len(grid.along(axis)) == 1]
        some = [grid for grid in some if grid not in single]
        # The headline part comes first.
        wanted: list[tuple[str, str | None]] = [(part, None) for part in task.part_names]
        wanted += [("all", m.name) for m in task.metrics if m.panel and not m.heads]
        panels = ["".join(panel(grid, part, name) for grid in some) for part, name in wanted]
        if len(some) == 1:
            panels = ["".join(panels)]
        names = "; ".join(grid.title for grid in single)
        told = f'<p class="quiet">One {escape(axis.one)} only: {escape(names)}.</p>' if single else ""
        return "".join(f'<div class="panels">{row}</div><p></p>' for row in panels if row) + told

    return by_pair(grids, rows)


def _heat(grid: Grid) -> str:
    axis = main_axis(grid)
    panels = ""
    for part in grid.task.part_names:
        if some := plots.on_part(plots.along_main(grid), part):
            which = some[-1].title_of(part) if grid.task.parts else ""
            told = joined_text(which, others(some[-1], axis))
            drawn = plots.heat_map(some, grid.task.by_name[some[0].head], axis)
            panels += figure(grid.title, drawn, notes(some), told, full=len(some) > 7)
    return panels


def _planes(grids: Sequence[Grid]) -> str:
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
    below = {name: key + ("" if name is None else notes(cells)) for name in shown}
    return "".join(
        figure(grid.title, score_plane(cells, name, metric, rows, columns), below[name],
               joined_text(name or "hardest negative control", rest))
        for name in shown
    )  # fmt: skip


def _leads(grid: Grid) -> str:
    c = grid.fixed
    where = place_text(c)
    if not c.contrasts:
        return figure(grid.title, "", notes([c]), joined_text(where, c.sizes))
    told = f'<p class="note"><b>{escape(sentence(c.conclusion))}.</b></p>' if c.valid else ""
    panels = ""
    for part in c.shown_parts:
        if (on := c.on(part)) is not None and on.contrasts:
            sizes = f"all {on.sizes}" if part == "all" and c.task.parts else on.sizes
            panels += figure(grid.title, row_plots.leads(on), told + notes([c]), joined_text(where, sizes))
    return panels


def _all_scores(one: Gathered) -> str:
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
            text(c.conclusion, "text long" if c.valid else "text long bad"),
        ]

    heading = [*(["pair"] if has_pair else []), task.heading, *(axis.word for axis in task.axes)]
    heading += ["items / units", *names, "verdict"]
    muted = [not c.valid for _, c in titled]
    shown = sorted(
        (m for m in task.metrics if m.heads or m.panel or m.tabled), key=lambda m: (not m.heads, not m.panel)
    )
    tables = ""
    for metric in shown:
        if any(metric.name in scores for _, c in titled for scores in c.scores.values()):
            body = table(heading, [row(title, c, metric.name) for title, c in titled], muted)
            opened = " open" if metric.heads and len(titled) <= MANY else ""
            tables += f"<details{opened}><summary>{escape(metric.word)}</summary>{body}</details>"
    return tables


def interval_or_none(score: dict[str, float] | None) -> str:
    """A score in a table; a dash where there is none."""
    return "–" if score is None else interval(score)
