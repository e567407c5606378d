"""One offline HTML file from the records: every fitted score beside its controls."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bridge.errors import RecordError
from bridge.records import manifest
from bridge.records.provenance import source_hash
from bridge.records.record import Record, read_all, runs_folder, write_whole
from bridge.report import evidence, facts, ladder
from bridge.report.headline import by_pair, chips, each, fits, head
from bridge.report.search import best_layers, leads
from bridge.results.comparison import Comparison, comparisons
from bridge.results.curves import (
    Grid,
    controls_in,
    grids,
    is_withheld,
    layer_label,
    missing_in,
    verdict,
    withhold,
)
from bridge.results.families import Family
from bridge.results.ladders import ladders
from bridge.show import plots, row_plots
from bridge.show.looks import swatches
from bridge.show.page import MANY, Cell, figure, number, page, sentence, table, text
from bridge.tasks.similarity import page as similarity
from bridge.tasks.similarity.matrices import is_similarity

# More cells than this are left to the export; a page of them takes a browser seconds to lay out.
MOST_SCORES = 300
METRICS = {"top1": "top-1", "logprob_nats": "gold log-probability"}


def write_report(outputs: str | Path, to: str | Path | None = None, name: str | None = None) -> Path:
    """Write the report of all records under `outputs`, or of one sweep.

    A report that is there already and would be the same is left as it is.

    Args:
        outputs: the outputs folder.
        to: the file to write; `outputs`/reports/report.html, or the sweep's name in place of `report`, when None.
        name: a sweep; its cells without a record are listed as missing.

    Returns:
        Where it is.

    Raises:
        RecordError: there is no record, one is damaged, or the file cannot be written.
        ConfigError: there is no such sweep.
    """
    sweep = None if name is None else manifest.read(outputs, name)
    records = read_all(outputs, None if sweep is None else sweep.run_ids)
    if not records:
        first = "run bridge first, or give --outputs another folder" if sweep is None else f"run bridge sweep {name}"
        raise RecordError(
            f"no records {'' if sweep is None else f'of sweep {name} '}under {runs_folder(outputs)}; {first}"
        )
    there = {r.folder.name for r in records}
    missing = [] if sweep is None else [sweep.config(cell) for cell in sweep.cells if cell.run_id not in there]
    path = Path(outputs) / "reports" / f"{name or 'report'}.html" if to is None else Path(to)
    mark = f"<!-- {_made_from(records, name, missing)} -->\n".encode()
    if not (path.is_file() and path.read_bytes().endswith(mark)):
        write_whole(path, render(records, name, missing).encode() + mark)
    return path


def _made_from(records: Sequence[Record], name: str | None, missing: Sequence[dict[str, Any]]) -> str:
    """A sha256 over all that decides the text of a report: records, and the code that draws them."""
    total = hashlib.sha256(source_hash().encode())
    for part in (name, missing, *(r.data for r in records)):
        total.update(json.dumps(part, sort_keys=True).encode())
    return total.hexdigest()


def render(records: Sequence[Record], name: str | None = None, missing: Sequence[dict[str, Any]] = ()) -> str:
    """The report as one HTML document; the same records give the same text.

    Args:
        records: done and failed cells.
        name: the sweep they are of, or None.
        missing: configs of the sweep's cells that have no record.
    """
    matrices = [r for r in records if r.ok and is_similarity(r.data)]
    family = Family(comparisons(records))
    raw = family.cells
    cells = [withhold(c) for c in raw]
    found = grids(cells)
    bests = family.best_layers(found)
    steps = [*ladders(cells, "new"), *ladders(cells)]
    between = _section("ladder", "Ladder of maps", ladder.section(steps), ladder.LEAD) if steps else ""
    parts = [swatches(), head(records, cells, found, bests, name, len(missing), len(matrices), between)]
    if cells:
        shown, told = fits(found)
        parts += [
            _section("answers", "New and known answers", told + _answers(shown), _FIXED + _ANSWERS),
            _section("best", "Best layers", best_layers(bests), _BEST),
            _section("map", "Heat maps", leads(found) + told + each(shown, _heat), _HEAT),
            _section("layers", "Scores over layers", told + _over(shown, "layers"), _LAYERS),
            _section("sizes", "Scores by data set size", told + _over(shown, "sizes"), _SIZES),
            _section("leads", "Fitted minus control", each(found, _leads), _FIXED + " Right of zero the map wins."),
            _section("scores", "All scores", _all_scores(found), ""),
        ]
    if matrices:
        parts.append(_section("similarity", "Similarity", similarity.section(matrices), similarity.LEAD))
    parts.append(_section("gates", "Gates, warnings, failures", _checks(records, raw, found, name, missing), _GATES))
    parts.append(_section("run", "What was run", _run(records, raw, found, family), ""))
    return page("bridge report" if name is None else f"bridge report: {name}", "\n".join(parts))


_BEST = (
    "Top-1 at the layer where the fitted map has most of it, chosen after looking; p is corrected for the search over "
    "the layers of a curve and for the number of curves (see the definitions at the end). Dead and invalid cells are "
    "never best."
)
_LAYERS = (
    "At the largest data set size that has at least three quarters of the layers. Ribbons are 95 % intervals over "
    "units, and of controls drawn many times the range of the draws; "
    "ceilings, references and clustered are dashed. Points of controls stand side by side, so that all are seen. The "
    "numbers under a panel are means at its deepest layer."
)
_SIZES = (
    "At the deepest layer that has at least three quarters of the data set sizes. The numbers under a panel are means "
    "at its largest size."
)
_HEAT = (
    "First every cell by its lead over the negative control that is hardest to beat there; then top-1 of every control "
    "at every layer, at the same data set size as the curves over layers."
)
_FIXED = (
    "One cell per panel, fixed beforehand rather than searched: the largest data set size and, "
    "there, the deepest layer."
)
_ANSWERS = " Bold marks: new answers, which no fit row has. Faint marks: known answers."
_GATES = "A cell whose gates fail is invalid, here and in every plot."


def _section(name: str, title: str, body: str, lead: str) -> str:
    told = f'<p class="quiet">{escape(lead)}</p>' if lead else ""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{told}\n{body}</section>'


def _notes(cells: Sequence[Comparison]) -> str:
    """What a reader of a panel must know: dead and invalid points, and what was not scored."""
    lines = []
    off = Counter(verdict(c) for c in cells if not c.valid)
    for told, k in off.items():
        lines.append(f"{k} of {len(cells)} cells {told}." if len(cells) > 1 else f"{sentence(told)}.")
    if absent := missing_in(cells):
        lines.append(f"Not scored in every cell: {', '.join(absent)}.")
    if n := sum(is_withheld(c) for c in cells):
        where = f" in {n} of {len(cells)} cells" if len(cells) > 1 else ""
        lines.append(f"Fitted score not shown{where}, because no negative control was scored.")
    elif not any("fitted" in c.scores for c in cells):
        lines.append("No fitted score beside these controls.")
    return "".join(f'<p class="note bad">{escape(line)}</p>' for line in lines)


def _over(found: Sequence[Grid], along: str) -> str:
    def panel(grid: Grid, part: str, metric: str) -> str:
        cells = _on(grid.along_layers() if along == "layers" else grid.along_sizes(), part)
        if not cells or (metric == "top1" and part == "all" and all(c.is_all_new for c in cells)):
            return ""
        c = cells[-1]
        where = f"n={c.data['n_fit']}" if along == "layers" else f"layer {layer_label(c)}"
        plot = plots.curves(cells, metric, along)
        which = "" if metric != "top1" else ", new answers" if part == "new" else ", all answers"
        return figure(grid.title, plot, chips(c, metric) + _notes(cells), f"{METRICS[metric]}{which}, {where}")

    def rows(some: list[Grid]) -> str:
        # One size makes no curve; its scores stand in the section above.
        single = [grid for grid in some if along == "sizes" and len(grid.along_sizes()) == 1]
        some = [grid for grid in some if grid not in single]
        panels = ["".join(panel(grid, part, metric) for grid in some) for part, metric in _CURVES]
        if len(some) == 1:
            panels = ["".join(panels)]
        names = "; ".join(grid.title for grid in single)
        told = f'<p class="quiet">One data set size only: {escape(names)}.</p>' if single else ""
        return "".join(f'<div class="panels">{row}</div><p></p>' for row in panels if row) + told

    return by_pair(found, rows)


# New answers are the headline.
_CURVES = (("new", "top1"), ("all", "top1"), ("all", "logprob_nats"))


def _on(cells: Sequence[Comparison], part: str) -> list[Comparison]:
    """The cells of a panel on a part of the items, without those where it was not scored."""
    return [on for c in cells if (on := c.on(part)) is not None]


def _heat(grid: Grid) -> str:
    cells = grid.along_layers()
    shown = [] if all(c.is_all_new for c in cells) else [("all", cells)]
    if new := _on(cells, "new"):
        shown.insert(0, ("new", new))
    return "".join(
        figure(
            grid.title,
            plots.heat_map(some),
            _notes(some),
            f"{part} answers, n={some[-1].data['n_fit']}",
            full=len(some) > 7,
        )
        for part, some in shown
    )


def _leads(grid: Grid) -> str:
    c = grid.fixed
    where = f"layer {layer_label(c)}, n={c.data['n_fit']}"
    if not c.contrasts:
        return figure(grid.title, "", _notes([c]), f"{where}, {c.sizes}")
    told = f'<p class="note"><b>{escape(sentence(verdict(c)))}.</b></p>' if c.valid else ""
    new, panels = c.on("new"), ""
    if new is not None and new.contrasts:
        panels = figure(grid.title, row_plots.leads(new), told + _notes([c]), f"{where}, {new.sizes}")
    if panels and c.is_all_new:
        return panels
    return panels + figure(grid.title, row_plots.leads(c), told + _notes([c]), f"{where}, all {c.sizes}")


def _answers(found: Sequence[Grid]) -> str:
    def panel(grid: Grid) -> str:
        c = grid.fixed
        parts = ", ".join(f"{part['n']} {label} ({part['n_units']} units)" for label, part in c.by_answer.items())
        where = f"layer {layer_label(c)}, n={c.data['n_fit']}; eval items: {parts}"
        return figure(grid.title, row_plots.by_answer(c), _notes([c]), where)

    cells = [grid.fixed for grid in found]
    names = controls_in(cells)
    rows: list[list[str]] = []
    for grid in found:
        for label, part in grid.fixed.by_answer.items():
            numbers = [_interval(part.get("scores", {}).get(name, {}).get("top1")) for name in names]
            rows.append([text(grid.title), text(label), str(part["n"]), str(part["n_units"]), *numbers])
    numbers_table = table(["injection", "answers", "items", "units", *names], rows)
    return each(found, panel) + f"<details><summary>the same as numbers</summary>{numbers_table}</details>"


def _all_scores(found: Sequence[Grid]) -> str:
    titled = [(grid.title, c) for grid in found for c in grid.cells]
    if len(titled) > MOST_SCORES:
        return (
            f'<p class="quiet">{len(titled)} cells are too many for a page. bridge export writes every score of every '
            "cell and control to a table. The heat maps show all cells.</p>"
        )
    names = controls_in(c for _, c in titled)

    def rows(pick: Callable[[Comparison, str], object]) -> list[list[str]]:
        return [
            [
                text(c.config["pair"]["name"]),
                text(title, "text tight"),
                Cell(layer_label(c), "tight"),
                str(c.data["n_fit"]),
                f"{c.data['n_eval']} / {c.data['n_units']}",
                *[_interval(pick(c, name)) for name in names],
                text(verdict(c), "text long" if c.valid else "text long bad"),
            ]
            for title, c in titled
        ]

    heading = ["pair", "injection", "layer", "n", "items / units", *names, "verdict"]
    muted = [not c.valid for _, c in titled]
    parts = []
    for metric, label in {
        **METRICS,
        "top10": "top-10",
        "mrr": "MRR",
        "fraction_of_native": "share of native top-1",
    }.items():
        body = table(heading, rows(lambda c, n, m=metric: c.scores.get(n, {}).get(m)), muted)  # type: ignore[misc]
        opened = " open" if metric == "top1" and len(titled) <= MANY else ""
        parts.append(f"<details{opened}><summary>{escape(label)}</summary>{body}</details>")
    body = table(heading, rows(lambda c, n: c.state_scores.get(n, {}).get("explained_variance")), muted)
    parts.append(f"<details><summary>held-out explained variance of the states</summary>{body}</details>")
    return "".join(parts)


def _interval(found: object) -> str:
    if not isinstance(found, dict):
        return "–"
    low, high = number(found["low"]), number(found["high"])
    return Cell(f"{number(found['mean'], 3)}<br><span class=quiet>[{low}, {high}]</span>", "tight")


def _checks(
    records: Sequence[Record],
    raw: Sequence[Comparison],
    found: Sequence[Grid],
    name: str | None,
    missing: Sequence[dict[str, Any]],
) -> str:
    of_sweep = "" if name is None else "<h3>Missing cells</h3>" + evidence.missing(missing, name)
    return (
        evidence.gates(raw, found)
        + "<h3>Warnings</h3>" + evidence.warnings(raw)
        + of_sweep
        + "<h3>Failed cells</h3>" + evidence.failures(records)
        + "<h3>Coverage of the items</h3>" + evidence.coverage(raw)
    )  # fmt: skip


def _run(records: Sequence[Record], raw: Sequence[Comparison], found: Sequence[Grid], family: Family) -> str:
    scored = [r for r in records if r.ok and not is_similarity(r.data)]
    return (
        facts.what_was_run(raw, [r for r in records if not r.ok and not is_similarity(r.data)], found)
        + "<h3>Versions</h3>" + facts.versions(records)
        + ("<h3>What each control rules out</h3>" + facts.what_controls_rule_out()
           + "<h3>How the numbers are defined</h3>" + facts.definitions(scored, family) if scored else "")
    )  # fmt: skip
