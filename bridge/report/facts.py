"""What was run, and what the numbers of a report mean."""

from collections.abc import Sequence
from html import escape
from typing import Any

from bridge.comparison import ALPHA, Comparison, injection_label
from bridge.controls import CONTROLS, REFERENCES
from bridge.family import Family
from bridge.grids import Grid, layers, pair_label, spans
from bridge.looks import swatch
from bridge.record import Record
from bridge.report.evidence import controls_label
from bridge.report.page import MANY, Cell, table, text


def what_was_run(cells: Sequence[Comparison], failed: Sequence[Record], found: Sequence[Grid]) -> str:
    """One row per record, failed ones too; one per grid where there are many."""
    shown = [*(r for c in cells for r in c.records), *failed]
    return _by_record(shown) if len(shown) <= MANY else _by_grid(found)


def _by_record(shown: Sequence[Record]) -> str:
    rows = []
    for found in shown:
        data, config = found.data, found.data["config"]
        both = f"{data['layers']['source']}→{data['layers']['target']}" if found.ok else config["layer"]["source"]
        rank = f"{data['fit']['rank']} ({data['fit']['n_over_d']:.2f})" if found.ok else "–"
        outside = f"{data['fit']['eval_variance_outside_span']:.0%}" if found.ok else "–"
        rows.append([
            text(pair_label(config), "text tight"), text(injection_label(config), "text tight"),
            Cell(escape(str(both)), "tight"),
            str(data["n_fit"] if found.ok else config["dataset"]["size"]), str(config["seed"]),
            text(config["map"]["name"]), text(_normalisation(config), "text tight"),
            text(controls_label(config["control"]["names"]), "text tight"), rank, outside,
            text(data["run_id"], "text tight"), text(_commit(found), "text tight"), f"{data['wall_s']:.1f}",
        ])  # fmt: skip
    heading = ["pair", "injection", "layer", "n", "seed", "map", "normalisation", "controls", "rank (n/d)",
               "outside span", "run id", "commit", "wall s"]  # fmt: skip
    return table(heading, rows, [not r.data["valid"] for r in shown])


def _by_grid(found: Sequence[Grid]) -> str:
    rows = []
    for grid in found:
        config, records = grid.cells[0].config, [r for c in grid.cells for r in c.records]
        outside = [r.data["fit"]["eval_variance_outside_span"] for r in records]
        rows.append([
            text(grid.pair), text(grid.title), text(spans(layers(c)[0] for c in grid.cells)),
            text(", ".join(map(str, sorted({c.data["n_fit"] for c in grid.cells})))), str(config["seed"]),
            text(config["map"]["name"]), text(_normalisation(config), "text tight"),
            text(controls_label(name for r in records for name in r.data["config"]["control"]["names"])),
            f"{min(outside):.0%} to {max(outside):.0%}", str(len(records)),
            text(", ".join(dict.fromkeys(map(_commit, records)))), f"{sum(r.data['wall_s'] for r in records):.0f}",
        ])  # fmt: skip
    heading = ["pair", "injection", "layers", "n", "seed", "map", "normalisation", "controls", "outside span",
               "records", "commit", "wall s"]  # fmt: skip
    told = '<p class="quiet">One row per setting; bridge export has a row for every cell.</p>'
    return told + table(heading, rows)


def _normalisation(config: dict[str, Any]) -> str:
    scale = config["normalize"].get("scale", "none")
    centre = "center" if config["normalize"].get("center") else "as is"
    return centre if scale == "none" else f"{centre}, {scale}"


def _commit(found: Record) -> str:
    return (found.data.get("commit") or "none")[:9] + (" + changes" if found.data.get("dirty") else "")


def versions(records: Sequence[Record]) -> str:
    """Every distinct set of package versions."""
    sets = dict.fromkeys(", ".join(f"{k} {v}" for k, v in r.data["versions"].items()) for r in records)
    return "".join(f"<p>{escape(line)}</p>" for line in sets)


def what_controls_rule_out() -> str:
    """Every control with its look, its kind and the sentence that says what it rules out."""
    rows = [
        [Cell(swatch(c.name), "text"), text(c.name, "text tight"), text(c.kind), text(c.rules_out, "text long")]
        for c in [*CONTROLS.values(), *REFERENCES.values()]
    ]
    return table(["", "control", "kind", "rules out, or is"], rows)


def definitions(records: Sequence[Record], family: Family) -> str:
    """How scores, intervals and p values are defined."""
    draws = sorted({r.data["config"]["control"]["n_draws"] for r in records})
    resamples = sorted({r.data["config"]["task"]["n_resamples"] for r in records})
    least = 1 / (1 + draws[-1])
    drawn = ", ".join(c.name for c in CONTROLS.values() if c.drawn)
    lines = [
        "<b>top-1</b>: share of eval items whose gold answer is the most probable token. <b>Gold log-probability</b>: "
        "mean natural logarithm of the gold token's probability. No eval item is among the fit rows.",
        f"<b>Intervals (95 %)</b>: for controls drawn many times ({escape(drawn)}; {_list(draws)} draws) the spread of "
        "the draws, from 2.5 % to 97.5 %; for everything else a percentile bootstrap over eval items "
        f"({_list(resamples)} resamples).",
        "<b>Fitted − control</b>: mean difference paired by item, a control's draws averaged first, with a bootstrap "
        "interval over items.",
        "<b>p</b>: two-sided sign-flip test on the paired differences, over all flips at once rather than a sample of "
        f"them, so that it can fall far below 1/(number of flips); corrected by <b>Holm</b> for the "
        f"{family.n_contrasts} contrasts of this report (fitted minus each negative control in each valid cell, on "
        f"top-1; invalid cells are outside). p of ceilings and references are those of their cell, uncorrected.",
        f"<b>Rank among draws</b>: for drawn controls a second condition, beside p: the rank of the fitted score among "
        f"the draws, which {draws[-1]} draws cannot push below {least:.3f}. That floor is why it is not corrected for "
        "the number of cells: no data could pass it then.",
        f"<b>Above a control</b>: the difference is positive, the corrected p is below {ALPHA:g}, and so is the rank "
        "among the draws.",
        "<b>Best layer</b>: the layer with the highest fitted top-1 among the valid ones. Its p is that of the largest "
        "standardised difference over all layers searched, with the same sign flip of an item in every layer (max "
        "statistic), then corrected by Holm for the number of curves; its rank compares the fitted score with the best "
        "layer of each draw.",
        "<b>Dead</b>: the target's own states, put through the same fit and injection, do not reach its native score, "
        "so the cell says nothing about the map. <b>Invalid</b>: another gate failed.",
        "<b>n/d</b>: items to fit on per dimension of the source. <b>Outside span</b>: share of the eval states' "
        "variance in directions that no fit row has, where the map is undetermined.",
        "<b>Seen, unseen</b>: whether the gold answer of an eval item is also the answer of some fit row.",
    ]
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _list(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))
