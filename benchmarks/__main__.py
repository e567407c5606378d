"""All benchmarks in one run, each against a named alternative: python -m benchmarks [NAME ...]"""

import importlib
import json
import os
import platform
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

MODULES = (
    *("bench_fit", "bench_late_layer", "bench_extraction", "bench_rerun", "bench_sweep"),
    *("bench_maps", "bench_stream", "bench_polar", "bench_training", "bench_calibration"),
    *("bench_gates", "bench_peers", "bench_compose", "bench_seeds", "bench_haar", "bench_sae", "bench_planted"),
    "bench_rotations",
)
RESULT = Path("outputs/bench.json")


def main(chosen: list[str]) -> None:
    wanted = [m for m in MODULES if not chosen or m.removeprefix("bench_") in chosen]
    if len(wanted) < len(chosen):
        names = ", ".join(m.removeprefix("bench_") for m in MODULES)
        sys.exit(f"benchmarks: got {' '.join(chosen)}; wanted some of {names}: change the names")
    results: dict[str, dict[str, float | str]] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}", box=None)
    for heading in ("benchmark", "ours", "theirs", "theirs / ours", "what"):
        table.add_column(heading, justify="left" if heading in ("benchmark", "what") else "right")
    for name in wanted:
        print(f"{name} ...", flush=True)
        rows = importlib.import_module(f"benchmarks.{name}").bench()
        results |= rows
        for key, row in rows.items():
            ours, theirs = (f"{row[side]:.4g} {row['unit']}" for side in ("ours", "theirs"))
            table.add_row(key, ours, theirs, f"{row['ratio']:.3g}x", str(row["what"]))
    # Calibration and gates measure rates, not times, and print their own tables.
    if not table.row_count:
        return
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"written to {RESULT}")


if __name__ == "__main__":
    main(sys.argv[1:])
