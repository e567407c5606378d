import pytest
import torch
from torch import Tensor

from bridge.maps.solvers import row_basis, thin_svd


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_spectrum(n: int, d: int, smallest: float) -> Tensor:
    U, _, Vh = torch.linalg.svd(gaussian(n, d), full_matrices=False)
    return U * torch.logspace(0.0, smallest, min(n, d), dtype=torch.float64) @ Vh


CASES = {
    "full rank": gaussian(8, 20),
    "centered": gaussian(8, 20) - gaussian(8, 20).mean(0),
    "one row": gaussian(1, 20),
    "one centered row": torch.zeros(1, 20, dtype=torch.float64),
    "two equal rows": gaussian(1, 20).repeat(2, 1),
    "low rank": gaussian(8, 2) @ gaussian(2, 20, seed=1),
    "condition 1e3": with_spectrum(8, 20, -3.0),
    "condition 1e8": with_spectrum(8, 20, -8.0),
    "large scale": 1e100 * gaussian(8, 20),
    "small scale": 1e-100 * gaussian(8, 20),
    "n equal d": gaussian(8, 8),
    "n above d": gaussian(20, 8),
}


@pytest.mark.parametrize("X", CASES.values(), ids=CASES.keys())
def test_the_basis_is_orthonormal_and_reproduces_the_rows(X):
    basis = row_basis(X)
    Q = torch.eye(X.shape[1], dtype=torch.float64) if basis.Q is None else basis.Q
    identity = torch.eye(len(Q), dtype=torch.float64)
    torch.testing.assert_close(Q @ Q.T, identity, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(basis.L @ Q, X, rtol=0.0, atol=1e-13 * max(float(X.abs().max()), 1e-300))


@pytest.mark.parametrize("X", CASES.values(), ids=CASES.keys())
def test_the_thin_decomposition_is_that_of_torch_cut_at_the_numerical_rank(X):
    U, s, V, _ = thin_svd(X)
    expected = torch.linalg.svdvals(X)
    rank = int(torch.linalg.matrix_rank(X)) if float(X.abs().max()) > 0 else 0
    assert len(s) == rank == U.shape[1] == V.shape[1]
    scale = max(float(expected[0]), 1e-300)
    torch.testing.assert_close(s / scale, expected[:rank] / scale, rtol=0.0, atol=1e-13)
    torch.testing.assert_close((U * s) @ V.T / scale, X / scale, rtol=0.0, atol=1e-13)
    torch.testing.assert_close(V.T @ V, torch.eye(rank, dtype=torch.float64), rtol=0.0, atol=1e-11)


def test_the_gram_route_is_taken_when_it_is_accurate_and_only_then():
    taken = {name: row_basis(X).solver for name, X in CASES.items()}
    assert taken["full rank"] == taken["centered"] == taken["one row"] == taken["large scale"] == "gram"
    assert taken["low rank"] == taken["condition 1e8"] == "qr"
    assert taken["n equal d"] == taken["n above d"] == "direct"
