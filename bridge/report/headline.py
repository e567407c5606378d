"""The head of a report: what was asked, and what may be concluded, never a fitted number alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape

from bridge.controls.names import BASELINES
from bridge.records.record import Record
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, hardest_negative, layer_label, missing_in, pair_label, state, verdict
from bridge.results.families import Best
from bridge.results.verdicts import ABOVE, counted, units_note
from bridge.show.looks import swatch
from bridge.show.page import MANY_PANELS, figure, number, p_value, sentence

QUESTION = (
    "Does a map fitted between two models' hidden states carry anything that works inside the other model, and by how "
    "much does it beat its controls?"
)
LIKENESS = (
    "Are the states of two models alike, layer by layer, and by how much more than rows that were paired at random?"
)

# In more cells than this the reasons why cells are dead or invalid differ too much to be named.
FEW = 8
SECTIONS = {
    "answers": "new / known",
    "best": "best layers",
    "map": "heat maps",
    "layers": "layers",
    "sizes": "sizes",
    "leads": "fitted − control",
    "scores": "all scores",
}


def head(
    records: Sequence[Record],
    cells: Sequence[Comparison],
    found: Sequence[Grid],
    bests: Sequence[Best],
    sweep: str | None,
    n_missing: int,
    n_matrices: int = 0,
    between: str = "",
) -> str:
    """What was asked, what was run, and what may be concluded; `between` comes before the card of every setting."""
    states = Counter(state(c) for c in cells)
    n_failed = sum(not r.ok for r in records)
    counts = [
        f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'} finished",
        f"{states['valid']} valid",
        f"{states['dead']} dead",
    ]
    counts += [f"{states['invalid']} otherwise invalid"]
    if n_matrices:
        counts = [*(counts if cells else []), f"{n_matrices} of task=similarity finished"]
    counts.append(f"{n_failed} failed")
    pairs = dict.fromkeys(pair_label(r.data["config"]) for r in records)
    absent = missing_in(cells)
    title = "bridge report" if sweep is None else f"bridge report: {sweep}"
    lines = [
        f"<h1>{escape(title)}</h1><p>{escape(QUESTION if cells or not n_matrices else LIKENESS)}</p>",
        f"<p><b>{'Pair' if len(pairs) == 1 else 'Pairs'}</b>: {escape('; '.join(pairs))}.<br><b>Cells</b>: "
        f"{', '.join(counts)}.</p>",
    ]
    if sweep is not None:
        n_done = sum(r.ok for r in records)
        told = f"{n_done} of {len(records) + n_missing} cells done, {n_failed} failed, {n_missing} missing"
        if n_failed or n_missing:
            link = f'(<a href="#gates">which</a>; bridge sweep {escape(sweep)} runs what is left)'
            told = f'<b class="bad">{told}</b> {link}'
        lines.append(
            f"<p><b>Sweep</b>: {told}. Cells that differ in their controls alone are counted as one above.</p>"
        )
    if absent:
        lines.append(f'<p class="bad">Not scored in every cell: {escape(", ".join(absent))}.</p>')
    if not cells and not n_matrices:
        lines.append('<p class="bad">No cell was finished, so there is nothing to conclude.</p>')
    anchors = (
        ({"ladder": "ladder"} if between else {})
        | (SECTIONS if cells else {})
        | ({"similarity": "similarity"} if n_matrices else {})
        | {"gates": "gates, missing, failed", "run": "what was run"}
    )
    links = "".join(f'<a href="#{k}">{v}</a>' for k, v in anchors.items())
    cards = each(found, lambda grid: _card(grid, [b for b in bests if b.grid is grid], len(bests)))
    return "\n".join([*lines, f"<nav>{links}</nav>", between, cards])


def fits(found: Sequence[Grid]) -> tuple[list[Grid], str]:
    """As many grids as there is room for panels, the same ones everywhere, and a line about the others."""
    shown, n_left = list(found[:MANY_PANELS]), len(found) - MANY_PANELS
    if n_left <= 0:
        return shown, ""
    return shown, (
        f'<p class="quiet">Panels of the first {MANY_PANELS} of {len(found)} settings, in order of their names; the '
        'others are among the <a href="#best">best layers</a> and in what bridge export writes.</p>'
    )


def by_pair(found: Sequence[Grid], draw: Callable[[list[Grid]], str]) -> str:
    """What `draw` makes of the grids of each pair and data set, under their names where there are several."""
    headings = list(dict.fromkeys(grid.heading for grid in found))
    parts = []
    for name in headings:
        heading = f"<h3>{escape(name)}</h3>" if len(headings) > 1 else ""
        parts.append(heading + draw([grid for grid in found if grid.heading == name]))
    return "\n".join(parts)


def each(found: Sequence[Grid], draw: Callable[[Grid], str]) -> str:
    """One panel per grid, side by side where there is room."""
    found, told = fits(found)
    return told + by_pair(found, lambda some: f'<div class="panels">{"".join(draw(grid) for grid in some)}</div>')


def _card(grid: Grid, bests: Sequence[Best], n_curves: int) -> str:
    """What may be concluded about one grid, with the best cell beside its controls."""
    conclusion = "".join(
        f'<p class="note"><b class="{css}">{escape(told)}.</b></p>' for told, css in _conclusions(grid.cells)
    )
    valid = [c for c in grid.cells if c.valid]
    scored = [c for c in valid or grid.cells if "fitted" in c.scores]
    if not scored:
        return figure(grid.title, "", conclusion + '<p class="note">No fitted score to show beside its controls.</p>')
    found = max(bests, key=lambda b: float(b.cell.scores["fitted"]["top1"]["mean"]), default=None)
    best = max(scored, key=lambda c: float(c.scores["fitted"]["top1"]["mean"])) if found is None else found.cell
    kind = "valid cell" if valid else "cell, not valid"
    many = "valid cells" if valid else "cells, none of them valid"
    chosen = f"The only {kind}" if len(scored) == 1 else f"Best of {len(scored)} {many}, so chosen after looking"
    few = units_note(best.data)
    lines = [
        f"{chosen}: layer {layer_label(best)}, n={best.data['n_fit']}.",
        _new(best),
        _all(best) + ("" if found is None else _searched(found, n_curves)),
        _beside(best),
        "" if few is None else f"{few.capitalize()}.",
    ]
    why = "" if valid or len(grid.cells) == 1 else f'<p class="note bad">{escape(sentence(verdict(best)))}.</p>'
    told = "".join(f'<p class="note">{escape(line)}</p>' for line in lines if line)
    return figure(grid.title, "", conclusion + why + told + chips(best, "top1"))


def _conclusions(cells: Sequence[Comparison]) -> list[tuple[str, str]]:
    """What may be concluded about the cells of one grid, line by line, with its CSS class."""
    n = len(cells)
    if n == 1:
        (c,) = cells
        return [(sentence(verdict(c)), "good" if c.is_above and c.finding("new").is_above else "bad")]
    lines = []
    off = Counter(state(c) if n > FEW else verdict(c) for c in cells if not c.valid)
    lines += [(sentence(f"{told} in {k} of {n} cells"), "bad") for told, k in off.items()]
    valid = [c for c in cells if c.valid]
    scored = [c for c in valid if "fitted" in c.scores]
    lines += [(sentence(verdict(c)), "bad") for c in valid[:1] if not scored]
    for part in () if not scored else ("new",) if all(c.is_all_new for c in scored) else ("new", "all"):
        found = [c.finding(part) for c in scored]
        tested = [f for f in found if f.is_tested]
        if not tested:
            lines.append((f"{part.capitalize()} answers: {found[0]}", "bad"))
            continue
        above = sum(f.is_above for f in tested)
        told = f"{part.capitalize()} answers: {ABOVE} in {above} of {len(tested)} valid cells"
        if waiting := list(dict.fromkeys(name for f in tested for name in f.missing)):
            told += f" (open: no score yet for {', '.join(waiting)})"
        is_clear = above == len(scored)
        for name in BASELINES:
            if beside := [f.baselines[name] for f in tested if name in f.baselines]:
                told += f", above {name} in {sum(beside)}" + (f" of {len(beside)}" if len(beside) < len(tested) else "")
                is_clear &= all(beside)
        lines.append((told, "bad" if above == 0 else "good" if is_clear else ""))
    absent = Counter(f"no {name}: {why}" for c in scored for name, why in c.absent.items())
    return lines + [(sentence(told), "bad") for told in absent]


def _all(c: Comparison) -> str:
    """The fitted map beside the hardest negative control and its ceiling, on all eval items."""
    hardest = hardest_negative(c)
    assert hardest is not None
    lead = c.contrasts[hardest]["top1"]
    scores = {name: _interval_text(score["top1"]) for name, score in c.scores.items()}
    told = (
        f"On all {counted(c.data['n_eval'], 'eval item')} ({counted(c.data['n_units'], 'unit')}), top-1: fitted "
        f"{scores['fitted']} against {scores[hardest]} for {hardest}, the hardest negative control: "
    )
    told += f"{lead['difference']:+.2f} [{lead['low']:+.2f}, {lead['high']:+.2f}].".replace("-", "−")
    return told + (f" The ceiling same_model is at {scores['same_model']}." if "same_model" in scores else "")


def _searched(best: Best, n_curves: int) -> str:
    """What is left of a best layer after the search."""
    if not best.p:
        return f" {sentence(best.verdict())}."
    if best.n_layers == 1:
        # Nothing was searched, and the headline has this cell's verdict.
        return ""
    layers = f"{best.n_layers} layers"
    rank = f", rank among draws {p_value(max(best.p_draws.values()))}" if best.p_draws else ""
    where = f"{layers} on {n_curves} curves" if n_curves > 1 else layers
    return f" On all answers, corrected for the search over {where}: {best.verdict()}, p {p_value(best.p_holm)}{rank}."


def _new(c: Comparison) -> str:
    """The same cell on the answers that no fit row has."""
    part = c.by_answer["new"]
    if "scores" not in part:
        few = "Every eval answer also occurs among the fit rows" if part["n"] == 0 else "Only one unit has a new answer"
        return f"{few}, so nothing is said about new answers."
    hardest = hardest_negative(replace(c, scores=part["scores"]))
    names = [n for n in ("fitted", hardest, *BASELINES, "same_model") if n in part["scores"]]
    numbers = ", ".join(f"{n} {_interval_text(part['scores'][n]['top1'])}" for n in names)
    sizes = f"{counted(part['n'], 'eval item')} ({counted(part['n_units'], 'unit')})"
    return f"On the {sizes} with new answers, which no fit row has, top-1: {numbers}."


def _beside(c: Comparison) -> str:
    """What the baselines are worth, and knowing the answers alone, beside the fitted map."""
    what = {"lookup": "a table of known answers", "bag_of_words": "the prompt's tokens, counted"}
    parts = [
        f"{'' if above else 'not '}above {name}, {what[name]}, which reaches {_interval_text(c.scores[name]['top1'])}"
        for name, above in c.finding().baselines.items()
    ]
    told = f"On all items it is {', and '.join(parts)}." if parts else ""
    mark = c.scores.get("clustered", {}).get("top1")
    if mark is None or not told:
        return told
    return f"{told} Knowing only which items share an answer is worth {number(mark['mean'])}."


def _interval_text(score: dict[str, float]) -> str:
    return f"{number(score['mean'])} [{number(score['low'])}, {number(score['high'])}]"


def chips(c: Comparison, metric: str) -> str:
    """Legend and means in one: every control of a cell with its look and its number."""
    items = "".join(
        f'<li class="{name}">{swatch(name)}<span class="name">{name}</span> '
        f'<span class="number">{number(scores[metric]["mean"])}</span></li>'
        for name, scores in c.scores.items()
        if metric in scores
    )
    return f'<ul class="chips">{items}</ul>'
