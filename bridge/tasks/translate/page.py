"""Report sections of task=translate: the ladder of maps, coverage of the items, facts about fits, and definitions."""

from collections.abc import Sequence
from html import escape
from typing import Any

from bridge.records.record import Record
from bridge.results.comparison import Comparison
from bridge.results.curves import place_of
from bridge.results.joining import dataset_label
from bridge.results.ladders import ladders
from bridge.show.page import table, text
from bridge.tasks.base import Section
from bridge.tasks.translate import ladder_page

DEFINITIONS = (
    "<b>top-1</b>: share of eval items whose gold answer is the most probable token. <b>Gold log-probability</b>: "
    "mean natural logarithm of the gold token's probability. No eval item is among the fit rows.",
    "<b>New, known</b>: whether no fit row, or some fit row, has the answer of an eval item; for scores of one "
    "token its first token. Only on new answers can a map show more than a table of known answers would.",
    "<b>lookup</b>: the nearest fit rows in the source name an answer, and the target's mean state of that "
    "answer is put in. <b>bag_of_words</b>: counts of the prompt's tokens are fitted and put in, in place of the "
    "source's states; what it reaches needs no model that read the prompt. "
    "<b>clustered</b>: random states that keep only which items share an answer are fitted and put in. "
    "It uses the answers, so it is a mark to read a score against and is not tested.",
    "<b>Dead</b>: the target's own states, put in without a map, reach less than 70 % of its native score, or "
    "the target does not know more than the commonest answer, so the cell says nothing about the map. "
    "<b>same_model</b> is the ceiling of the map itself: the target's own states through the same fit.",
    "<b>n/d</b>: items to fit on per dimension of the source. <b>Outside span</b>: share of the eval states' "
    "variance in directions that no fit row has, where the map is undetermined.",
)


def sections(comparisons: Sequence[Comparison]) -> list[Section]:
    """The ladder of maps, if there are several maps, and the coverage of the items."""
    # New answers are the headline.
    steps = [*ladders(comparisons, "new"), *ladders(comparisons)]
    coverage = Section("coverage", "Coverage of the items", _coverage(comparisons), within="gates")
    if not steps:
        return [coverage]
    ladder = Section("ladder", "Ladder of maps", ladder_page.section(steps), ladder_page.LEAD, "ladder", first=True)
    return [ladder, coverage]


def _coverage(cells: Sequence[Comparison]) -> str:
    """How many items were loaded, kept, and dropped for which reason, for each pair and data set."""
    seen: dict[str, list[str]] = {}
    reasons: list[str] = list(dict.fromkeys(k for c in cells for k in c.data["coverage"]))
    for c in cells:
        config, counts = c.config, c.data["coverage"]
        row: list[str] = [text(place_of(c.task, config), "text tight"), text(dataset_label(config))]
        row += [str(counts.get(reason, "–")) for reason in reasons]
        row += [str(c.point["n"]), f"{c.point['n_units']} ({escape(c.point['unit'])})"]
        seen["|".join(row)] = row
    return table(["pair", "data set", *(r.replace("_", " ") for r in reasons), "eval items", "units"], seen.values())


def run_facts(records: Sequence[Record]) -> dict[str, str]:
    """Map and normalisation of some records of one setting, and facts about their fits."""
    config = records[0].data["config"]
    fits = [r.data["fit"] for r in records if r.ok]
    facts = {"map": str(config["map"]["name"]), "normalisation": _normalisation(config)}
    if not fits:
        return facts
    outside = sorted(fit["eval_variance_outside_span"] for fit in fits)
    if len(fits) == 1:
        return facts | {
            "rank (n/d)": f"{fits[0]['rank']} ({fits[0]['n_over_d']:.2f})",
            "outside span": f"{outside[0]:.0%}",
        }
    return facts | {"outside span": f"{outside[0]:.0%} to {outside[-1]:.0%}"}


def _normalisation(config: dict[str, Any]) -> str:
    scale = config["normalize"].get("scale", "none")
    centre = "center" if config["normalize"].get("center") else "as is"
    return centre if scale == "none" else f"{centre}, {scale}"
