"""Best layers with the correction for having searched, and the lead of every cell."""

from collections.abc import Sequence
from html import escape

from bridge.controls.names import BASELINES, NEGATIVES
from bridge.report.headline import by_pair
from bridge.report.leadmap import lead_map
from bridge.results.comparison import Comparison
from bridge.results.curves import Grid, controls_in, hardest_negative, layer_label
from bridge.results.families import Best
from bridge.show.page import MANY, Cell, figure, number, p_value, table, text

LEGEND = (
    "Fitted − hardest negative control, top-1. Bold: above every negative control after Holm's correction. ×: dead or "
    "invalid. ·: no fitted score beside a negative control."
)


def best_layers(bests: Sequence[Best]) -> str:
    """One row per curve: its best layer beside every negative control, and what is left after the search."""
    shown = (*NEGATIVES, *BASELINES, "clustered", "same_model")
    names = [n for n in controls_in(b.cell for b in bests) if n in shown]
    several = len({best.grid.heading for best in bests}) > 1
    rows, muted = [], []
    for best in bests:
        c, hardest = best.cell, hardest_negative(best.cell)
        lead = c.contrasts[hardest]["top1"] if hardest is not None and hardest in c.contrasts else None
        fitted, said = c.scores["fitted"]["top1"], best.verdict()
        pair = f"{best.grid.place}, " if several else ""
        is_above = said.startswith("above")
        verdict = "above all" if is_above else escape(said)
        p = f"p {p_value(best.p_holm)}" if best.p else ""
        p += f", rank {p_value(max(best.p_draws.values()))}" if best.p_draws else ""
        searched = f"{best.n_layers}" + (f", {best.n_off} not valid" if best.n_off else "")
        rows.append([
            text(f"{pair}{best.grid.title}"), str(c.data["n_fit"]),
            Cell(f"{layer_label(c)}<br><span class=quiet>of {searched}</span>", "tight"),
            Cell(f"{verdict}<br>{_beside(c)}", "text tight" if is_above else "text bad"),
            *_new(c),
            _interval(fitted["mean"], fitted["low"], fitted["high"]),
            *[_mean(c, name) for name in names],
            "–" if lead is None else _lead(lead, p),
        ])  # fmt: skip
        muted.append(not is_above)
    names = [n.replace("_", " ") for n in names]
    heading = ["injection", "n", "best layer", "verdict, all answers", "fitted, new", "hardest, new", "fitted, all"]
    heading += [*names, "fitted − hardest, all"]
    first = table(heading, rows[:MANY], muted[:MANY])
    if len(rows) <= MANY:
        return first
    rest = table(heading, rows[MANY:], muted[MANY:])
    return f"{first}<details><summary>{len(rows) - MANY} more curves</summary>{rest}</details>"


def leads(found: Sequence[Grid]) -> str:
    """The lead of every cell, one picture per pair."""

    def draw(some: list[Grid]) -> str:
        every = [(grid, curve) for grid in some for curve in grid.curves()]
        # New answers are the headline; where all items are new there is nothing else to show.
        new = [(grid, on) for grid, curve in every if (on := [n for c in curve if (n := c.on("new")) is not None])]
        rest = [(grid, curve) for grid, curve in every if not all(c.is_all_new for c in curve)]
        return "".join(_map(rows, part) for rows, part in ((new, "new"), (rest, "all")) if rows)

    return by_pair(found, draw)


def _map(rows: Sequence[tuple[Grid, list[Comparison]]], part: str) -> str:
    """The leads of one pair on new answers or on all."""
    left_out = len(rows) - MANY
    told = f'<p class="note">{LEGEND}</p>'
    if left_out > 0:
        told += f'<p class="note bad">The first {MANY} of {len(rows)} curves.</p>'
    title = f"{len(rows)} curves" if len(rows) > 1 else rows[0][0].title
    plot = figure(title, lead_map(rows[:MANY]), told, f"{part} answers", full=True)
    return f'<div class="panels">{plot}</div><p></p>'


def _new(c: Comparison) -> list[str]:
    """The fitted map and the hardest negative control on new answers."""
    scores = {name: score["top1"] for name, score in c.by_answer["new"].get("scores", {}).items()}
    hardest = max((n for n in NEGATIVES if n in scores), key=lambda n: float(scores[n]["mean"]), default=None)
    fitted = scores.get("fitted")
    return [
        "–" if fitted is None else _interval(fitted["mean"], fitted["low"], fitted["high"]),
        "–" if hardest is None else number(scores[hardest]["mean"]),
    ]


def _beside(c: Comparison) -> str:
    """Which baselines the fitted map is above on all answers."""
    told = c.finding().baselines.items()
    return "<br>".join(f"{'' if above else 'not '}above {name.replace('_', ' ')}" for name, above in told)


def _mean(c: Comparison, name: str) -> str:
    found = c.mean(name)
    return "–" if found is None else number(found)


def _interval(mean: float, low: float, high: float) -> Cell:
    return Cell(f"{number(mean, 3)}<br><span class=quiet>[{number(low)}, {number(high)}]</span>", "tight")


def _lead(lead: dict[str, float], p: str) -> Cell:
    told = f"{lead['difference']:+.2f} [{lead['low']:+.2f}, {lead['high']:+.2f}]".replace("-", "−")
    return Cell(f"{told}<br><span class=quiet>{escape(p)}</span>", "tight")
