"""Angles of Haar draws without their matrices, against those of matrices: python -m benchmarks haar"""

import time

import numpy as np

from bridge.statistics.haar import angles, haar_angles, haar_draw

WIDTHS, N_DRAWS = (64, 256, 1024), 3


def bench() -> dict[str, dict[str, float | str]]:
    results: dict[str, dict[str, float | str]] = {}
    for d in WIDTHS:
        rng, ours, theirs = np.random.default_rng(0), [], []
        for _ in range(N_DRAWS):
            start = time.perf_counter()
            haar_angles(d, 1, 1, rng)
            middle = time.perf_counter()
            angles(haar_draw(d, rng))
            ours.append(middle - start)
            theirs.append(time.perf_counter() - middle)
        results[f"haar_{d}"] = {
            "what": f"angles of a Haar draw, d={d}, against QR and numpy.linalg.eigvals",
            "unit": "s",
            "ours": min(ours),
            "theirs": min(theirs),
            "ratio": min(theirs) / min(ours),
        }
    return results
