"""Best layers with the correction for having searched, and the lead of every cell."""

from collections.abc import Sequence

from bridge.comparison import Comparison
from bridge.controls import NEGATIVES
from bridge.family import Best
from bridge.grids import Grid, controls_in, hardest_negative, layer_label
from bridge.report.headline import by_pair
from bridge.report.leadmap import lead_map
from bridge.report.page import MANY, Cell, figure, number, p_value, table, text

LEGEND = (
    "Fitted − hardest negative control, top-1. Bold: above every negative control after Holm's correction. ×: dead or "
    "invalid. ·: no fitted score beside a negative control."
)


def best_layers(bests: Sequence[Best]) -> str:
    """One row per curve: its best layer beside every negative control, and what is left after the search."""
    shown = (*NEGATIVES, "lookup", "clustered", "same_model")
    names = [n for n in controls_in(b.cell for b in bests) if n in shown]
    several = len({best.grid.pair for best in bests}) > 1
    rows, muted = [], []
    for best in bests:
        c, hardest = best.cell, hardest_negative(best.cell)
        lead = c.contrasts[hardest]["top1"] if hardest is not None and hardest in c.contrasts else None
        fitted, said = c.scores["fitted"]["top1"], best.verdict()
        pair = f"{c.config['pair']['name']}, " if several else ""
        searched = f"{best.n_layers}" + (f", {best.n_off} not valid" if best.n_off else "")
        rows.append([
            text(f"{pair}{best.grid.title}"), str(c.data["n_fit"]),
            Cell(f"{layer_label(c)}<br><span class=quiet>of {searched}</span>", "tight"),
            _interval(fitted["mean"], fitted["low"], fitted["high"]),
            *[_mean(c, name) for name in names],
            "–" if lead is None else _interval(lead["difference"], lead["low"], lead["high"], "+"),
            p_value(best.p_holm) if best.p else "–",
            p_value(max(best.p_draws.values())) if best.p_draws else "–",
            text("above all", "text tight") if said.startswith("above") else text(said, "text bad"),
        ])  # fmt: skip
        muted.append(not said.startswith("above"))
    heading = ["injection", "n", "best layer", "fitted", *(n.replace("_", " ") for n in names),
               "fitted − hardest", "p", "rank among draws", "verdict"]  # fmt: skip
    first = table(heading, rows[:MANY], muted[:MANY])
    if len(rows) <= MANY:
        return first
    rest = table(heading, rows[MANY:], muted[MANY:])
    return f"{first}<details><summary>{len(rows) - MANY} more curves</summary>{rest}</details>"


def leads(found: Sequence[Grid]) -> str:
    """The lead of every cell, one picture per pair."""

    def draw(some: list[Grid]) -> str:
        rows = [(grid, curve) for grid in some for curve in grid.curves()]
        left_out = len(rows) - MANY
        told = f'<p class="note">{LEGEND}</p>'
        if left_out > 0:
            told += f'<p class="note bad">The first {MANY} of {len(rows)} curves.</p>'
        title = f"{len(rows)} curves" if len(rows) > 1 else rows[0][0].title
        return f'<div class="panels">{figure(title, lead_map(rows[:MANY]), told, full=True)}</div><p></p>'

    return by_pair(found, draw)


def _mean(c: Comparison, name: str) -> str:
    found = c.mean(name)
    return "–" if found is None else number(found)


def _interval(mean: float, low: float, high: float, sign: str = "") -> Cell:
    shown = [f"{v:{sign}.{k}f}".replace("-", "−") for v, k in ((mean, 2 if sign else 3), (low, 2), (high, 2))]
    return Cell(f"{shown[0]}<br><span class=quiet>[{shown[1]}, {shown[2]}]</span>", "tight")
