"""A fit on batches against the fit in memory, each in a process of its own: python -m benchmarks stream"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.memory import peak_mb, start_counting
from bridge.maps.affine import Affine
from bridge.maps.stream import fit_stream

N, D, BATCH = 100_000, 256, 2_000


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Rows as a model would give them, in float32 and far from zero."""
    W = torch.randn(D, D, generator=torch.Generator().manual_seed(0)) / D**0.5
    for i in range(N // BATCH):
        generator = torch.Generator().manual_seed(i + 1)
        X = torch.randn(BATCH, D, generator=generator) + 5.0
        yield X, X @ W + torch.randn(BATCH, D, generator=generator)


def measure(side: str) -> dict[str, Any]:
    """Time from the first batch to the fitted map, and growth of the peak memory."""
    fit_stream(Affine(), [next(batches())])  # what is loaded once
    before = start_counting()
    start = time.perf_counter()
    if side == "stream":
        fitted = fit_stream(Affine(), batches())
    else:
        X, Y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
        fitted = Affine().fit(X, Y)
    wall_s = time.perf_counter() - start
    grown = peak_mb() - before
    probe = next(batches())[0][:1]
    return {"wall_s": wall_s, "peak_mb": grown, "mapped": fitted.transform(probe)[0].tolist()}


def in_a_process(side: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_stream", side]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def bench() -> dict[str, dict[str, float | str]]:
    streamed, whole = in_a_process("stream"), in_a_process("memory")
    mapped, size = (torch.tensor(side["mapped"], dtype=torch.float64) for side in (streamed, whole))
    apart = mapped - size
    print(f"largest relative difference of a mapped state {float(apart.abs().max() / size.abs().max()):.1e}")
    what = f"affine fit of {N} rows made in batches of {BATCH}, d={D}: streamed against all in memory"
    rows = {}
    for key, unit in (("wall_s", "s"), ("peak_mb", "MB")):
        ours, theirs = float(streamed[key]), float(whole[key])
        name = "stream_time" if unit == "s" else "stream_memory"
        rows[name] = {"ours": ours, "theirs": theirs, "ratio": theirs / ours, "unit": unit, "what": what}
    return rows


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
