"""Explained variance beside the share of true features that are found: python -m benchmarks planted

In the spirit of Korznikov (2026, arXiv 2602.14111), who reports 71 % beside 9 %. The setting is this file's own, as
theirs is known here from the abstract alone: 32 features for each dimension, 4.3 powers of ten between the most and the
least frequent, BatchTopK SAEs with as many features as there are true ones. A feature is found where a decoder row has
a cosine above 0.8 with it.
"""

import torch
from rich.console import Console
from rich.table import Table

from bridge.sae.measures import dead, explained_variance, l0
from bridge.sae.spec import SAESpec
from bridge.sae.synthetic import superposed
from bridge.sae.training import train_saes

D, EXPANSION, K, DECADES = 50, 32, 10, 4.3
N_ROWS, N_HELD_OUT, N_STEPS, BATCH = 200_000, 10_000, 8000, 256
FOUND = 0.8


def bench(n_rows: int = N_ROWS, n_steps: int = N_STEPS) -> dict[str, dict[str, float | str]]:
    made = superposed(
        n_rows + N_HELD_OUT, D, EXPANSION * D, K, torch.Generator().manual_seed(0), decades=DECADES, keep_codes=False
    )
    X, held_out = made.X[:n_rows], made.X[n_rows:]
    common = {"kind": "batch_topk", "k": K, "expansion": EXPANSION, "n_steps": n_steps, "batch_size": BATCH}
    specs = {
        name: SAESpec(learning_rate=3e-3, frozen_decoder=frozen, **common)  # type: ignore[arg-type]
        for name, frozen in (("trained", False), ("frozen decoder", True))
    }
    table = Table(title=f"{EXPANSION * D} true features in {D} dimensions, {n_steps} steps, held-out rows", box=None)
    for heading in ("SAE", "explained variance", "L0", "dead", f"found (cosine > {FOUND})", "mean best cosine"):
        table.add_column(heading, justify="left" if heading == "SAE" else "right")
    saes = train_saes([X] * len(specs), list(specs.values()))
    for name, sae in zip(specs, saes, strict=True):
        features = sae.encode(held_out)
        best = (made.dictionary @ sae.W_dec.T).amax(1)
        ev = float(explained_variance(held_out, sae.decode(features), X.mean(0)))
        found = float((best > FOUND).double().mean())
        cells = (
            f"{ev:.3f}",
            f"{l0(features):.1f}",
            f"{dead(features):.2f}",
            f"{found:.3f}",
            f"{float(best.mean()):.3f}",
        )
        table.add_row(name, *cells)
    Console(width=120).print(table)
    return {}
