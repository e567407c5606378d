"""Tables of task=similarity for a terminal: every similarity beside the scores of permuted rows."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.records.record import Record
from bridge.similarity.measures import MEASURES
from bridge.tasks.similarity.matrices import LayerPair, best, final, measures, over_layers, verdict
from bridge.tasks.similarity.task import FREE, WITHIN
from bridge.tasks.similarity.together import for_records, together, too_few

FULL_WIDTH = 92
_WITHIN = ("within\n95 %", "cali-\nbrated", "p")
HEADINGS = {
    "cka_linear": "CKA\nlinear",
    "cka_linear_debiased": "linear\ndeb.",
    "cka_rbf": "CKA\nGauss",
    "cka_rbf_debiased": "Gauss\ndeb.",
    "mutual_knn": "k-NN",
    "rsa_pearson": "RSA\nPears.",
    "rsa_spearman": "RSA\nSpear.",
    "procrustes": "Pro-\ncrust.",
    "rsa_cosine": "RSA\ncos.",
    "rsa_correlation": "RSA\ncorr.",
    "linear_predictivity": "linear\nR²",
}


def print_matrices(record: Record, console: Console) -> None:
    """Every measure at the deepest and at the best pair of layers, the gates, and what may be concluded."""
    data = record.data
    full = console.width >= FULL_WIDTH
    spans = " × ".join(_span(data["layers"][side]) for side in ("source", "target"))
    title = f"{data['config']['pair']['name']}: similarity of layers {spans}, {data['n_rows']} rows"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        box=None,
        padding=(0, 2 if full else 1, 0, 0),
    )
    table.add_column("measure", no_wrap=True)
    deepest = final(data, measures(data)[0]).label
    between = ["null\nmean"] if full else []
    for heading in (deepest, "best", "value", *between, *("null\n95 %", "cali-\nbrated", "p"), *_WITHIN):
        table.add_column(heading, justify="right", no_wrap=True)
    for measure in measures(data):
        chosen = best(data, measure)
        table.add_row(
            MEASURES[measure].label,
            f"{final(data, measure).value:.3f}",
            chosen.label,
            f"{chosen.value:.3f}",
            *_null(chosen, FREE, full),
            *_null(chosen, WITHIN, False),
            style=_style(chosen),
        )
    console.print(table)
    legend = (
        "best: the layers above 0 where the measure is furthest above the 95 % quantile of freely permuted rows, null. "
        "within: rows permuted inside their relation. calibrated: (value − 95 %) / (1 − 95 %). p: corrected for the "
        f"search over layers, not for that over measures; {1 / (1 + data['n_permutations']):.3f} is the least."
    )
    console.print(legend, style="dim", highlight=False)
    console.print(over_layers_table(data))
    console.print(
        "The mean and the largest score over all pairs of layers above 0, each beside the means and the largest scores "
        "of permuted rows: its p needs no correction for a search over layers.",
        style="dim",
        highlight=False,
    )
    gates = ", ".join(
        f"{name} {'passed' if gate['passed'] else 'FAILED'} ({gate['value']:.2g}, threshold {gate['threshold']:g})"
        for name, gate in data["gates"].items()
    )
    console.print(f"gates: {gates}", style="" if data["valid"] else "bold red", highlight=False)
    if few := too_few([record]):
        console.print(few, style="bold yellow", highlight=False)
    console.print(Text(f"{verdict(data)}", style="bold green" if data["valid"] else "bold yellow"))


def over_layers_table(data: dict[str, Any]) -> Table:
    """The mean and the largest score over all pairs of layers above 0, calibrated, beside both nulls."""
    title = "over all pairs of layers above 0"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None, padding=(0, 1, 0, 0))
    table.add_column("measure", no_wrap=True)
    for statistic in ("mean", "max"):
        for heading in (f"\n{statistic}", "cali-\nbrated", "\np", "within\ncalib.", "\np"):
            table.add_column(heading, justify="right", no_wrap=True)
    for measure in measures(data):
        shown, above = [], []
        for statistic in ("mean", "max"):
            over = over_layers(data, measure, statistic)
            shown.append(f"{over.value:.2f}")
            for null in (FREE, WITHIN):
                calibrated, p = over.nulls[null]["calibrated"], over.nulls[null]["p_corrected"]
                shown += ["-" if calibrated is None else f"{calibrated:.2f}", f"{p:.2f}"]
            above.append(over.is_above(WITHIN))
        table.add_row(MEASURES[measure].label, *shown, style="" if any(above) else "dim")
    return table


def print_many(records: Sequence[Record], console: Console) -> None:
    """Every measure at its best layers, a row for each cell, and how many are above what; p is corrected for them."""
    console.print(matrices_table(records))
    console.print(_footer(records), style="dim", highlight=False)
    if few := too_few(records):
        console.print(few, style="bold yellow", highlight=False)


def _footer(records: Sequence[Record]) -> str:
    """How many scores are above what, and what p is corrected for."""
    chosen = [best(r.data, m) for r in together(records) if r.data["valid"] for m in measures(r.data)]
    free = [pair for pair in chosen if pair.is_above(FREE)]
    within = sum(pair.is_above(WITHIN) for pair in free)
    shown = for_records(records)
    return (
        f"above freely permuted rows: {len(free)} of {len(chosen)} scores of valid cells; bold: above rows permuted "
        f"inside their relation, too, {within}; dim: not above freely permuted rows (p above 0.05). p is corrected for "
        f"the layers searched{f' and for {shown}' if shown else ''}, not for the number of measures"
    )


def _style(chosen: LayerPair) -> str:
    return ("bold" if chosen.is_above(WITHIN) else "") if chosen.is_above(FREE) else "dim"


def matrices_table(records: Sequence[Record]) -> Table:
    """Many cells: the calibrated score of every measure at its best pair of layers, freely permuted rows as null.

    The style says what it is above, with p corrected for the number of cells.
    """
    names = list(dict.fromkeys(m for r in records for m in measures(r.data)))
    title = "similarity at the best layers, calibrated (0: as freely permuted rows, 1: the most)"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None, padding=(0, 1, 0, 0))
    for heading in ("pair", "rows", "seed"):
        table.add_column(heading, justify="left" if heading == "pair" else "right")
    for name in names:
        table.add_column(HEADINGS.get(name, MEASURES[name].label), justify="right", no_wrap=True)
    for r in sorted(together(records), key=_place):
        own = {name: best(r.data, name) for name in measures(r.data)}
        styles = {name: _style(pair) if r.data["valid"] else "" for name, pair in own.items()}
        shown = [Text(_calibrated(own[name]), styles[name]) if name in own else Text("-") for name in names]
        config = r.data["config"]
        table.add_row(
            config["pair"]["name"],
            str(r.data["n_rows"]),
            str(config["seed"]),
            *shown,
            style="" if r.data["valid"] else "dim",
        )
    return table


def _place(record: Record) -> tuple[Any, ...]:
    config = record.data["config"]
    return config["pair"]["name"], record.data["n_rows"], config["seed"], record.data["run_id"]


def _null(pair: LayerPair, null: str, full: bool) -> list[str]:
    numbers = pair.nulls[null]
    mean = [f"{numbers['mean']:.2f}"] if full else []
    return [*mean, f"{numbers['q95']:.2f}", _calibrated(pair, null), f"{numbers['p_corrected']:.2f}"]


def _calibrated(pair: LayerPair, null: str = FREE) -> str:
    calibrated = pair.nulls[null]["calibrated"]
    return "-" if calibrated is None else f"{calibrated:.2f}"


def _span(layers: Sequence[int]) -> str:
    is_run = len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1))
    return f"{layers[0]}–{layers[-1]}" if is_run else ", ".join(map(str, layers))
