"""The section on similarity: a heat map over pairs of layers for every measure, and the scores of permuted rows."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from bridge.records.record import Record
from bridge.results.comparison import Comparison
from bridge.results.curves import pair_label
from bridge.results.families import over_records
from bridge.show.page import Cell, figure, number, p_value, sentence, table, text
from bridge.show.planes import WITHOUT_NUMBERS, Field, has_numbers, plane
from bridge.similarity.measures import MEASURES
from bridge.statistics.levels import least_p
from bridge.tasks.base import Section
from bridge.tasks.registry import task_of
from bridge.tasks.similarity.matrices import (
    LayerPair,
    best,
    deep,
    final,
    layer_pairs,
    measures,
    not_above,
    over_layers,
    verdict,
)
from bridge.tasks.similarity.task import FREE, WITHIN
from bridge.tasks.similarity.together import for_records, sizes, together, too_few

LEAD = (
    "Every layer of the source against every layer of the target, calibrated: (value − 95 % quantile) / (1 − 95 % "
    "quantile) of the same measure on freely permuted rows, so that 0 is what rows paired at random reach and 1 the "
    "most there can be. Bold: above rows permuted inside their relation, too; grey: not above freely permuted rows "
    "(p above 0.05, corrected for the search over all layers of a map and for the number of records shown). A measure "
    "has the same colours everywhere, darkest where it is highest above layer 0. Layer 0 at the last position is the "
    "embedding of one token; it is shown and never best."
)
# Cells beyond this number are in the table only.
MOST_MAPS = 6
NO_ROOM = f"{WITHOUT_NUMBERS}; the darkest field is"
LEAST_SCALE = 0.1


def sections(comparisons: Sequence[Comparison]) -> list[Section]:
    """All that a report says of task=similarity."""
    records = {c.data["run_id"]: c.records[0] for c in comparisons}
    return [Section("similarity", "Similarity", section(list(records.values())), LEAD, "similarity")]


def section(records: Sequence[Record]) -> str:
    """Heat maps, table, gates and definitions of finished cells of task=similarity; p is corrected for all of them."""
    records = together(records)
    ordered = sorted(records, key=lambda r: (pair_label(r.data["config"]), r.data["n_rows"], r.data["config"]["seed"]))
    scales = _scales(ordered)
    warning = too_few(ordered)
    parts = [f'<p class="note bad">{escape(sentence(warning))}.</p>'] if warning else []
    parts += [_maps(record, scales) for record in ordered[:MOST_MAPS]]
    if len(ordered) > MOST_MAPS:
        note = f"Maps of the first {MOST_MAPS} of {len(ordered)} cells; the table has all of them."
        parts.append(f'<p class="quiet">{note}</p>')
    return "\n".join([*parts, "<h3>As numbers</h3>", _numbers(ordered), _over_layers(ordered), _gates(ordered),
                      _definitions(ordered)])  # fmt: skip


def _scales(records: Sequence[Record]) -> dict[str, float]:
    """Measure -> the calibrated score that has the darkest colour."""
    scales: dict[str, float] = {}
    for r in records:
        for measure in measures(r.data):
            scores = [_calibrated(pair) for pair in deep(layer_pairs(r.data, measure))]
            largest = max((s for s in scores if not math.isnan(s)), default=0.0)
            scales[measure] = max(scales.get(measure, LEAST_SCALE), largest)
    return scales


def _calibrated(pair: LayerPair) -> float:
    calibrated = pair.nulls[FREE]["calibrated"]
    return math.nan if calibrated is None else float(calibrated)


def _maps(record: Record, scales: dict[str, float]) -> str:
    data = record.data
    good = "bad" if not data["valid"] else "" if not_above(data, WITHIN) else "good"
    lines = [
        f"<h3>{escape(pair_label(data['config']))}, {data['n_rows']} rows</h3>",
        f'<p><b class="{good}">{escape(verdict(data))}.</b></p>',
    ]
    if data["warnings"]:
        lines.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in data["warnings"]) + "</ul>")
    panels = []
    for measure in measures(data):
        deepest = final(data, measure)
        summary = f"{deepest.label}: {number(deepest.value)}, permuted {number(deepest.nulls[FREE]['mean'])}"
        summary += f", inside relations {number(deepest.nulls[WITHIN]['mean'])}"
        key = (
            ""
            if has_numbers(len(data["layers"]["source"]), len(data["layers"]["target"]))
            else f'<p class="note">{NO_ROOM} {number(scales[measure])}.</p>'
        )
        panels.append(figure(MEASURES[measure].label, layer_map(data, measure, scales[measure]), key, summary))
    return "\n".join(lines) + f'<div class="panels">{"".join(panels)}</div>'


def layer_map(data: dict[str, Any], measure: str, scale: float) -> str:
    """One measure as an inline SVG: source layers by target layers.

    Args:
        data: record.json.
        measure: one of those in it.
        scale: the calibrated score that has the darkest colour.
    """
    sources, targets = data["layers"]["source"], data["layers"]["target"]
    filled = {divmod(place, len(targets)): _field(pair, scale)
              for place, pair in enumerate(layer_pairs(data, measure))}  # fmt: skip
    name = f"{MEASURES[measure].label} by layers, calibrated"
    titles = "layer of the source", "layer of the target"
    rows, columns = ([str(layer) for layer in layers] for layers in (sources, targets))
    return plane(rows, columns, filled, titles, name, f"{name} {data['run_id']}")


def _field(pair: LayerPair, scale: float) -> Field:
    """The calibrated score: bold above both nulls, grey above neither."""
    calibrated = pair.nulls[FREE]["calibrated"]
    above, within = pair.is_above(FREE), pair.is_above(FREE) and pair.is_above(WITHIN)
    shade = 0.0 if calibrated is None else min(max(calibrated / scale, 0.0), 1.0)
    return Field(calibrated, shade, "bold" if within else "plain" if above else "quiet")


def _numbers(records: Sequence[Record]) -> str:
    rows, muted = [], []
    for r in records:
        data = r.data
        for measure in measures(data):
            deepest, highest = final(data, measure), best(data, measure)
            shown = [(deepest, "deepest"), (highest, "best")]
            for chosen, which in [(deepest, "deepest, best")] if highest == deepest else shown:
                rows.append([
                    text(data["config"]["pair"]["name"], "text tight"), str(data["n_rows"]),
                    text(MEASURES[measure].label, "text tight"), text(which), Cell(chosen.label, "tight"),
                    number(chosen.value, 3), *_null(chosen, FREE), *_null(chosen, WITHIN),
                ])  # fmt: skip
                muted.append(not (data["valid"] and chosen.is_above(WITHIN)))
    heading = ["pair", "rows", "measure", "layers", "source→target", "value", "permuted, mean", "95 %", "calibrated",
               "p", "inside relations, mean", "95 %", "calibrated", "p"]  # fmt: skip
    return table(heading, rows, muted)


def _null(pair: LayerPair, null: str) -> list[str]:
    numbers = pair.nulls[null]
    calibrated = "–" if numbers["calibrated"] is None else number(numbers["calibrated"])
    return [number(numbers["mean"], 3), number(numbers["q95"], 3), calibrated, p_value(numbers["p_corrected"])]


def _over_layers(records: Sequence[Record]) -> str:
    """The mean and the largest score over all pairs of layers above 0, beside both nulls."""
    rows, muted = [], []
    for r in records:
        for measure in measures(r.data):
            for statistic, word in (("mean", "mean"), ("max", "largest")):
                over = over_layers(r.data, measure, statistic)
                row = [text(r.data["config"]["pair"]["name"], "text tight"), str(r.data["n_rows"]),
                       text(MEASURES[measure].label, "text tight"), text(word), number(over.value, 3)]  # fmt: skip
                for null in (FREE, WITHIN):
                    calibrated = over.nulls[null]["calibrated"]
                    row += ["–" if calibrated is None else number(calibrated), p_value(over.nulls[null]["p_corrected"])]
                rows.append(row)
                muted.append(not (r.data["valid"] and over.is_above(WITHIN)))
    heading = ["pair", "rows", "measure", "over all pairs of layers above 0", "value", "calibrated", "p",
               "inside relations, calibrated", "p"]  # fmt: skip
    shown = for_records(records)
    corrected = f"; they are corrected for {shown}" if shown else ""
    note = (
        "The mean and the largest score are put beside the means and the largest scores of permuted rows, so that "
        f"these p need no correction for a search over layers{corrected}."
    )
    return f'<h3>Over all layers</h3>{table(heading, rows, muted)}<p class="note">{note}</p>'


def _gates(records: Sequence[Record]) -> str:
    rows = []
    for r in records:
        data = r.data
        row = [text(data["config"]["pair"]["name"], "text tight"), str(data["n_rows"])]
        for gate in data["gates"].values():
            outcome = f"{'' if gate['passed'] else 'FAILED '}{gate['value']:.2g} (≤ {gate['threshold']:g})"
            row.append(text(outcome.replace("-", "−"), "text tight" if gate["passed"] else "text bad"))
        row += [str(data["n_permutations"]), text(data["run_id"], "text tight"), f"{data['wall_s']:.1f}"]
        rows.append(row)
    names, meanings = list(records[0].data["gates"]), task_of(records[0].data).gates
    meaning = "".join(f"<li><b>{escape(name)}</b>: {escape(meanings[name])}</li>" for name in names)
    heading = ["pair", "rows", *names, "permutations", "run id", "wall s"]
    return f"<h3>Gates of similarity</h3>{table(heading, rows)}<ul>{meaning}</ul>"


def _definitions(records: Sequence[Record]) -> str:
    n_records, most = min(sizes(records).values(), default=1), max(r.data["n_permutations"] for r in records)
    among = for_records(records)
    corrected = f"layers and for {among}" if among else "layers"
    shown = [m for m in MEASURES.values() if any(m.name in measures(r.data) for r in records)]
    rows = [[text(m.label, "text tight"), text(m.invariant_to, "text long")] for m in shown]
    lines = [
        "<b>Permuted</b>: row i of the source beside a random row of the target, the same for all layers and measures; "
        "<b>inside relations</b>: a random row of the same relation, which leaves what all items of a relation share.",
        "<b>p</b>: one-sided rank of the observed score among the permuted ones, by the largest standardised score "
        "over all pairs of layers, so it "
        f"is corrected for the search over {corrected}, not for that over measures; "
        f"{over_records(least_p(most), n_records):.3f} is the least there can be.",
        "<b>Best</b>: the layers above 0 with the highest calibrated score; <b>deepest</b>: the last layers compared, "
        "which nothing chose.",
    ]
    terms = "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"
    return f"<h3>What leaves a measure as it is</h3>{table(['measure', 'invariant to'], rows)}{terms}"
