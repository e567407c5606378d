"""The orthogonal fit against scipy, side by side: python benchmarks/bench_fit.py"""

import time
from collections.abc import Callable

import scipy.linalg
import torch
from torch import Tensor

from bridge.maps.orthogonal import Orthogonal

WIDTH = 4096
N_NEW = 1000
N_REPEATS = {100: 10, 1000: 5}
N_ROUNDS = 2


def best_wall_s(call: Callable[[], object], n_repeats: int) -> float:
    """The smallest of several times: on a shared machine larger ones include the load of others."""
    times = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def paired_states(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Centered rows that share half of their variance, and rows never seen in the fit."""
    generator = torch.Generator().manual_seed(seed)
    X, Y, X_new = (torch.randn(rows, WIDTH, dtype=torch.float64, generator=generator) for rows in (n, n, N_NEW))
    Y = X.roll(1, dims=1) + Y
    return X - X.mean(0), Y - Y.mean(0), X_new


def entry(ours: float, theirs: float, what: str) -> dict[str, float | str]:
    return {"ours": ours, "theirs": theirs, "ratio": theirs / ours, "unit": "s", "what": what}


def bench() -> dict[str, dict[str, float | str]]:
    """Time the fit alone, and the fit with its first transform, which computes the completion outside the span."""
    results: dict[str, dict[str, float | str]] = {}
    for n, n_repeats in N_REPEATS.items():
        X, Y, X_new = paired_states(n)
        ours, ours_with, fits, applications = [], [], [], []
        # Both sides in turns, so that other load slows both.
        for _ in range(N_ROUNDS):
            ours.append(best_wall_s(lambda X=X, Y=Y: Orthogonal().fit(X, Y), n_repeats))
            ours_with.append(best_wall_s(lambda X=X, Y=Y, new=X_new: Orthogonal().fit(X, Y).transform(new), n_repeats))
            start = time.perf_counter()
            R, _ = scipy.linalg.orthogonal_procrustes(X.numpy(), Y.numpy())
            fits.append(time.perf_counter() - start)
            applications.append(best_wall_s(lambda new=X_new, R=R: new.numpy() @ R, 1))
        theirs_with = min(fits) + min(applications)

        fitted = Orthogonal().fit(X, Y)
        on_span = torch.from_numpy(X.numpy() @ R)
        error = float((fitted.transform(X) - on_span).abs().max() / on_span.abs().max())
        kept = fitted.transform(X_new).norm(dim=1) / X_new.norm(dim=1)
        print(
            f"n={n}, d={WIDTH}, solver {fitted.solver_}, rank {fitted.rank_}: largest difference from scipy "
            f"on the span {error:.1e}, largest change of a new row's norm {float((kept - 1).abs().max()):.1e}"
        )
        against = f"orthogonal fit, n={n} centered rows, d={WIDTH}, float64, against scipy"
        results[f"fit_n{n}"] = entry(min(ours), min(fits), against)
        results[f"fit_n{n}_with_transform"] = entry(
            min(ours_with),
            theirs_with,
            f"{against}, both with the transform of {N_NEW} new rows",
        )
    return results


if __name__ == "__main__":
    print(f"{torch.get_num_threads()} threads")
    for name, result in bench().items():
        print(f"{name:25s} {result['ours']:9.4f} s {result['theirs']:9.3f} s {result['ratio']:8.1f}x")
