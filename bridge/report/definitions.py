"""How the scores, intervals and p values of a report are defined."""

from collections.abc import Callable, Iterable
from html import escape

from bridge.report.gathered import Gathered
from bridge.results.conditions import Condition, Conditions
from bridge.statistics.levels import ALPHA, FEW_UNITS, LEAST_UNITS, least_p


def definitions(one: Gathered) -> str:
    """What holds for every task that has units and draws, then what the task itself defines."""
    lines = [*_units(one), *_tests(one), *_search(one), *one.task.definitions(one.cells)]
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _units(one: Gathered) -> list[str]:
    """Units, parts of the items, and intervals."""
    task = one.task
    has_items = any(metric.items is not None for metric in task.metrics)
    drawn = _names(task.conditions, lambda c: c.drawn)
    lines = []
    if has_items:
        units = ", ".join(sorted({c.point["unit"] for c in one.cells}))
        lines.append(
            f"<b>Units</b> ({escape(units)}): items of one unit depend on each other, because they share an answer, a "
            "fact or a wording, so intervals of means, and sign flips, take whole units and never single items. Under "
            f"{FEW_UNITS} units intervals are wide and rough; under {LEAST_UNITS} no p is given."
        )
        resamples = sorted({n for c in one.cells if (n := c.config["task"].get("n_resamples")) is not None})
        counts = f" ({_list(resamples)} resamples)" if resamples else ""
        lines.append(
            f"<b>Intervals (95 %)</b>: a bootstrap over units{counts}, widened for their number "
            "as Student's t is and moved for their skewness; where fewer than ten units have a success, or a failure, "
            "exact (Clopper and Pearson) on the effective number of items."
            + (f" For controls drawn many times ({escape(drawn)}): the lowest and the highest draw." if drawn else "")
        )
    elif drawn:
        lines.append(f"<b>Intervals</b> of what is drawn many times ({escape(drawn)}): the range of its draws.")
    return lines


def _tests(one: Gathered) -> list[str]:
    """Differences, and when they count."""
    task = one.task
    estimate, word = task.conditions.estimate, task.head.word
    has_items = any(metric.items is not None for metric in task.metrics)
    lines = []
    if has_items:
        lines.append(
            f"<b>{estimate.capitalize()} − control</b>: mean difference paired by item, a control's draws averaged "
            "first, with an interval over units; where fewer than ten units, and fewer than half of them, differ, from "
            "the exact bounds of what is gained and lost (Newcombe). "
            "Intervals are for other items under this fit; how much another choice of fit rows would change is outside "
            "them, and shown by several seeds."
        )
    how = (
        "the larger of two two-sided p values: of a sign-flip test in which the differences of a unit are flipped "
        "together, over all flips at once rather than a sample of them, and of a t whose skewness is taken out (Hall). "
        "A score that is right (or wrong) in fewer than ten units, and in fewer than a quarter of them, beside a "
        "control's averaged draws, has the p of its exact interval."
        if has_items else "the rank of the score among the draws of a condition."
    )  # fmt: skip
    own = [f"{part.name.capitalize()} {task.noun} are a family of their own" for part in task.parts if part.tested]
    own += (
        ["so are the baselines" if own else "The baselines are a family of their own"]
        if task.conditions.baselines
        else []
    )
    lines.append(
        f"<b>p</b>: {how} Corrected by <b>Holm</b> for the {one.family.n_contrasts} contrasts of this report "
        f"({estimate} minus each negative control in each valid cell, on {escape(word)}; invalid cells are outside). "
        + (f"{', and '.join(own)}. " if own else "")
        + "p of ceilings and references are those of their cell, uncorrected."
    )
    ranked = _names(task.conditions, lambda c: c.ranked)
    draws = sorted({n for c in one.cells if (n := c.config.get("control", {}).get("n_draws")) is not None})
    if ranked and has_items and draws:
        lines.append(
            f"<b>Rank among draws</b> ({escape(ranked)}): a second condition, beside p: draw by draw the largest lead "
            f"over all cells is taken (of explained variances, in -log of what is left), and the {estimate} "
            "lead is ranked among these. That corrects it for all cells "
            f"of the report at once; {_list(draws)} draws cannot push it below {least_p(draws[-1]):.3f}."
        )
    better = "above" if task.head.higher_is_better else "below"
    lines.append(
        f"<b>Above a control</b>: the interval of the difference lies {better} zero, the corrected p is at most "
        f"{ALPHA:g}, and so is the rank."
    )
    return lines


def _search(one: Gathered) -> list[str]:
    """Best places, and what a failed gate means."""
    task, axis = one.task, one.task.searched
    lines = []
    if axis is not None:
        best = "highest" if task.head.higher_is_better else "lowest"
        lines.append(
            f"<b>Best {axis.one}</b>: the {axis.one} with the {best} {task.conditions.estimate} "
            f"{escape(task.head.word)} "
            "among the valid ones. Its p is that of the largest "
            f"standardised difference over all {axis.many} searched, with the same sign flip of a unit in every "
            f"{axis.one} (max statistic), then corrected by Holm for the number of curves; its rank is that among the "
            f"largest leads over all cells, which {axis.one} is best included."
        )
    lines.append("<b>Invalid</b>: a gate failed, so the cell says nothing.")
    return lines


def _names(conditions: Conditions[Condition], is_meant: Callable[[Condition], bool]) -> str:
    return ", ".join(name for name, c in conditions.items() if is_meant(c))


def _list(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, numbers))
