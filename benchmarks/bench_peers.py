"""One fit and one pair of states, in float32 and float64, against the fastest named peers: python -m benchmarks peers

Packages that are not installed (sim_metric, latentis, netrep) are stood for by the formula that they publish, written
here in numpy or torch on the data's own precision, without their checks. All run on one thread, in rounds in which each
runs once; a ratio is the median over rounds of what both took of the CPU, so that another load on the machine falls on
neither. The peer with the least ratio counts.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from bridge.maps.linear import Linear
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.ridge import Ridge
from bridge.similarity.cka import linear_cka
from bridge.similarity.layers import cka_matrix
from bridge.similarity.neighbours import mutual_knn
from bridge.similarity.shape import procrustes_similarity

# Rounds of each row: as many as fit into about so many seconds, within these bounds.
ROUNDS_S, N_ROUNDS = 3.0, (9, 41)
PENALTY, K = 0.1, 10
Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One row for each precision.

    Attributes:
        n: rows.
        d: width of both sides.
        ours: of X and Y.
        theirs: name of a peer -> the same; the fastest counts.
        n_layers: of each model, where all are compared.
    """

    n: int
    d: int
    ours: Callable[[Tensor, Tensor], object]
    theirs: dict[str, Callable[[Tensor, Tensor], object]]
    n_layers: int = 0


def sklearn_ridge(X: Tensor, Y: Tensor) -> object:
    from sklearn.linear_model import Ridge as Theirs

    absolute = PENALTY * float(X.square().sum()) / min(X.shape)
    return Theirs(absolute, fit_intercept=False).fit(X.numpy(), Y.numpy()).coef_


def ridge_of_products(X: Tensor, Y: Tensor) -> object:
    """Ridge regression as in scikit-learn, in torch: a Cholesky factor of X^T X plus the penalty."""
    absolute = PENALTY * float(X.square().sum()) / min(X.shape)
    A = X.T @ X
    A.diagonal().add_(absolute)
    return torch.cholesky_solve(X.T @ Y, torch.linalg.cholesky(A))


def scipy_ridge(X: Tensor, Y: Tensor) -> object:
    A, B = X.numpy(), Y.numpy()
    absolute = PENALTY * float((A * A).sum()) / min(A.shape)
    products = A.T @ A
    products.flat[:: len(products) + 1] += absolute
    return scipy.linalg.solve(products, A.T @ B, assume_a="pos")


def sklearn_linear(X: Tensor, Y: Tensor) -> object:
    from sklearn.linear_model import LinearRegression as Theirs

    return Theirs(fit_intercept=False).fit(X.numpy(), Y.numpy()).coef_


def nuclear_norm(X: Tensor, Y: Tensor) -> float:
    """Procrustes' distance as sim_metric and netrep publish it: centered, scaled, the nuclear norm of X^T Y."""
    A, B = (M.numpy() - M.numpy().mean(0) for M in (X, Y))
    A, B = A / np.linalg.norm(A), B / np.linalg.norm(B)
    return float(2.0 - 2.0 * np.linalg.norm(A.T @ B, "nuc"))


def nuclear_norm_in_torch(X: Tensor, Y: Tensor) -> float:
    A, B = (M - M.mean(0) for M in (X, Y))
    return float(2.0 - 2.0 * torch.linalg.svdvals((A / A.norm()).T @ (B / B.norm())).sum())


def cka_of_features(X: Tensor, Y: Tensor) -> float:
    """Linear CKA as netrep and others publish it, from products of features."""
    A, B = (M.numpy() - M.numpy().mean(0) for M in (X, Y))
    return float(np.linalg.norm(A.T @ B) ** 2 / (np.linalg.norm(A.T @ A) * np.linalg.norm(B.T @ B)))


def cka_of_features_in_torch(X: Tensor, Y: Tensor) -> float:
    A, B = (M - M.mean(0) for M in (X, Y))
    return float((A.T @ B).norm() ** 2 / ((A.T @ A).norm() * (B.T @ B).norm()))


def cka_of_kernels(X: Tensor, Y: Tensor) -> float:
    """Linear CKA as it is published for few rows, from kernels."""
    A, B = (M.numpy() - M.numpy().mean(0) for M in (X, Y))
    K, L = A @ A.T, B @ B.T
    return float(np.vdot(K, L) / (np.linalg.norm(K) * np.linalg.norm(L)))


def cka_of_kernels_in_torch(X: Tensor, Y: Tensor) -> float:
    A, B = (M - M.mean(0) for M in (X, Y))
    K, L = A @ A.T, B @ B.T
    return float((K * L).sum() / (K.norm() * L.norm()))


def debiased_of_kernels(X: Tensor, Y: Tensor) -> float:
    """Song's estimator as it is published, on kernels without their diagonals."""
    n = len(X)
    K, L = ((M @ M.T).fill_diagonal_(0.0) for M in (X - X.mean(0), Y - Y.mean(0)))

    def hsic(A: Tensor, B: Tensor) -> Tensor:
        a, b = A.sum(0), B.sum(0)
        return (A * B).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2.0 * (a @ b) / (n - 2)

    return float(hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt())


def knn_of_cosines(X: Tensor, Y: Tensor) -> float:
    """Mutual k-NN as published with "The platonic representation hypothesis": top k of cosines, and a mask of each."""
    masks = []
    for M in (X, Y):
        unit = M / M.norm(dim=1, keepdim=True)
        near = (unit @ unit.T).fill_diagonal_(-2.0).topk(K, dim=1).indices
        masks.append(torch.zeros(len(M), len(M), dtype=M.dtype).scatter_(1, near, 1.0))
    return float((masks[0] * masks[1]).sum() / (len(X) * K))


def matrix_of_kernels(X: Tensor, Y: Tensor) -> Tensor:
    """CKA of all layers as packages for many layers publish it: every kernel once, and one product of all of them."""
    sides = []
    for side in (X, Y):
        centered = side - side.mean(1, keepdim=True)
        kernels = (centered @ centered.mT).flatten(1)
        sides.append(kernels / kernels.norm(dim=1, keepdim=True))
    return sides[0] @ sides[1].T


CKAS = {
    "netrep's formula": cka_of_features,
    "netrep's formula in torch": cka_of_features_in_torch,
    "of kernels": cka_of_kernels,
    "of kernels in torch": cka_of_kernels_in_torch,
}
CASES = {
    "ridge": Case(
        2000,
        1024,
        lambda X, Y: Ridge(PENALTY).fit(X, Y).matrix(),
        {"scikit-learn": sklearn_ridge, "scipy solve": scipy_ridge, "torch cholesky": ridge_of_products},
    ),
    "linear": Case(
        2000,
        512,
        lambda X, Y: Linear().fit(X, Y).matrix(),
        {
            "torch lstsq": lambda X, Y: torch.linalg.lstsq(X, Y).solution,
            "torch lstsq (gels)": lambda X, Y: torch.linalg.lstsq(X, Y, driver="gels").solution,
            "scikit-learn": sklearn_linear,
        },
    ),
    "orthogonal": Case(
        2000,
        512,
        lambda X, Y: Orthogonal().fit(X, Y).matrix(),
        {
            "scipy": lambda X, Y: scipy.linalg.orthogonal_procrustes(X.numpy(), Y.numpy())[0],
            "latentis' formula": lambda X, Y: (lambda U, s, Vh: U @ Vh)(*torch.linalg.svd(X.T @ Y)),
        },
    ),
    "procrustes": Case(
        1000,
        512,
        procrustes_similarity,
        {"the formula of sim_metric and netrep": nuclear_norm, "the same in torch": nuclear_norm_in_torch},
    ),
    "cka": Case(1000, 512, linear_cka, CKAS),
    "cka_few_rows": Case(500, 1024, linear_cka, CKAS),
    "cka_debiased": Case(
        1000, 512, lambda X, Y: linear_cka(X, Y, debiased=True), {"Song's formula": debiased_of_kernels}
    ),
    "mutual_knn": Case(1000, 512, lambda X, Y: mutual_knn(X, Y, K), {"the published formula": knn_of_cosines}),
    "cka_layers": Case(
        1000,
        512,
        lambda X, Y: cka_matrix(list(X), list(Y)),
        {"one product of all kernels": matrix_of_kernels},
        n_layers=33,
    ),
}


def paired_states(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows of a rotation with noise, about a mean, with variances that fall a hundredfold."""
    generator = torch.Generator().manual_seed(0)
    shape = (case.n_layers or 1, case.n, case.d)
    X = torch.randn(shape, generator=generator) * torch.logspace(0, -1, case.d)
    R = torch.linalg.qr(torch.randn(case.d, case.d, generator=generator)).Q
    Y = X @ R + 0.3 * torch.randn(shape, generator=generator) + 1.0
    X, Y = X.to(dtype), Y.to(dtype)
    return (X, Y) if case.n_layers else (X[0], Y[0])


def cpu_s(calls: dict[str, Call]) -> dict[str, list[float]]:
    """CPU times of every side in every round, in an order that changes from round to round."""
    for call in calls.values():
        call()  # what is loaded once
    taken: dict[str, list[float]] = {name: [] for name in calls}
    names, started = list(calls), time.perf_counter()
    while len(taken[names[0]]) < N_ROUNDS[1]:
        for name in names:
            start = time.process_time()
            calls[name]()
            taken[name].append(time.process_time() - start)
        names.append(names.pop(0))
        if len(taken[names[0]]) >= N_ROUNDS[0] and time.perf_counter() - started > ROUNDS_S:
            break
    return taken


def bench() -> dict[str, dict[str, float | str]]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # numpy and scipy have their own threads
        with threadpool_limits(1):
            return _rows()
    finally:
        torch.set_num_threads(n_threads)


def _rows() -> dict[str, dict[str, float | str]]:
    results: dict[str, dict[str, float | str]] = {}
    for name, case in CASES.items():
        for dtype in (torch.float32, torch.float64):
            X, Y = paired_states(case, dtype)
            sides = {"ours": case.ours} | case.theirs
            times = cpu_s({side: lambda call=call, X=X, Y=Y: call(X, Y) for side, call in sides.items()})
            mine = times.pop("ours")
            ratios = {
                peer: statistics.median(b / a for a, b in zip(mine, taken, strict=True))
                for peer, taken in times.items()
            }
            fastest = min(ratios, key=ratios.__getitem__)
            bits = str(dtype).removeprefix("torch.")
            layers = f"{case.n_layers} x {case.n_layers} layers, " if case.n_layers else ""
            results[f"peer_{name}_{bits}"] = {
                "ours": 1e3 * statistics.median(mine),
                "theirs": 1e3 * statistics.median(times[fastest]),
                "ratio": ratios[fastest],
                "unit": "ms",
                "what": f"{layers}{case.n} rows, d={case.d}, {bits}, against {fastest}; CPU time on one thread",
            }
    return results
