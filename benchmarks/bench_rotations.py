"""Rotations of all pairs at all sites in one call, against one at a time and against scipy: python -m benchmarks
rotations"""

import time
from collections.abc import Callable
from itertools import combinations

import torch
from scipy.linalg import orthogonal_procrustes, svd
from torch import Tensor

from bridge.rotations.fits import fit_rotations, polar

N_MODELS, N_SITES, N, D = 10, 6, 5000, 64
N_REPEATS = 3


def bench() -> dict[str, dict[str, float | str]]:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(N_MODELS, N_SITES, N, D, generator=generator, dtype=torch.float64)
    pairs = list(combinations(range(N_MODELS), 2))
    products = torch.cat([states[i].mT @ states[j] for i, j in pairs])
    reduced = [product.numpy() for product in products]

    def scipys() -> list[Tensor]:
        found = []
        for product in reduced:
            U, _, Vh = svd(product)
            found.append(torch.from_numpy(U @ Vh))
        return found

    def whole() -> list[Tensor]:
        return [
            torch.from_numpy(orthogonal_procrustes(states[i, k].numpy(), states[j, k].numpy())[0])
            for i, j in pairs
            for k in range(N_SITES)
        ]

    ways: dict[str, Callable[[], object]] = {
        "batch": lambda: polar(products),
        "loop": lambda: [polar(product) for product in products],
        "scipy": scipys,
        "batch with product": lambda: torch.cat([fit_rotations(states[i], states[j]) for i, j in pairs]),
        "loop with product": lambda: [
            fit_rotations(states[i, k], states[j, k]) for i, j in pairs for k in range(N_SITES)
        ],
        "scipy with product": whole,
    }
    for ours, theirs in (("batch", "scipy"), ("batch with product", "scipy with product")):
        torch.testing.assert_close(ways[ours](), torch.stack(ways[theirs]()))  # type: ignore[arg-type]
    took = dict.fromkeys(ways, float("inf"))
    # By turns, so that what else the machine does falls on all alike.
    for _ in range(N_REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            took[name] = min(took[name], time.perf_counter() - start)
    what = f"{len(pairs)} pairs x {N_SITES} sites, d={D}"
    return {
        f"rotations_{key}": {
            "what": f"{what}, {text}",
            "unit": "s",
            "ours": took[ours],
            "theirs": took[theirs],
            "ratio": took[theirs] / took[ours],
        }
        for key, ours, theirs, text in (
            ("loop", "batch", "loop", "products given, one call against a loop of ours"),
            ("scipy", "batch", "scipy", "products given, against a loop of scipy.linalg.svd"),
            ("rows_loop", "batch with product", "loop with product", f"n={N}, against a loop of ours"),
            ("rows_scipy", "batch with product", "scipy with product", f"n={N}, against scipy's orthogonal_procrustes"),
        )
    }
