"""Tables for a terminal: a fitted score never stands without its controls."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.controls.names import KINDS
from bridge.results.comparison import Comparison
from bridge.results.curves import verdict, withhold
from bridge.results.verdicts import counted, p_of, units_note, wanted
from bridge.show.fitting import fitting

# Left out one by one, from the first on, where the screen is narrow; the record has it all.
OPTIONAL = ("log-prob", "of native", "draws", "lead")
KIND_STYLE = {
    "estimate": "bold",
    "negative": "",
    "baseline": "magenta",
    "mark": "magenta",
    "ceiling": "cyan",
    "reference": "dim",
}


def comparison_table(c: Comparison, width: int) -> Table:
    """One cell: every control a row, on new answers and on all, with the fitted map's paired lead."""
    return fitting(lambda form: _comparison_table(c, OPTIONAL[form:]), len(OPTIONAL) + 1, width)


def _comparison_table(c: Comparison, also: Sequence[str]) -> Table:
    title = f"{c.config['pair']['name']}: {c.label}, {c.sizes}"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.add_column("control", no_wrap=True)
    sizes = {"new": c.by_answer["new"]["n"], "all": c.data["n_eval"]}
    for part in ("new", "all"):
        table.add_column(f"{part} answers ({sizes[part]})\ntop-1 [95 %]", justify="right", no_wrap=True)
    between = {"log-prob": "log-prob\n(nats)", "of native": "of\nnative"}
    lead = "fitted - control\ntop-1, all [95 %]" if "lead" in also else "lead\nall"
    for heading in (*(between[name] for name in also if name in between), lead, "p\nnew", "p\nall"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, scores in c.scores.items():
        table.add_row(*_row(c, name, scores, also), style=KIND_STYLE[KINDS[name].kind])
    for name in c.absent:
        table.add_row(name, "absent", "absent", style="dim")
    return table


def _row(c: Comparison, name: str, scores: Mapping[str, Any], also: Sequence[str]) -> list[str]:
    top1, native = scores["top1"], scores.get("fraction_of_native")
    new = c.by_answer["new"].get("scores", {})
    leads = [c.contrasts_of(part).get(name, {}).get("top1") for part in ("new", "all")]
    draws = f" x{top1['n_draws']}" if "n_draws" in top1 and "draws" in also else ""
    row = [f"{name}{draws}", _interval(new[name]["top1"]) if name in new else "-", _interval(top1)]
    if "log-prob" in also:
        row.append(f"{scores['logprob_nats']['mean']:.2f}")
    if "of native" in also:
        row.append("" if native is None or name == "native_source" else f"{native['mean']:.0%}")
    row.append("" if leads[1] is None else _lead(leads[1], "lead" in also))
    # A mark to read a score against is not tested.
    return row + ["" if lead is None or KINDS[name].kind == "mark" else _p(p_of(lead)) for lead in leads]


def _interval(score: Mapping[str, float]) -> str:
    return f"{score['mean']:.3f} [{score['low']:.2f}, {score['high']:.2f}]"


def _lead(contrast: Mapping[str, float], with_interval: bool) -> str:
    interval = f" [{contrast['low']:+.2f}, {contrast['high']:+.2f}]" if with_interval else ""
    return f"{contrast['difference']:+.3f}{interval}"


def print_comparison(c: Comparison, console: Console) -> None:
    """The table of one cell, then states, fit, gates, and what may be concluded."""
    said, c = verdict(c), withhold(c)
    console.print(comparison_table(c, console.width))
    parts = ", ".join(
        f"{label} {counted(part['n'], 'item')} of {counted(part['n_units'], 'unit')}"
        for label, part in c.by_answer.items()
    )
    draws = ", ".join(f"{n} x{s['top1']['n_draws']}" for n, s in c.scores.items() if "n_draws" in s["top1"])
    lines: list[str | None] = [
        f"[95 %]: over units ({c.data['unit']}), resampled whole"
        + (f"; of {draws} the lowest and the highest draw" if draws else "")
        + ". p: flips of units, and the rank among draws",
        f"answers: {parts}; no fit row has a new answer",
        units_note(c.data),
        _states_line(c),
        _whole_line(c),
        _chance_line(c),
        _fit_line(c),
        _training_line(c),
    ]
    for line in lines:
        if line:
            console.print(Text(line))
    console.print(gates_line(c))
    if c.missing:
        console.print(f"not scored here: {', '.join(c.missing)} (control=all scores everything)", style="yellow")
    console.print(Text(said, style="bold green" if c.is_above and c.finding("new").is_above else "bold yellow"))


def _states_line(c: Comparison) -> str | None:
    if "fitted" not in c.state_scores:
        return None
    each = ", ".join(f"{name} {s['explained_variance']['mean']:.2f}" for name, s in c.state_scores.items())
    return f"held-out explained variance of the states: {each}"


def _whole_line(c: Comparison) -> str | None:
    each = ", ".join(
        f"{n} {s['token_f1']['mean']:.2f}/{s['exact_match']['mean']:.2f}/{s['answer_logprob_nats']['mean']:.1f}"
        for n, s in c.scores.items()
        if "token_f1" in s
    )
    return f"whole answers, token F1/exact match/log-prob in nats: {each}" if each else None


def _chance_line(c: Comparison) -> str:
    chance = c.data["chance"]
    return (
        f"chance: log-prob {chance['uniform_logprob_nats']:.2f} (uniform), {chance['prior_logprob_nats']:.2f} (answers "
        f"as often as in the fit), top-1 {chance['commonest_top1']:.3f} (always the commonest answer)"
    )


def _fit_line(c: Comparison) -> str:
    fit = c.data["fit"]
    return (
        f"fit: {fit['n_rows']} rows, {fit['n_parameters']:,} parameters, rank {fit['rank']}, n/d {fit['n_over_d']:.2f}"
        f", {fit['eval_variance_outside_span']:.1%} of the eval variance outside the fitted span; there and back: "
        f"relative error {fit['cycle']['relative_error']:.2f}, of permuted rows "
        f"{fit['cycle']['permuted_relative_error']:.2f} (mean: 1); lookup takes "
        f"{counted(fit['lookup_neighbours'], 'neighbour')}"
    )


def _training_line(c: Comparison) -> str | None:
    training = c.data["fit"].get("training")
    if not training:
        return None
    return (
        f"trained through the target: held-back loss {training['start_loss_nats']:.2f} -> "
        f"{training['held_loss_nats']:.2f} nats (chance {-c.data['chance']['prior_logprob_nats']:.2f}), "
        f"kept step {training['best_step']} of {training['n_steps']}"
    )


def gates_line(c: Comparison) -> Text:
    """The gates, each with its value and what is wanted of it."""
    line = Text("gates: ")
    for i, (name, gate) in enumerate(c.gates.items()):
        line.append(", " if i else "")
        passed = "passed" if gate["passed"] else "FAILED"
        line.append(
            f"{name} {passed} ({gate['value']:.2g}, wanted {wanted(gate)})", style="" if gate["passed"] else "bold red"
        )
    return line


def _p(value: float | None) -> str:
    return "-" if value is None else "<.001" if value < 0.001 else f"{value:.3f}"
