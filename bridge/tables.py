"""Tables for a terminal: a fitted score never stands without its controls."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.comparison import NEGATIVES, Comparison, injection_label
from bridge.controls import CONTROLS, REFERENCES
from bridge.family import Best, Family
from bridge.grids import Grid, grids, layer_label, verdict, withhold
from bridge.ladder import SHARE, Ladder, hardest

HEADINGS = {
    "shuffled_within": "shuf.\nwithin",
    "shuffled": "shuf-\nfled",
    "identity": "iden-\ntity",
    "same_model": "same\nmodel",
    "native_target": "target\nnative",
    "random": "ran-\ndom",
    "planted": "plan-\nted",
}
# Tables are made for this many columns; on a narrower screen they leave out what the record has anyway.
FULL_WIDTH = 104
# More cells than this are shown by the best layer of each curve, and more curves than this are left to the report.
MOST_ROWS = 60
METRIC_NAMES = {"top1": "top-1", "top5": "top-5", "top10": "top-10", "mrr": "MRR", "logprob_nats": "log-prob (nats)"}
KIND_STYLE = {"estimate": "bold", "negative": "", "ceiling": "cyan", "reference": "dim"}


def comparison_table(c: Comparison, width: int = FULL_WIDTH) -> Table:
    """One cell: every control a row, with 95 % intervals and the fitted map's paired lead."""
    title = f"{c.config['pair']['name']}: {c.label}, {c.data['n_eval']} eval items"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.add_column("control", no_wrap=True)
    full = width >= FULL_WIDTH
    between = ("top-10", "MRR", "log-prob\n(nats)") if full else ()
    for heading in ("top-1 [95 %]", *between, "of\nnative", "fitted - control\ntop-1 [95 %]", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    kinds = {**CONTROLS, **REFERENCES}
    for name, scores in c.scores.items():
        top1 = scores["top1"]
        native = scores.get("fraction_of_native")
        found = c.contrasts.get(name, {}).get("top1")
        draws = f" x{top1['n_draws']}" if "n_draws" in top1 else ""
        cells = {m: f"{scores[m]['mean']:.{digits}f}" for m, digits in (("top10", 3), ("mrr", 3), ("logprob_nats", 2))}
        table.add_row(
            f"{name}{draws}",
            f"{top1['mean']:.3f} [{top1['low']:.2f}, {top1['high']:.2f}]",
            *(cells.values() if full else ()),
            "" if native is None or name == "native_source" else f"{native['mean']:.0%}",
            "" if found is None else f"{found['difference']:+.3f} [{found['low']:+.2f}, {found['high']:+.2f}]",
            "" if found is None else _p(max(found["p"], found.get("p_draws", 0.0))),
            style=KIND_STYLE[kinds[name].kind],
        )
    return table


def print_comparison(c: Comparison, console: Console) -> None:
    """The table of one cell, then states, answers seen and unseen, gates, and what may be concluded."""
    said, c = verdict(c), withhold(c)
    console.print(comparison_table(c, console.width))
    for label, part in c.scores_by_answer.items():
        if "fitted" in part["scores"]:
            line = ", ".join(
                f"{name} {part['scores'][name]['top1']['mean']:.3f}"
                for name in ("fitted", "shuffled_within", "shuffled", "random", "same_model")
                if name in part["scores"]
            )
            console.print(f"answers {label} in the fit ({part['n']} items), top-1: {line}", highlight=False)
    if "fitted" in c.state_scores:
        line = ", ".join(f"{name} {s['explained_variance']['mean']:.2f}" for name, s in c.state_scores.items())
        console.print(f"held-out explained variance of the states: {line}", highlight=False)
    whole = [(n, s) for n, s in c.scores.items() if "token_f1" in s]
    if whole:
        line = ", ".join(
            f"{n} {s['token_f1']['mean']:.2f}/{s['exact_match']['mean']:.2f}/{s['answer_logprob_nats']['mean']:.1f}"
            for n, s in whole
        )
        console.print(f"whole answers, token F1/exact match/log-prob in nats: {line}", highlight=False)
    fit, chance = c.data["fit"], c.data["chance"]
    console.print(
        f"chance: log-prob {chance['uniform_logprob_nats']:.2f} (uniform), {chance['prior_logprob_nats']:.2f} (answers "
        f"as often as in the fit), top-1 {chance['prior_top1']:.3f} (the commonest answer)",
        highlight=False,
    )
    console.print(
        f"there and back: relative error {fit['cycle']['relative_error']:.2f}, of permuted rows "
        f"{fit['cycle']['permuted_relative_error']:.2f} (mean: 1)",
        highlight=False,
    )
    if training := fit.get("training"):
        console.print(
            f"trained through the target: held-back loss {training['start_loss_nats']:.2f} -> "
            f"{training['held_loss_nats']:.2f} nats (chance {-chance['prior_logprob_nats']:.2f}), "
            f"kept step {training['best_step']} of {training['n_steps']}",
            highlight=False,
        )
    console.print(
        f"fit: {fit['n_rows']} rows, {fit['n_parameters']:,} parameters, rank {fit['rank']}, n/d {fit['n_over_d']:.2f}"
        f", {fit['eval_variance_outside_span']:.1%} of the eval variance outside the fitted span",
        highlight=False,
    )
    console.print(gates_line(c))
    if c.missing:
        console.print(f"not scored here: {', '.join(c.missing)} (control=all scores everything)", style="yellow")
    console.print(Text(said, style="bold green" if said.startswith("above") else "bold yellow"))


def gates_line(c: Comparison) -> Text:
    """The gates, each with its value against its threshold."""
    line = Text("gates: ")
    for i, (name, gate) in enumerate(c.gates.items()):
        line.append(", " if i else "")
        sign = ">=" if name == "same_model" else "<="
        passed = "passed" if gate["passed"] else "FAILED"
        line.append(
            f"{name} {passed} ({gate['value']:.2g} {sign if gate['passed'] else 'not ' + sign} {gate['threshold']:g})",
            style="" if gate["passed"] else "bold red",
        )
    return line


def grid_table(found: Sequence[Comparison], metric: str = "top1", width: int = FULL_WIDTH) -> Table:
    """Many cells, the fitted score beside every control: one row each, or for a large grid one row per curve.

    The row of a curve is its best layer by top-1, with the verdict corrected for having searched (`bridge.family`).
    """
    if len(found) > MOST_ROWS:
        return _curves_table(found, metric, width)
    table, names = _empty_table(found, METRIC_NAMES.get(metric, metric), width, "layer")
    for c in found:
        scores = [_short(withhold(c).mean(name, metric)) for name in names]
        row = [injection_label(c.config), layer_label(c), str(c.data["n_fit"])]
        table.add_row(*row, *scores, _short_verdict(c), style="" if c.valid else "dim")
    return table


def _curves_table(found: Sequence[Comparison], metric: str, width: int) -> Table:
    family = Family(found)
    settings = grids([withhold(c) for c in family.cells])
    best = {_place(b.grid, b.cell): b for b in family.best_layers(settings)}
    several = len({grid.pair for grid in settings}) > 1
    title = f"{METRIC_NAMES.get(metric, metric)} at the best layer of each curve"
    table, names = _empty_table(found, title, width, "best\nlayer")
    curves = [(grid, curve) for grid in settings for curve in grid.curves()]
    for grid, curve in curves[:MOST_ROWS]:
        label = f"{grid.pair.split(':')[0]}, {grid.title}" if several else grid.title
        n = str(curve[0].data["n_fit"])
        chosen = best.get(_place(grid, curve[0]))
        if chosen is None:
            why = "no fitted score" if any(c.valid for c in curve) else f"all {len(curve)} layers dead or invalid"
            table.add_row(label, "-", n, *["-"] * len(names), why, style="dim")
            continue
        scores = [_short(chosen.cell.mean(name, metric)) for name in names]
        table.add_row(label, layer_label(chosen.cell), n, *scores, _short_best(chosen))
    return table


def _place(grid: Grid, c: Comparison) -> tuple[str, str, int]:
    return grid.pair, grid.title, c.data["n_fit"]


def _empty_table(found: Sequence[Comparison], what: str, width: int, layer: str) -> tuple[Table, list[str]]:
    """The columns of a grid, and the controls that have one."""
    full = width >= FULL_WIDTH
    names = [n for n in [*CONTROLS, "native_target"] if any(n in c.scores for c in found) and (full or n != "planted")]
    pairs = " / ".join(dict.fromkeys(c.config["pair"]["name"] for c in found))
    table = Table(
        title=f"{pairs}: {what}",
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        box=None,
        padding=(0, 1 if full else 0, 0, 1),
        collapse_padding=True,
    )
    table.add_column("injection", no_wrap=full and layer == "layer")
    table.add_column(layer, justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name in names:
        table.add_column(HEADINGS.get(name, name), justify="right", no_wrap=True)
    table.add_column("verdict")
    return table, names


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"


def grid_footer(found: Sequence[Comparison]) -> str:
    """How many of the cells passed every gate, what the columns mean, and where the rest is."""
    n_valid = sum(c.valid for c in found)
    passed = f"all gates passed in {n_valid} of {len(found)} cells; n: items to fit on\n"
    if len(found) <= MOST_ROWS:
        return f"{passed}verdict on top-1: paired by item, and against every draw of a random control"
    n_curves = sum(len(grid.curves()) for grid in grids(found))
    more = f"\nthe first {MOST_ROWS} curves are shown" if n_curves > MOST_ROWS else ""
    return (
        f"{passed}verdict on top-1, corrected for the search over layers and {n_curves} curves{more}\n"
        "every cell: bridge report (a page), bridge export (a table)"
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _short_verdict(c: Comparison) -> str:
    said = c.verdict()
    if said.startswith("dead"):
        return "dead"
    if said.startswith("above"):
        return "above all"
    if said.startswith("open"):
        return f"open: {len([n for n in c.missing if n in NEGATIVES])} controls not scored"
    return said.replace("_", " ")


def _short_best(best: Best) -> str:
    said = best.verdict()
    if said.startswith("open: no score"):
        return f"open: {len([n for n in NEGATIVES if n not in best.p])} controls not scored"
    return "above all" if said.startswith("above") else said.replace("_", " ")


def ladder_table(one: Ladder) -> Table:
    """Maps by number of fit rows: the share of native with its interval, and the hardest negative control's share."""
    title = f"{one.pair}, {one.title}: % of the target's own top-1"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.add_column("map", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for n in one.sizes:
        table.add_column(f"n={n}", justify="right", no_wrap=True)
    for rung in one.rungs:
        cells = [rung.at(n) for n in one.sizes]
        counts = dict.fromkeys(f"{c.data['fit']['n_parameters']:,}" for c in rung.cells)
        table.add_row(rung.name, next(iter(counts)), *(_share(c) for c in cells))
    return table


LADDER_NOTE = (
    "each: map [95 %] | the hardest negative control beside it; ~ not above every control, x dead or invalid; the p of "
    "a comparison against draws is at least 1 / (1 + control.n_draws)"
)


def _share(c: Comparison | None) -> str:
    found = None if c is None else c.scores.get("fitted", {}).get(SHARE)
    if c is None or found is None:
        return "-"
    against = hardest(c)
    mark = "x" if not c.valid else " " if c.verdict().startswith("above") else "~"
    share, low, high = (round(100 * float(found[k])) for k in ("mean", "low", "high"))
    control = "-" if against is None else f"{round(100 * float(against[1]['mean'])):2d}"
    return f"{share:2d} [{low:2d}, {high:2d}] | {control}{mark}"
