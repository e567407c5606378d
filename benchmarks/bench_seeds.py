"""Seeds of one small model trained as one batched model, against one after the other: python -m benchmarks seeds"""

import time
from collections.abc import Sequence

import torch

from bridge.models.cohort import train_cohort
from bridge.models.recipe import DyckSpec

N_SEEDS, N_STEPS, N_REPEATS = 5, 40, 3


def seconds(groups: Sequence[Sequence[DyckSpec]]) -> float:
    start = time.perf_counter()
    for group in groups:
        train_cohort(group)
    return time.perf_counter() - start


def bench() -> dict[str, dict[str, float | str]]:
    specs = [DyckSpec(seed=seed, n_steps=N_STEPS) for seed in range(N_SEEDS)]
    results: dict[str, dict[str, float | str]] = {}
    before = torch.get_num_threads()
    try:
        for n_threads in sorted({1, before}):
            torch.set_num_threads(n_threads)
            ours, theirs = [], []
            for _ in range(N_REPEATS):
                ours.append(seconds([specs]))
                theirs.append(seconds([[spec] for spec in specs]))
            results[f"seeds_{n_threads}"] = {
                "what": f"{N_SEEDS} Dyck-3 seeds, {N_STEPS} steps, {n_threads} threads, against one after the other",
                "unit": "s",
                "ours": min(ours),
                "theirs": min(theirs),
                "ratio": min(theirs) / min(ours),
            }
    finally:
        torch.set_num_threads(before)
    return results
