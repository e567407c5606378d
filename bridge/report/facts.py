"""What was run, and what the numbers of a report mean."""

from collections.abc import Sequence
from html import escape
from typing import Any

from bridge.controls.names import CONTROLS, KINDS
from bridge.records.record import Record
from bridge.report.evidence import controls_label
from bridge.results.comparison import Comparison, injection_label
from bridge.results.curves import Grid, layers, pair_label, spans
from bridge.results.families import Family
from bridge.show.looks import swatch
from bridge.show.page import MANY, Cell, table, text
from bridge.statistics.levels import (
    ALPHA,
    FEW_UNITS,
    LEAST_UNITS,
    least_p,
)


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
            text(grid.heading), text(grid.title), text(spans(layers(c)[0] for c in grid.cells)),
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
        for c in KINDS.values()
    ]
    return table(["", "control", "kind", "rules out, or is"], rows)


def definitions(records: Sequence[Record], family: Family) -> str:
    """How scores, intervals and p values are defined in finished records, of which there is one at least."""
    done = [r.data for r in records]
    draws = sorted({data["config"]["control"]["n_draws"] for data in done})
    resamples = sorted({data["config"]["task"]["n_resamples"] for data in done})
    units = ", ".join(sorted({data["unit"] for data in done}))
    drawn = ", ".join(c.name for c in CONTROLS.values() if c.drawn)
    ranked = ", ".join(c.name for c in CONTROLS.values() if c.ranked)
    lines = [
        "<b>top-1</b>: share of eval items whose gold answer is the most probable token. <b>Gold log-probability</b>: "
        "mean natural logarithm of the gold token's probability. No eval item is among the fit rows.",
        f"<b>Units</b> ({escape(units)}): items of one unit depend on each other, because they share an answer, a "
        "fact or a wording, so intervals of means, and sign flips, take whole units and never single items. Under "
        f"{FEW_UNITS} units intervals are wide and rough; under {LEAST_UNITS} no p is given.",
        "<b>New, known</b>: whether no fit row, or some fit row, has the answer of an eval item; for scores of one "
        "token its first token. Only on new answers can a map show more than a table of known answers would.",
        f"<b>Intervals (95 %)</b>: a bootstrap over units ({_list(resamples)} resamples), widened for their number "
        "as Student's t is and moved for their skewness; where fewer than ten units have a success, or a failure, "
        "exact (Clopper and Pearson) on the effective number of items. "
        f"For controls drawn many times ({escape(drawn)}): the lowest and the highest draw.",
        "<b>Fitted − control</b>: mean difference paired by item, a control's draws averaged first, with an interval "
        "over units; where fewer than ten units, and fewer than half of them, differ, from the exact bounds of what is "
        "gained and lost (Newcombe). "
        "Intervals are for other items under this fit; how much another choice of fit rows would change is outside "
        "them, and shown by several seeds.",
        "<b>p</b>: the larger of two two-sided p values: of a sign-flip test in which the differences of a unit are "
        "flipped together, over all flips at once rather than a sample of them, and of a t whose skewness is taken out "
        "(Hall). A score that is right (or wrong) in fewer than ten units, and in fewer than a quarter of them, beside "
        "a control's averaged draws, has the p of its exact interval. Corrected by <b>Holm</b> for the "
        f"{family.n_contrasts} contrasts of this report (fitted minus each negative control in each valid cell, on "
        "top-1; invalid cells are outside). New answers are a family of their own, and so are the baselines. p of "
        "ceilings and references are those of their cell, uncorrected.",
        f"<b>Rank among draws</b> ({escape(ranked)}): a second condition, beside p: draw by draw the largest lead over "
        "all cells is taken, and the fitted lead is ranked among these. That corrects it for all cells of the report "
        f"at once; {_list(draws)} draws cannot push it below {least_p(draws[-1]):.3f}.",
        f"<b>Above a control</b>: the interval of the difference lies above zero, the corrected p is at most "
        f"{ALPHA:g}, and so is the rank.",
        "<b>lookup</b>: the nearest fit rows in the source name an answer, and the target's mean state of that "
        "answer is put in. <b>bag_of_words</b>: counts of the prompt's tokens are fitted and put in, in place of the "
        "source's states; what it reaches needs no model that read the prompt. "
        "<b>clustered</b>: random states that keep only which items share an answer are fitted and put in. "
        "It is told the answers, so it is a mark to read a score against and is not tested.",
        "<b>Best layer</b>: the layer with the highest fitted top-1 among the valid ones. Its p is that of the largest "
        "standardised difference over all layers searched, with the same sign flip of a unit in every layer (max "
        "statistic), then corrected by Holm for the number of curves; its rank is that among the largest leads over "
        "all cells, which layer is best included.",
        "<b>Dead</b>: the target's own states, put in without a map, reach less than 70 % of its native score, or "
        "the target does not know more than the commonest answer, so the cell says nothing about the map. "
        "<b>Invalid</b>: another gate failed. "
        "<b>same_model</b> is the ceiling of the map itself: the target's own states through the same fit.",
        "<b>n/d</b>: items to fit on per dimension of the source. <b>Outside span</b>: share of the eval states' "
        "variance in directions that no fit row has, where the map is undetermined.",
    ]
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _list(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))
