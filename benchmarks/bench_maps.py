"""Fits against scipy, scikit-learn and latentis on the same data: python -m benchmarks maps

Each side of each case runs in a process of its own, where the growth of the peak resident memory is that of the fit.
"""

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.memory import peak_mb, start_counting
from bridge.maps.cca import CCA
from bridge.maps.linear import Linear
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.ridge import PENALTIES, Ridge

N, N_NEW, NOISE, PENALTY, N_PAIRS = 2000, 1000, 0.3, 0.1, 16
# (case, side): the package that is needed, and the width of the states
CASES = {
    ("orthogonal", "scipy"): ("scipy", 512),
    ("orthogonal", "latentis"): ("latentis", 512),
    ("linear", "sklearn"): ("sklearn", 512),
    ("ridge", "sklearn"): ("sklearn", 512),
    ("ridge_loo", "sklearn"): ("sklearn", 512),
    ("cca", "sklearn"): ("sklearn", 64),
}
N_REPEATS = 3
N_ROUNDS = 2


def paired_states(d: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centered rows of a rotation with noise, and rows never seen in the fit."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N + N_NEW, d, dtype=torch.float64, generator=generator)
    R = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator)).Q
    Y = X @ R + NOISE * torch.randn(N + N_NEW, d, dtype=torch.float64, generator=generator)
    X, Y = X - X[:N].mean(0), Y - Y[:N].mean(0)
    return X[:N], Y[:N], X[N:], Y[N:]


def ours(case: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    method = {
        "orthogonal": Orthogonal(),
        "linear": Linear(),
        "ridge": Ridge(PENALTY),
        "ridge_loo": Ridge(select="loo"),
        "cca": CCA(N_PAIRS, penalty=0.0),
    }[case]
    return lambda X, Y, new: method.fit(X, Y).transform(new)


def theirs(case: str, side: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if side == "scipy":
        from scipy.linalg import orthogonal_procrustes

        return lambda X, Y, new: new @ torch.from_numpy(orthogonal_procrustes(X.numpy(), Y.numpy())[0])
    if side == "latentis":
        from latentis.transform.translate.functional import svd_align_state

        return lambda X, Y, new: new @ svd_align_state(X, Y)["matrix"]

    from sklearn import cross_decomposition, linear_model

    def predicted(X: Tensor, Y: Tensor, new: Tensor) -> Tensor:
        # The absolute penalties that ours are equal to on these rows.
        absolute = float(X.square().sum()) / min(X.shape)
        estimator = {
            "linear": linear_model.LinearRegression(fit_intercept=False),
            "ridge": linear_model.Ridge(PENALTY * absolute, fit_intercept=False),
            "ridge_loo": linear_model.RidgeCV([penalty * absolute for penalty in PENALTIES]),
            "cca": cross_decomposition.CCA(N_PAIRS, scale=False, max_iter=2000),
        }[case]
        return torch.from_numpy(estimator.fit(X.numpy(), Y.numpy()).predict(new.numpy()))

    return predicted


def measure(case: str, side: str, d: int) -> dict[str, float]:
    """Time, growth of the peak memory in the first of several fits, and held-out error."""
    fit = ours(case) if side == "ours" else theirs(case, side)
    X, Y, X_new, Y_new = paired_states(d)
    small = slice(0, 100)
    fit(X[small, :20], Y[small, :20], X_new[:, :20])  # what is loaded once
    before = start_counting()
    times = []
    for repeat in range(N_REPEATS):
        start = time.perf_counter()
        mapped = fit(X, Y, X_new)
        times.append(time.perf_counter() - start)
        if repeat == 0:
            grown = peak_mb() - before
        if times[0] > 20:
            break
    error = float((mapped - Y_new).norm() / Y_new.norm())
    return {"wall_s": min(times), "peak_mb": grown, "error": error}


def in_a_process(case: str, side: str, d: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_maps", case, side, str(d)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def bench() -> dict[str, dict[str, float | str]]:
    results: dict[str, dict[str, float | str]] = {}
    for (case, side), (package, d) in CASES.items():
        if importlib.util.find_spec(package) is None:
            print(f"map_{case}_vs_{side} skipped: {package} is not installed")
            continue
        # Both sides in turns, so that other load slows both.
        rounds = [[in_a_process(case, which, d) for which in ("ours", side)] for _ in range(N_ROUNDS)]
        mine, other = (min(runs, key=lambda run: run["wall_s"]) for runs in zip(*rounds, strict=True))
        errors = f"held-out error {mine['error']:.4f} against {other['error']:.4f}"
        what = f"{case} fit of {N} rows, d={d}, and transform of {N_NEW}, against {side}; {errors}"
        results[f"map_{case}_vs_{side}"] = {
            "ours": mine["wall_s"],
            "theirs": other["wall_s"],
            "ratio": other["wall_s"] / mine["wall_s"],
            "unit": "s",
            "what": what,
        }
        results[f"map_{case}_vs_{side}_memory"] = {
            "ours": mine["peak_mb"],
            "theirs": other["peak_mb"],
            "ratio": other["peak_mb"] / max(mine["peak_mb"], 0.1),
            "unit": "MB",
            "what": "growth of the peak resident memory in the first fit, likewise",
        }
    return results


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
