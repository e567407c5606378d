"""Tables of many cells for a terminal: a fitted score never stands without its controls."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.table import Table

from bridge.controls.names import BASELINES, CONTROLS, NEGATIVES
from bridge.results.comparison import Comparison, dataset_label
from bridge.results.curves import Grid, grids, is_withheld, layer_label, state, withhold
from bridge.results.families import Best, Family
from bridge.tasks.translate.ladders import SHARE, Ladder, hardest
from bridge.results.verdicts import ABOVE, units_note
from bridge.show.fitting import fitting
from bridge.statistics.levels import least_p

HEADINGS = {
    "fitted": "fit-\nted",
    "random": "ran-\ndom",
    "shuffled": "shuf-\nfled",
    "shuffled_within": "shuf.\nwith-\nin",
    "identity": "iden-\ntity",
    "mean": "mean",
    "lookup": "look-\nup",
    "bag_of_words": "bag\nof\nwords",
    "clustered": "clus-\ntered",
    "same_model": "same\nmodel",
    "planted": "plan-\nted",
    "native_target": "tar-\nget\nnat.",
    "hardest": "hard-\nest",
}
# Where only one of the baselines is beaten.
SHORT = {"lookup": "lookup", "bag_of_words": "words"}
# What a narrower screen leaves out, step by step; every record has it. From the third step on the hardest negative
# control stands for them all.
LEFT_OUT = (
    (),
    ("planted", "identity", "random"),
    (*NEGATIVES, "planted"),
    (*NEGATIVES, "planted", "same_model"),
    (*NEGATIVES, "planted", "same_model", "native_target"),
    (*NEGATIVES, "planted", "same_model", "native_target", "clustered"),
)
# More cells than this are shown by the best layer of each curve, and more curves than this are left to the report.
MOST_ROWS = 60


def grid_tables(cells: Sequence[Comparison], width: int) -> list[Table]:
    """Many cells, the fitted score beside every control: a table for each data set.

    It has one row for each cell, or for a large grid one row for each curve: its best layer by top-1, with the verdict
    corrected for having searched (`bridge.results.families`).

    Args:
        cells: the cells of a family, whose verdicts are corrected for all of them.
        width: columns of the screen.
    """
    parts = by_dataset(cells)
    if len(cells) <= MOST_ROWS:
        return [_fitted(partial(_cells_table, some, name), width) for name, some in parts.items()]
    family = Family(cells)
    settings = grids([withhold(c) for c in family.cells])
    best = {_place(b.grid, b.cell): b for b in family.best_layers(settings)}
    curves = [(grid, curve) for grid in settings for curve in grid.curves()][:MOST_ROWS]
    tables = []
    for name, some in parts.items():
        here = [(grid, curve) for grid, curve in curves if name in ("", dataset_label(curve[0].config))]
        if here:
            tables.append(_fitted(partial(_curves_table, some, name, here, best), width))
    return tables


def _fitted(draw: Callable[[Sequence[str]], Table], width: int) -> Table:
    return fitting(lambda form: draw(LEFT_OUT[form]), len(LEFT_OUT), width, wraps=True)


def by_dataset(cells: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Data set -> its cells, in order; the name is empty where there is only one."""
    parts: dict[str, list[Comparison]] = {}
    for c in cells:
        parts.setdefault(dataset_label(c.config), []).append(c)
    return parts if len(parts) > 1 else {"": list(cells)}


def _cells_table(cells: Sequence[Comparison], dataset: str, left_out: Sequence[str]) -> Table:
    table, names = _empty_table(cells, "top-1", left_out, "layer", dataset)
    # What tells settings apart beside layer and size, such as a map or a seed, stands behind the injection.
    titles = {c.data["run_id"]: grid.title for grid in grids(cells) for c in grid.cells}
    for c in cells:
        place = [titles[c.data["run_id"]], layer_label(c), str(c.data["n_fit"])]
        table.add_row(*place, *_scores(c, names), *_above(c), style="" if c.valid else "dim")
    return table


def _curves_table(
    cells: Sequence[Comparison],
    dataset: str,
    curves: Sequence[tuple[Grid, list[Comparison]]],
    best: Mapping[tuple[str, str, int], Best],
    left_out: Sequence[str],
) -> Table:
    several = len({grid.pair for grid, _ in curves}) > 1
    table, names = _empty_table(cells, "top-1 at the best layer of each curve", left_out, "best\nlayer", dataset)
    for grid, curve in curves:
        label = f"{grid.place}, {grid.title}" if several else grid.title
        n = str(curve[0].data["n_fit"])
        chosen = best.get(_place(grid, curve[0]))
        if chosen is None:
            why = "no\nfitted" if any(c.valid for c in curve) else "none\nvalid"
            table.add_row(label, "-", n, *["-"] * (len(names) + 2), why, style="dim")
            continue
        new, _, baselines = _above(chosen.cell)
        verdict = chosen.verdict()
        every = "open" if verdict.startswith("open") else _yes(verdict == ABOVE) if chosen.p else "-"
        table.add_row(label, layer_label(chosen.cell), n, *_scores(chosen.cell, names), new, every, baselines)
    return table


def _place(grid: Grid, c: Comparison) -> tuple[str, str, int]:
    return grid.heading, grid.title, c.data["n_fit"]


def _empty_table(
    cells: Sequence[Comparison], what: str, left_out: Sequence[str], layer: str, dataset: str
) -> tuple[Table, list[str]]:
    """The columns of a grid, and what stands in them on all answers."""
    names = [n for n in [*CONTROLS, "native_target"] if n not in left_out and any(n in c.scores for c in cells)]
    if set(NEGATIVES) <= set(left_out):
        names.insert(names.index("fitted") + 1 if "fitted" in names else 0, "hardest")
    pairs = " / ".join(dict.fromkeys(c.config["pair"]["name"] for c in cells))
    title = f"{pairs}, {dataset}: {what}" if dataset else f"{pairs}: {what}"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.padding, table.collapse_padding = (0, 0, 0, 1), True
    table.add_column("injection")
    for heading in (layer, "n", "new\nfit-\nted", "new\nhard-\nest", *(HEADINGS[name] for name in names)):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("above\nnew", "above\nall", "above\nbase-\nline"):
        table.add_column(heading, no_wrap=True)
    return table, names


def _scores(c: Comparison, names: Sequence[str]) -> list[str]:
    """Fitted and hardest negative control on new answers, then what `names` are on all."""
    c = withhold(c)
    new, every = ({n: float(s["top1"]["mean"]) for n, s in scores.items()} for scores in
                  (c.by_answer["new"].get("scores", {}), c.scores))  # fmt: skip
    for scores in (new, every):
        scores |= {"hardest": max(scores[n] for n in NEGATIVES if n in scores)} if set(NEGATIVES) & set(scores) else {}
    return [_short(new.get("fitted")), _short(new.get("hardest")), *(_short(every.get(name)) for name in names)]


def _above(c: Comparison) -> list[str]:
    """Whether the fitted map is above every negative control, on new answers and on all, and which baselines on all."""
    if not c.valid:
        return [state(c), "", ""]
    if is_withheld(c) or "fitted" not in c.scores:
        return ["-", "-", "-"]
    parts = [c.finding(part) for part in ("new", "all")]
    above = ["open" if f.missing and f.is_tested else _yes(f.is_above) if f.is_tested else "-" for f in parts]
    beside = parts[1].baselines
    beaten = [name for name, is_above in beside.items() if is_above]
    if len(beaten) == len(BASELINES):
        return [*above, "both"]
    return [*above, SHORT[beaten[0]] if beaten else "none" if beside else "-"]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def grid_footer(cells: Sequence[Comparison]) -> str:
    """How many of the cells passed every gate, what may be concluded, what the columns mean, and where the rest is."""
    valid = [c for c in cells if c.valid and "fitted" in c.scores]
    lines = [f"all gates passed in {sum(c.valid for c in cells)} of {len(cells)} cells; n: items to fit on"]
    if valid:
        lines += [_counts(some, name) for name, some in by_dataset(valid).items()]
    missing = Counter(name for c in valid for name in c.finding().missing)
    if missing:
        names = ", ".join(f"{name} ({k} of {len(valid)} cells)" for name, k in missing.items())
        lines.append(f"open: no score yet for {names}; control=all gives every control")
    absent = Counter(f"no {name}: {why}" for c in cells for name, why in c.absent.items())
    lines += [f"{why} ({k} of {len(cells)} cells)" for why, k in absent.items()]
    units = sorted({(c.data["n_units"], c.data["unit"]) for c in cells})
    few = list(dict.fromkeys(note for c in cells if (note := units_note(c.data))))
    draws = sorted({c.config["control"]["n_draws"] for c in cells})
    lines.append(
        f"{' or '.join(map(str, draws))} draws of each random control, ranked over all cells at once: "
        f"p of a rank is at least {least_p(draws[0]):.3f} for one cell and for many"
    )
    units_text = f"top-1 over {' or '.join(str(n) for n, _ in units)} units ({units[0][1]})"
    n_curves = sum(len(grid.curves()) for grid in grids(cells))
    if len(cells) <= MOST_ROWS:
        lines.append(
            f"{units_text}; p of all cells together (Holm), and among the largest leads of every draw over all cells"
        )
    else:
        more = f"; the first {MOST_ROWS} curves are shown" if n_curves > MOST_ROWS else ""
        lines.append(f"{units_text}; p corrected for the search over layers and {n_curves} curves{more}")
        lines.append("every cell: bridge report (a page), bridge export (a table)")
    return "\n".join(lines + few)


def _counts(valid: Sequence[Comparison], dataset: str) -> str:
    """In how many valid cells the fitted map is above what."""
    above = {part: sum(c.finding(part).is_above for c in valid) for part in ("new", "all")}
    told = (
        f"{dataset}{': ' if dataset else ''}fitted above every negative control on new answers in {above['new']} of "
        f"{len(valid)} valid cells, on all answers in {above['all']}"
    )
    for name in BASELINES:
        beside = [c.finding().baselines[name] for c in valid if name in c.finding().baselines]
        told += f"; above {name} in {sum(beside)} of {len(beside)}" if beside else f"; {name} was not scored"
    return told


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def ladder_table(one: Ladder, width: int) -> Table:
    """Maps by number of fit rows: their share of native, the hardest negative control's, and the better baseline's."""
    return fitting(lambda form: _ladder_table(one, form), 4, width)


def _ladder_table(one: Ladder, form: int) -> Table:
    """In turn without intervals, without numbers of parameters, and with the fewest and the most fit rows alone."""
    title = f"{one.pair}, {one.title}: % of the target's own top-1"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.add_column("map", no_wrap=True)
    if form < 2:
        table.add_column("parameters", justify="right", no_wrap=True)
    sizes = one.sizes if form < 3 else list(dict.fromkeys((one.sizes[0], one.sizes[-1])))
    for n in sizes:
        table.add_column(f"n={n}", justify="right", no_wrap=True)
    for rung in one.rungs:
        counts = [f"{rung.cells[0].data['fit']['n_parameters']:,}"] if form < 2 else []
        table.add_row(rung.name, *counts, *(_share(rung.at(n), with_interval=form < 1) for n in sizes))
    return table


LADDER_NOTE = (
    "each: map [95 %] | the hardest negative control, and the better of lookup and bag_of_words; ~ not above "
    "every negative control, x dead or invalid"
)


def _share(c: Comparison | None, with_interval: bool) -> str:
    found = None if c is None else c.scores.get("fitted", {}).get(SHARE)
    if c is None or found is None:
        return "-"
    against = hardest(c)
    mark = "x" if not c.valid else " " if c.is_above else "~"
    baselines = [c.scores[name][SHARE] for name in BASELINES if SHARE in c.scores.get(name, {})]
    beside = [None if against is None else against[1], max(baselines, key=lambda s: s["mean"], default=None)]
    numbers = ["-" if score is None else str(round(100 * float(score["mean"]))) for score in beside]
    share, low, high = (round(100 * float(found[k])) for k in ("mean", "low", "high"))
    interval = f" [{low:2d}, {high:2d}]" if with_interval else ""
    return f"{share:2d}{interval} | {' '.join(f'{x:>2s}' for x in numbers)}{mark}"
