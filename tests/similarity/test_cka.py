"""Centered kernel alignment against its definition, and the bias that it is known for."""

import pytest
import torch
from planted import draw
from torch import Tensor

from bridge.similarity.cka import linear_cka, rbf_cka


def slow_hsic(K: Tensor, L: Tensor, debiased: bool) -> float:
    """HSIC of two kernels as they are, as its definitions are printed."""
    n = len(K)
    if not debiased:
        H = torch.eye(n, dtype=torch.float64) - 1.0 / n
        return float(torch.trace(K @ H @ L @ H))
    total = 0.0
    # Song et al. (2012): sums over pairs, triples and quadruples of different rows.
    K, L = (M - torch.diag(M.diagonal()) for M in (K, L))
    ones = torch.ones(n, dtype=torch.float64)
    total += float(torch.trace(K @ L))
    total += float((ones @ K @ ones) * (ones @ L @ ones)) / ((n - 1) * (n - 2))
    total -= 2.0 * float(ones @ K @ L @ ones) / (n - 2)
    return total / (n * (n - 3))


def slow_cka(K: Tensor, L: Tensor, debiased: bool) -> float:
    own = slow_hsic(K, K, debiased) * slow_hsic(L, L, debiased)
    return slow_hsic(K, L, debiased) / own**0.5


def slow_gaussian(X: Tensor, bandwidth: float) -> Tensor:
    distances = torch.tensor([[float((a - b).norm()) for b in X] for a in X], dtype=torch.float64)
    median = distances[torch.triu_indices(len(X), len(X), 1).unbind()].median()
    return torch.exp(-distances.square() / (2 * (bandwidth * median) ** 2))


@pytest.mark.parametrize("debiased", [False, True])
def test_cka_is_its_definition(debiased: bool) -> None:
    X, Y = draw(21, 6) + 1.5, draw(21, 9, seed=2) - 0.5
    Y[:, :6] += X
    assert linear_cka(X, Y, debiased) == pytest.approx(slow_cka(X @ X.T, Y @ Y.T, debiased), abs=1e-10)
    K, L = slow_gaussian(X, 0.7), slow_gaussian(Y, 0.7)
    assert rbf_cka(X, Y, debiased, bandwidth=0.7) == pytest.approx(slow_cka(K, L, debiased), abs=1e-7)


def test_one_row_far_from_the_others_hides_nothing_of_them_from_a_gaussian_kernel() -> None:
    X, Y = draw(40, 12), draw(40, 12, seed=2)
    X[0] *= 1e5
    Y[0] *= 1e5
    expected = slow_cka(slow_gaussian(X, 1.0), slow_gaussian(Y, 1.0), debiased=True)
    assert rbf_cka(X, Y, debiased=True) == pytest.approx(expected, abs=1e-5)
    assert expected < 0.5


def test_the_unbiased_estimate_is_the_mean_over_different_rows() -> None:
    # HSIC = E k l + E k E l - 2 E k(1,2) l(1,3), each over all tuples of different rows.
    n = 7
    X, Y = draw(n, 2), draw(n, 3, seed=1)
    K, L = X @ X.T, Y @ Y.T
    rows = range(n)
    pairs = [K[i, j] * L[i, j] for i in rows for j in rows if i != j]
    quads = [K[i, j] * L[q, r] for i in rows for j in rows for q in rows for r in rows if len({i, j, q, r}) == 4]
    triples = [K[i, j] * L[i, q] for i in rows for j in rows for q in rows if len({i, j, q}) == 3]
    mean = sum(pairs) / len(pairs) + sum(quads) / len(quads) - 2 * sum(triples) / len(triples)
    assert slow_hsic(K, L, debiased=True) == pytest.approx(float(mean), abs=1e-12)


def test_linear_cka_is_the_share_of_squared_covariances() -> None:
    X, Y = (M - M.mean(0) for M in (draw(40, 5), draw(40, 8, seed=2)))
    expected = (X.T @ Y).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm())
    assert linear_cka(X, Y) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("cka", [linear_cka, rbf_cka])
def test_unrelated_data_with_a_shift_scores_zero_debiased_and_much_more_biased(cka) -> None:  # type: ignore[no-untyped-def]
    pairs = [(torch.randn(2, 40, 200, generator=torch.Generator().manual_seed(s)) + 5.0) for s in range(30)]
    debiased = torch.tensor([cka(X, Y + 7.0, debiased=True) for X, Y in pairs])
    biased = torch.tensor([cka(X, Y + 7.0) for X, Y in pairs])
    # The mean of 30 draws, within three standard errors of zero.
    assert abs(debiased.mean()) < 3 * debiased.std() / 30**0.5
    assert debiased.std() < 0.05
    assert biased.min() > 0.7


def test_zeroing_the_diagonal_of_centered_kernels_would_not_be_unbiased() -> None:
    pairs = []
    for seed in range(30):
        X, Y = draw(12, 40, seed=seed), draw(12, 40, seed=100 + seed)
        centred = [(M - M.mean(0)) @ (M - M.mean(0)).T for M in (X, Y)]
        K, L = (M - torch.diag(M.diagonal()) for M in centred)
        pairs.append((float((K * L).sum() / (K.norm() * L.norm())), linear_cka(X, Y, debiased=True)))
    shortcut, ours = torch.tensor(pairs).T
    assert shortcut.mean() > 0.15
    assert abs(ours.mean()) < 3 * ours.std() / 30**0.5


def test_the_bandwidth_comes_from_rows_that_differ() -> None:
    X, Y = torch.zeros(20, 3, dtype=torch.float64), draw(20, 3)
    X[:4] = draw(4, 3)
    # 120 of 190 distances are zero.
    assert 0.05 < rbf_cka(X, Y) < 0.95
    assert rbf_cka(X, 2 * X + 1) == pytest.approx(1.0)
    # Nor from rows that are a rounding apart.
    X = X + 100.0
    assert rbf_cka(X + 1e-14 * draw(20, 3, seed=4), Y) == pytest.approx(rbf_cka(X, Y))
    assert rbf_cka((X + 1e-6 * draw(20, 3, seed=4)).float(), Y) == pytest.approx(rbf_cka(X.float(), Y), abs=1e-6)
