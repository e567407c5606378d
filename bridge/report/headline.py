"""The head of a report: what was asked, and what may be concluded, never an estimate alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from bridge.records.record import Record
from bridge.report.gathered import Gathered, points_of
from bridge.results.best import Best
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, missing_in, place_of
from bridge.results.metrics import Metric
from bridge.results.verdicts import ABOVE, counted, units_note
from bridge.show.looks import swatch
from bridge.show.page import MANY_PANELS, figure, number, p_value, sentence
from bridge.show.places import place_text

# With more cells than this, the reasons why cells are dead or invalid are not listed.
FEW = 8


def head(records: Sequence[Record], every: Sequence[Gathered], sweep: str | None, n_missing: int) -> str:
    """What was asked, and what was run."""
    n_failed = sum(not r.ok for r in records)
    places = dict.fromkeys(place_of(one.task, r.data["config"]) for one in every for r in one.records)
    absent = missing_in(c for one in every if one.is_common for c in one.cells)
    title = "bridge report" if sweep is None else f"bridge report: {sweep}"
    of_pairs = any("pair" in one.task.uses for one in every)
    what = ("Pair" if of_pairs else "Task") + ("" if len(places) == 1 else "s")
    lines = [
        f"<h1>{escape(title)}</h1>" + "".join(f"<p>{escape(text)}</p>" for text in _questions(every)),
        f"<p><b>{what}</b>: {escape('; '.join(places))}.<br><b>Cells</b>: "
        f"{', '.join([*_counts(every), f'{n_failed} failed'])}.</p>",
    ]
    if sweep is not None:
        n_done = sum(r.ok for r in records)
        text = f"{n_done} of {len(records) + n_missing} cells done, {n_failed} failed, {n_missing} missing"
        if n_failed or n_missing:
            link = f'(<a href="#gates">which</a>; bridge sweep {escape(sweep)} runs what is left)'
            text = f'<b class="bad">{text}</b> {link}'
        lines.append(
            f"<p><b>Sweep</b>: {text}. Cells that differ in their controls alone are counted as one above.</p>"
        )
    if absent:
        lines.append(f'<p class="bad">Not scored in every cell: {escape(", ".join(absent))}.</p>')
    if not any(one.cells for one in every):
        lines.append('<p class="bad">No cell was finished, so there is nothing to conclude.</p>')
    return "\n".join(lines)


def _questions(every: Sequence[Gathered]) -> list[str]:
    """The questions of the tasks that the common sections show, or of all tasks if they show none."""
    some = [one for one in every if one.is_common] or [one for one in every if one.cells] or every
    return list(dict.fromkeys(one.task.question for one in some))


def _counts(every: Sequence[Gathered]) -> list[str]:
    """How many cells of which task are finished, and how many of them are valid."""
    common = [one for one in every if one.is_common]
    counts = []
    for one in common:
        cells = points_of(one.cells)
        states = Counter(points[0].state for points in cells)
        of_task = f" of task={one.task.name}" if len(common) > 1 else ""
        n_points = f" ({len(one.cells)} points)" if len(one.cells) > len(cells) else ""
        counts += [f"{counted(len(cells), 'cell')}{of_task} finished{n_points}"]
        counts += [f"{states['valid']} valid", f"{states['dead']} dead", f"{states['invalid']} otherwise invalid"]
    counts += [f"{sum(r.ok for r in one.records)} of task={one.task.name} finished"
               for one in every if one.cells and not one.is_common]  # fmt: skip
    return counts or ["0 cells finished, 0 valid, 0 dead, 0 otherwise invalid"]


def fits(every: Sequence[Grid]) -> tuple[list[Grid], str]:
    """The grids that there is room for, the same in every section, and a note about the others."""
    shown, n_left = list(every[:MANY_PANELS]), len(every) - MANY_PANELS
    if n_left <= 0:
        return shown, ""
    return shown, (
        f'<p class="quiet">Panels of the first {MANY_PANELS} of {len(every)} settings, in order of their names; the '
        "others are among the best places and in what bridge export writes.</p>"
    )


def by_pair(every: Sequence[Grid], draw: Callable[[list[Grid]], str]) -> str:
    """The output of `draw` for the grids of each pair and data set, under their names if there are several."""
    headings = list(dict.fromkeys(grid.heading for grid in every))
    parts = []
    for name in headings:
        heading = f"<h3>{escape(name)}</h3>" if len(headings) > 1 else ""
        parts.append(heading + draw([grid for grid in every if grid.heading == name]))
    return "\n".join(parts)


def each(every: Sequence[Grid], draw: Callable[[Grid], str]) -> str:
    """One panel per grid, side by side where there is room."""
    shown, note = fits(every)
    return note + by_pair(shown, lambda some: f'<div class="panels">{"".join(draw(grid) for grid in some)}</div>')


def cards(one: Gathered) -> str:
    """What may be concluded about every setting."""
    return each(one.grids, lambda grid: _card(grid, [b for b in one.bests if b.grid is grid], len(one.bests)))


def _card(grid: Grid, bests: Sequence[Best], n_curves: int) -> str:
    """What may be concluded about one grid, with the best cell beside its controls."""
    conclusion = "".join(
        f'<p class="note"><b class="{css}">{escape(note)}.</b></p>' for note, css in _conclusions(grid.cells)
    )
    estimate = grid.task.conditions.estimate
    valid = [c for c in grid.cells if c.valid]
    scored = [c for c in valid or grid.cells if c.mean(estimate) is not None]
    if not scored:
        none = f'<p class="note">No {estimate} score to show beside its controls.</p>'
        return figure(grid.title, "", conclusion + none)

    def score(c: Comparison) -> float:
        mean = c.mean(estimate)
        assert mean is not None
        return mean if c.task.by_name[c.head].higher_is_better else -mean

    chosen = max(bests, key=lambda b: score(b.cell), default=None)
    best = max(scored, key=score) if chosen is None else chosen.cell
    noun = "cell" if len(points_of(grid.cells)) == len(grid.cells) else "point"
    kind = f"valid {noun}" if valid else f"{noun}, not valid"
    many = f"valid {noun}s" if valid else f"{noun}s, none of them valid"
    why_this = f"The only {kind}" if len(scored) == 1 else f"Best of {len(scored)} {many}, so chosen after looking"
    few = units_note(best.point)
    lines = [
        f"{': '.join(note for note in (why_this, place_text(best)) if note)}.",
        _on_headline(best) if best.headline != "all" else "",
        _on_all(best) + (_searched(chosen, n_curves) if chosen else ""),
        _beside(best),
        "" if few is None else f"{few.capitalize()}.",
    ]
    why = "" if valid or len(grid.cells) == 1 else f'<p class="note bad">{escape(sentence(best.verdict()))}.</p>'
    note = "".join(f'<p class="note">{escape(line)}</p>' for line in lines if line)
    return figure(grid.title, "", conclusion + why + note + chips(best, best.task.by_name[best.head]))


def _conclusions(cells: Sequence[Comparison]) -> list[tuple[str, str]]:
    """What may be concluded about the cells of one grid, line by line, with its CSS class."""
    n, task = len(cells), cells[0].task
    if n == 1:
        (c,) = cells
        return [(sentence(c.verdict()), "good" if c.is_above_everywhere else "bad")]
    noun = "cells" if len(points_of(cells)) == n else "points"
    lines = []
    off = Counter(c.state if n > FEW else c.verdict() for c in cells if not c.valid)
    lines += [(sentence(f"{line} in {k} of {n} {noun}"), "bad") for line, k in off.items()]
    valid = [c for c in cells if c.valid]
    scored = [c for c in valid if c.has_estimate]
    lines += [(sentence(c.verdict()), "bad") for c in valid[:1] if not scored]
    parts = task.part_names[:1] if all(c.is_all_headline for c in scored) else task.part_names
    for part in parts if scored else ():
        findings = [c.finding(part) for c in scored]
        tested = [f for f in findings if f.is_tested]
        title = f"{sentence(scored[0].title_of(part))}: " if task.parts else ""
        if not tested:
            lines.append((sentence(f"{title}{findings[0]}"), "bad"))
            continue
        above = sum(f.is_above for f in tested)
        line = sentence(f"{title}{ABOVE} in {above} of {len(tested)} valid {noun}")
        if waiting := list(dict.fromkeys(name for f in tested for name in f.missing)):
            line += f" (open: no score yet for {', '.join(waiting)})"
        is_clear = above == len(scored)
        for name in task.conditions.baselines:
            if beside := [f.baselines[name] for f in tested if name in f.baselines]:
                line += f", above {name} in {sum(beside)}" + (f" of {len(beside)}" if len(beside) < len(tested) else "")
                is_clear &= all(beside)
        lines.append((line, "bad" if above == 0 else "good" if is_clear else ""))
    absent = Counter(f"no {name}: {why}" for c in scored for name, why in c.absent.items())
    return lines + [(sentence(line), "bad") for line in absent]


def _on_all(c: Comparison) -> str:
    """The estimate beside the hardest negative control and its ceiling, on all items."""
    hardest, metric = c.hardest, c.task.by_name[c.head]
    assert hardest is not None
    scores = {name: _interval_text(score[c.head]) for name, score in c.scores.items() if c.head in score}
    text = (
        f"On all {counted(c.point['n'], 'eval item')} ({counted(c.point['n_units'], 'unit')}), {metric.word}: "
        f"{c.estimate} {scores[c.estimate]} against {scores[hardest]} for {hardest}, the hardest negative control: "
    )
    lead = c.contrasts.get(hardest, {}).get(c.head)
    text += "not paired." if lead is None else f"{lead_text(lead)}."
    ceiling = next((name for name in c.task.conditions.of_kind("ceiling") if name in scores), None)
    return text + ("" if ceiling is None else f" The ceiling {ceiling} is at {scores[ceiling]}.")


def _searched(best: Best, n_curves: int) -> str:
    """The p values of a best place, corrected for the search."""
    if not best.p:
        return f" {sentence(best.verdict())}."
    if best.n_searched == 1:
        # There was no search, and the headline has this cell's verdict already.
        return ""
    axis = best.cell.task.searched
    places = counted(best.n_searched, "place" if axis is None else axis.one)
    rank = f", rank among draws {p_value(max(best.p_draws.values()))}" if best.p_draws else ""
    where = f"{places} on {n_curves} curves" if n_curves > 1 else places
    task = best.cell.task
    on = f"On all {task.noun}, corrected" if task.parts else "Corrected"
    return f" {on} for the search over {where}: {best.verdict()}, p {p_value(best.p_holm)}{rank}."


def _on_headline(c: Comparison) -> str:
    """The same cell on the part of the items that comes first."""
    part, title = c.parts[c.headline], c.title_of(c.headline)
    on = c.on(c.headline)
    if on is None:
        few = f"There are no eval items with {title}" if part["n"] == 0 else f"Only one unit has {title}"
        return f"{few}, so nothing is said about {'them' if part['n'] == 0 else 'these'}."
    conditions = c.task.conditions
    names = [c.estimate, on.hardest, *conditions.baselines, *conditions.of_kind("ceiling")[:1]]
    numbers = ", ".join(f"{n} {_interval_text(on.scores[n][c.head])}" for n in names if n in on.scores)
    sizes = f"{counted(part['n'], 'eval item')} ({counted(part['n_units'], 'unit')})"
    (what,) = (f", {p.what}" if p.what else "" for p in c.task.parts if p.name == c.headline)
    return f"On the {sizes} with {title}{what}, {c.task.by_name[c.head].word}: {numbers}."


def _beside(c: Comparison) -> str:
    """The scores of baselines and marks beside the estimate."""
    conditions = c.task.conditions
    parts = [
        f"{'' if above else 'not '}above {name}{_what(conditions[name].what)}, which reaches "
        f"{_interval_text(c.scores[name][c.head])}"
        for name, above in c.finding().baselines.items()
    ]
    if not parts:
        return ""
    text = f"On all items it is {', and '.join(parts)}."
    for name in conditions.of_kind("mark"):
        mean = c.mean(name)
        if mean is not None:
            text += f" {sentence(conditions[name].what or name)} is worth {number(mean)}."
    return text


def _what(text: str) -> str:
    return f", {text}" if text else ""


def _interval_text(score: dict[str, float]) -> str:
    if score["low"] is None or score["high"] is None:
        return number(score["mean"])
    return f"{number(score['mean'])} [{number(score['low'])}, {number(score['high'])}]"


def lead_text(lead: dict[str, float]) -> str:
    """A paired difference with its interval."""
    if lead["difference"] is None:
        return "–"
    bounds = "" if lead["low"] is None or lead["high"] is None else f" [{lead['low']:+.2f}, {lead['high']:+.2f}]"
    return f"{lead['difference']:+.2f}{bounds}".replace("-", "−")


def chips(c: Comparison, metric: Metric) -> str:
    """Legend and means in one: every condition of a cell with its look and its number."""
    items = "".join(
        f'<li class="{c.task.conditions[name].kind}">{swatch(c.task, name)}<span class="name">{name}</span> '
        f'<span class="number">{number(mean)}</span></li>'
        for name in c.scores
        if (mean := c.mean(name, metric.name)) is not None
    )
    return f'<ul class="chips">{items}</ul>'
