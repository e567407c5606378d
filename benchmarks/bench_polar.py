"""The polar factor against the SVD, and on a GPU the whole orthogonal fit: python -m benchmarks polar"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from bridge.maps.orthogonal import Orthogonal
from bridge.maps.polar import polar_factor

WIDTHS = {"cpu": (1024, 2048), "cuda": (1024, 2048, 4096)}
N_REPEATS = 2


def wall_s(call: Callable[[], object], device: str) -> float:
    times = []
    for _ in range(N_REPEATS):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def paired_states(d: int, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(2 * d, d, dtype=torch.float64, generator=generator) for _ in range(2))
    return X.to(device), (X.roll(1, dims=1) + Y).to(device)


def by_svd(X: Tensor, Y: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(X.T @ Y)
    return U @ Vh


def bench() -> dict[str, dict[str, float | str]]:
    results: dict[str, dict[str, float | str]] = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for d in WIDTHS[device]:
            X, Y = paired_states(d, device)
            M = X.T @ Y
            # The fit uses the polar factor on a GPU only; on a CPU the factor is timed alone.
            if device == "cuda":
                ours = wall_s(lambda X=X, Y=Y: Orthogonal().fit(X, Y), device)
                theirs = wall_s(lambda X=X, Y=Y: by_svd(X, Y), device)
                R, R_svd = Orthogonal().fit(X, Y).matrix(), by_svd(X, Y)
                what = f"orthogonal fit, n={2 * d}, against torch.linalg.svd of X^T Y"
            else:
                ours = wall_s(lambda M=M: polar_factor(M), device)
                theirs = wall_s(lambda M=M: torch.linalg.svd(M), device)
                (R, _), R_svd = polar_factor(M), by_svd(X, Y)
                what = "polar factor of X^T Y against its torch.linalg.svd"
            defect = float(torch.linalg.matrix_norm(R.T @ R - torch.eye(d, dtype=R.dtype, device=device)))
            print(
                f"{device} d={d}: ||R^T R - I|| = {defect:.1e}, largest difference from the SVD "
                f"{float((R - R_svd).abs().max()):.1e}"
            )
            results[f"polar_{device}_{d}"] = {
                "ours": ours,
                "theirs": theirs,
                "ratio": theirs / ours,
                "unit": "s",
                "what": f"{what}, d={d}, float64, {device}",
            }
    return results
