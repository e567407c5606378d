"""The sections of a report that every task has: estimates beside their controls."""

from bridge.report import panels
from bridge.report.gathered import Gathered
from bridge.report.headline import each, fits
from bridge.report.search import best_places, lead_maps
from bridge.results.axes import Axis
from bridge.show.page import sentence
from bridge.tasks.base import Section, Task

RIBBONS = (
    "Ribbons are 95 % intervals over units, and of controls drawn many times the range of the draws; ceilings, "
    "references and marks are dashed. Points of controls stand side by side, so that all are seen."
)


def common_sections(one: Gathered) -> list[Section]:
    """The sections of one task, in order."""
    task = one.task
    shown, note = fits(one.grids)
    estimate, head = task.conditions.estimate, task.head
    fixed = f"One cell per panel, fixed beforehand rather than searched: {_last(task)}."
    best = "places" if task.searched is None else task.searched.many
    sections = [
        _parts(task, note + panels.by_part(shown), fixed),
        Section("best", f"Best {best}", best_places(one), _best_lead(task), f"best {best}"),
        Section("map", "Heat maps", lead_maps(task, one.grids) + note + each(shown, panels.heat), _heat_lead(task),
                "heat maps"),
    ]  # fmt: skip
    if body := panels.planes(shown):
        sections.append(Section("plane", "Two axes at once", note + body, _plane_lead(task), "two axes"))
    for axis in _drawn(task):
        lead = f"{_at_last(task, axis)}{RIBBONS if axis is _drawn(task)[0] else ''}"
        lead += f" The numbers under a panel are means at its last {axis.one}."
        sections.append(Section(f"over-{axis.name}", f"Scores over {axis.many}", note + panels.over(shown, axis),
                                lead.strip(), f"{axis.many}"))  # fmt: skip
    wins = f" {'Right' if head.higher_is_better else 'Left'} of zero {_estimate(task)} wins."
    return [
        *sections,
        Section("leads", f"{sentence(estimate)} minus control", each(one.grids, panels.leads), fixed + wins,
                f"{estimate} − control"),
        Section("scores", "All scores", panels.all_scores(one), "", "all scores"),
    ]  # fmt: skip


def _drawn(task: Task) -> list[Axis]:
    """Axes that have curves, the searched one first."""
    return sorted(task.axes, key=lambda axis: not axis.searched)


def _last(task: Task) -> str:
    """Which cell of a grid is the fixed one, in words."""
    rest = [f"the last {axis.one}" for axis in task.axes if axis is not task.searched]
    if task.searched is not None:
        rest.append(f"the last {task.searched.one}" if not rest else f"there, the last {task.searched.one}")
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
