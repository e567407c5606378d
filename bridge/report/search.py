"""Best places with the correction for having searched, and the lead of every cell."""

from collections.abc import Sequence
from html import escape

from bridge.report.gathered import Gathered
from bridge.report.headline import by_pair, lead_text
from bridge.report.leadmap import lead_map
from bridge.results.axes import Axis
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, conditions_in
from bridge.results.verdicts import ABOVE
from bridge.show.page import MANY, Cell, figure, interval, number, p_value, table, text
from bridge.show.places import lines, main_axis
from bridge.show.plots import on_part
from bridge.tasks.base import Task


def best_places(one: Gathered) -> str:
    """One row per curve: its best place beside every negative control, with p corrected for the search."""
    task, conditions, axis = one.task, one.task.conditions, one.task.searched
    shown = (*conditions.of_kind("negative", "baseline", "mark"), *conditions.of_kind("ceiling")[:1])
    names = [n for n in conditions_in(b.cell for b in one.bests) if n in shown]
    several = len({best.grid.heading for best in one.bests}) > 1
    others = [other for other in task.axes if other is not axis]
    part = task.part_names[0]
    rows, muted = [], []
    for best in one.bests:
        c, hardest, verdict = best.cell, best.cell.hardest, best.verdict()
        lead = None if hardest is None else c.contrasts.get(hardest, {}).get(c.head)
        place = f"{best.grid.place}, " if several else ""
        is_above = verdict.startswith("above")
        p = f"p {p_value(best.p_holm)}" if best.p else ""
        p += f", rank {p_value(max(best.p_draws.values()))}" if best.p_draws else ""
        searched = f"{best.n_searched}" + (f", {best.n_off} not valid" if best.n_off else "")
        where = [] if axis is None else [
            Cell(f"{escape(axis.label(c.axes))}<br><span class=quiet>of {searched}</span>", "tight")
        ]  # fmt: skip
        rows.append([
            text(f"{place}{best.grid.title}"), *(text(other.label(c.axes), "") for other in others), *where,
            Cell(f"{'above all' if verdict == ABOVE else escape(verdict)}<br>{_beside(c)}",
                 "text tight" if is_above else "text bad"),
            *(_on_headline(c) if part != "all" else []),
            interval(c.scores[c.estimate][c.head]),
            *[_mean(c, name) for name in names],
            "–" if lead is None else Cell(f"{lead_text(lead)}<br><span class=quiet>{escape(p)}</span>", "tight"),
        ])  # fmt: skip
        muted.append(not is_above)
    estimate, every = conditions.estimate, ", all" if part != "all" else ""
    heading = [task.heading, *(other.word for other in others), *([] if axis is None else [f"best {axis.one}"])]
    heading += [f"verdict, all {task.noun}" if every else "verdict"]
    heading += [f"{estimate}, {part}", f"hardest, {part}"] if every else []
    heading += [f"{estimate}{every}", *(n.replace("_", " ") for n in names), f"{estimate} − hardest{every}"]
    first = table(heading, rows[:MANY], muted[:MANY])
    if len(rows) <= MANY:
        return first
    rest = table(heading, rows[MANY:], muted[MANY:])
    return f"{first}<details><summary>{len(rows) - MANY} more curves</summary>{rest}</details>"


def lead_maps(task: Task, grids: Sequence[Grid]) -> str:
    """The lead of every cell, one picture per pair and part of the items, the headline first."""

    def draw(some: list[Grid]) -> str:
        axis = main_axis(some[0])
        every = [(grid, curve) for grid in some for curve in lines(grid, axis)]
        # Where the headline has all items there is nothing else to show.
        shown = {part: [(grid, on) for grid, curve in every if (on := on_part(curve, part))]
                 for part in task.part_names}  # fmt: skip
        return "".join(_map(rows, part, axis) for part, rows in shown.items() if rows)

    return by_pair(grids, draw)


def _map(rows: Sequence[tuple[Grid, list[Comparison]]], part: str, axis: Axis | None) -> str:
    """The leads of one pair on one part of the items."""
    first = rows[0][1][0]
    left_out = len(rows) - MANY
    task = first.task
    legend = (
        f"{task.conditions.estimate.capitalize()} − hardest negative control, {task.by_name[first.head].word}. Bold: "
        "above every negative control after Holm's correction. ×: dead or invalid. ·: no "
        f"{task.conditions.estimate} score beside a negative control."
    )
    note = f'<p class="note">{escape(legend)}</p>'
    if left_out > 0:
        note += f'<p class="note bad">The first {MANY} of {len(rows)} curves.</p>'
    title = f"{len(rows)} curves" if len(rows) > 1 else rows[0][0].title
    plot = figure(title, lead_map(rows[:MANY], axis), note, first.title_of(part) if task.parts else "", full=True)
    return f'<div class="panels">{plot}</div><p></p>'


def _on_headline(c: Comparison) -> list[str]:
    """The estimate and the hardest negative control on the headline part."""
    on = c.on(c.headline)
    if on is None:
        return ["–", "–"]
    estimate, hardest = on.scores.get(c.estimate, {}).get(c.head), on.hardest
    return [
        "–" if estimate is None else interval(estimate),
        "–" if hardest is None else number(float(on.scores[hardest][c.head]["mean"])),
    ]


def _beside(c: Comparison) -> str:
    """The baselines that the estimate is above, and those that it is not, on all items."""
    baselines = c.finding().baselines.items()
    return "<br>".join(f"{'' if above else 'not '}above {escape(name.replace('_', ' '))}" for name, above in baselines)


def _mean(c: Comparison, name: str) -> str:
    mean = c.mean(name)
    return "–" if mean is None else number(mean)
