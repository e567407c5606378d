"""Type I error, coverage and family-wise error of all that a report shows: python -m benchmarks calibration"""

import json
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.calibration.draws import ranks, verdicts
from benchmarks.calibration.items import families, rare_shares, singles
from benchmarks.calibration.nested import nested
from benchmarks.calibration.rates import BANDS, NOMINAL, Rates
from benchmarks.calibration.records import GRID, LAYERS, SIZES, WORDINGS, scores, states
from bridge.session import Session

OUTPUTS = Path("outputs")
RESULT = OUTPUTS / "calibration.json"
# Simulations of most rates, of rates that are shown for contrast, and of rates that need a new fit each.
N, N_BLIND, N_NESTED = 2000, 500, 300
# Resamples and random flips of a simulation. `bridge` uses 2,000; with fewer, a single interval varies more.
N_RESAMPLES = 400
UNITS = (40, 20, 10)


def measured(outputs: Path) -> Rates:
    """Every rate, from records under `outputs`, which are computed where they are missing."""
    torch.set_num_threads(1)
    session, rates = Session(outputs, "cpu", 64), Rates()
    cells = [scores(session, *words) for words in GRID]
    facts, n_facts = cells[8], cells[8].n_units
    layers = [states(session, layer, max(SIZES)) for layer in LAYERS]
    for n_units in (n_facts, *UNITS):
        _timed(f"{n_units} answers", lambda n=n_units: singles(rates, facts, n, N, N_RESAMPLES, f"{n} answers"))
    for unit in ("answer", "fact"):
        asked = scores(session, *WORDINGS, f"dataset.unit={unit}")
        n_units, label = asked.n_units, f"{asked.n_units} {unit}s in all wordings"
        _timed(label, lambda a=asked, n=n_units, label=label: singles(rates, a, n, N, N_RESAMPLES, label))
    blind = f"{asked.n_units} facts, items taken as independent"
    _timed(blind, lambda: singles(rates, asked, asked.n_units, N_BLIND, N_RESAMPLES, blind, is_blind=True))
    _timed("rare shares", lambda: rare_shares(rates, N))
    for n_units in (n_facts, UNITS[0]):
        _timed("families", lambda n=n_units: families(rates, cells, n, N, f"{n} answers"))
    blind = f"{n_facts} answers, items taken as independent"
    _timed(blind, lambda: families(rates, cells, n_facts, N_BLIND, blind, is_blind=True))
    for control in ("shuffled", "shuffled_within"):
        _timed(f"ranks, {control}", lambda c=control: ranks(rates, cells, c, N))
    _timed("verdicts", lambda: verdicts(rates, cells, N))
    _timed("nested", lambda: nested(rates, layers, SIZES, N_NESTED))
    return rates


def _timed(label, work) -> None:
    start = time.perf_counter()
    work()
    print(f"  {label}: {time.perf_counter() - start:.0f} s", flush=True)


def table(rates: Rates, title: str, is_gated: bool) -> Table:
    """Table of the rates that must lie in their band, or of those that are shown for contrast."""
    shown = Table(title=title, box=None)
    for heading in ("what", "kind", "nominal", "measured", "95 % interval", "simulations", ""):
        shown.add_column(heading, justify="left" if heading in ("what", "kind", "") else "right")
    for name, rate in rates.by_name.items():
        if rate.is_gated == is_gated:
            low, high = rate.interval
            numbers = f"{NOMINAL[rate.kind]:.0%}", f"{rate.measured:.1%}", f"{low:.1%} to {high:.1%}", f"{rate.n:,}"
            shown.add_row(name, rate.kind, *numbers, "OFF" if rate.is_off else "")
    return shown


def bench() -> dict[str, dict[str, float | str]]:
    """Print both tables, write the first to outputs/calibration.json, and fail where a rate is out of its band."""
    rates = measured(OUTPUTS)
    RESULT.write_text(json.dumps(rates.as_json(), indent=1) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 140)
    bands = ", ".join(f"{kind} {low:.0%} to {high:.0%}" for kind, (low, high) in BANDS.items())
    console.print(table(rates, f"calibration; bands: {bands}", is_gated=True))
    console.print(table(rates, "for contrast, and outside the bands by nature", is_gated=False))
    print(f"written to {RESULT}")
    off = [name for name, rate in rates.by_name.items() if rate.is_off]
    if off:
        sys.exit(f"benchmarks: out of their bands: {'; '.join(off)}")
    return {}


if __name__ == "__main__":
    bench()
