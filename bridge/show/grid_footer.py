"""What stands below the tables of many cells."""

from collections import Counter
from collections.abc import Sequence

from bridge.results.comparison import Comparison
from bridge.results.curves import grids
from bridge.results.verdicts import units_note
from bridge.show.grid_tables import MOST_ROWS, by_dataset
from bridge.statistics.levels import least_p


def grid_footer(cells: Sequence[Comparison]) -> str:
    """The number of valid cells, the conclusion, what the columns mean, and where to find more."""
    task = cells[0].task
    valid = [c for c in cells if c.valid and c.has_estimate]
    axes = [
        f"; {axis.word}: {axis.title.removesuffix(f', {axis.word}')}"
        for axis in task.axes
        if not axis.title.startswith(axis.word)
    ]
    passed = f"all gates passed in {sum(c.valid for c in cells)} of {len(cells)} cells" if task.gates else ""
    lines = [f"{passed}{''.join(axes)}".removeprefix("; ")]
    if valid:
        lines += [_counts(some, name) for name, some in by_dataset(valid).items()]
    missing = Counter(name for c in valid for name in c.finding().missing)
    if missing:
        names = ", ".join(f"{name} ({k} of {len(valid)} cells)" for name, k in missing.items())
        lines.append(f"open: no score yet for {names}; control=all gives every control")
    absent = Counter(f"no {name}: {why}" for c in cells for name, why in c.absent.items())
    lines += [f"{why} ({k} of {len(cells)} cells)" for why, k in absent.items()]
    draws = sorted({
        c.scores[name][c.head]["n_draws"] for c in cells for name in c.scores
        if task.conditions[name].ranked and "n_draws" in c.scores[name].get(c.head, {})
    })  # fmt: skip
    if draws:
        lines.append(
            f"{' or '.join(map(str, draws))} draws of each random control, ranked over all cells at once: "
            f"p of a rank is at least {least_p(draws[0]):.3f} for one cell and for many"
        )
    few = dict.fromkeys(note for c in cells if (note := units_note(c.point)))
    return "\n".join(line for line in (*lines, *_rests_on(cells, bool(draws)), *few) if line)


def _rests_on(cells: Sequence[Comparison], is_ranked: bool) -> list[str]:
    """The number of units, and what p is corrected for."""
    task = cells[0].task
    units = sorted({(c.point["n_units"], c.point["unit"]) for c in cells})
    word = task.by_name[cells[0].head].word
    text = f"{word} over {' or '.join(str(n) for n, _ in units)} units ({units[0][1]})"
    if len(cells) <= MOST_ROWS or task.searched is None:
        ranks = ", and among the largest leads of every draw over all cells" if is_ranked else ""
        shown = [f"the first {MOST_ROWS} of {len(cells)} are shown; every cell: bridge report, bridge export"]
        return [f"{text}; p of all cells together (Holm){ranks}", *shown * (len(cells) > MOST_ROWS)]
    n_curves = sum(len(grid.curves()) for grid in grids(cells))
    more = f"; the first {MOST_ROWS} curves are shown" if n_curves > MOST_ROWS else ""
    return [
        f"{text}; p corrected for the search over {task.searched.many} and {n_curves} curves{more}",
        "every cell: bridge report (a page), bridge export (a table)",
    ]


def _counts(valid: Sequence[Comparison], dataset: str) -> str:
    """In how many valid cells the estimate is above what."""
    task = valid[0].task
    above = {part: sum(c.finding(part).is_above for c in valid) for part in task.part_names}
    first, *rest = task.part_names
    where = f" on {first} {task.noun}" if rest else ""
    line = (
        f"{dataset}{': ' if dataset else ''}{valid[0].estimate} above every negative control{where} in {above[first]} "
        f"of {len(valid)} valid cells"
    )
    line += "".join(f", on {part} {task.noun} in {above[part]}" for part in rest)
    for name in task.conditions.baselines:
        beside = [c.finding().baselines[name] for c in valid if name in c.finding().baselines]
        if beside:
            line += f"; above {name} in {sum(beside)} of {len(beside)}"
        elif not all(name in c.absent for c in valid):
            line += f"; {name} was not scored"
    return line
