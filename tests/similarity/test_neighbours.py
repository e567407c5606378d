"""Nearest neighbours against loops, and ties that must not look like agreement."""

import pytest
import torch
from planted import draw
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.neighbours import cknna, mutual_knn


def near(X: Tensor, k: int) -> list[set[int]]:
    """The k rows of largest cosine to each row, without itself."""
    neighbours = []
    for i in range(len(X)):
        cosines = {j: float(X[i] @ X[j] / (X[i].norm() * X[j].norm())) for j in range(len(X)) if j != i}
        neighbours.append(set(sorted(cosines, key=cosines.__getitem__, reverse=True)[:k]))
    return neighbours


def slow_cknna(X: Tensor, Y: Tensor, k: int) -> float:
    n = len(X)

    def kernel(Z: Tensor) -> Tensor:
        unit = Z / Z.norm(dim=1, keepdim=True)
        return unit @ unit.T

    def alignment(A: Tensor, B: Tensor) -> float:
        K, L = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
        for i, (a, b) in enumerate(zip(near(A, k), near(B, k), strict=True)):
            for j in a & b:
                K[i, j], L[i, j] = kernel(A)[i, j], kernel(B)[i, j]
        hsic = (K * L.T).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * (K @ L).sum() / (n - 2)
        return float(hsic / (n * (n - 3)))

    return alignment(X, Y) / (alignment(X, X) * alignment(Y, Y)) ** 0.5


@pytest.mark.parametrize("k", [2, 5])
def test_neighbours_are_those_of_a_loop(k: int) -> None:
    X, Y = draw(24, 4), draw(24, 5, seed=2)
    Y[:, :4] += 2 * X
    shared = [len(a & b) / k for a, b in zip(near(X, k), near(Y, k), strict=True)]
    assert 0.1 < mutual_knn(X, Y, k) < 0.9
    assert mutual_knn(X, Y, k) == pytest.approx(sum(shared) / 24, abs=1e-12)
    assert cknna(X, Y, k) == pytest.approx(slow_cknna(X, Y, k), abs=1e-12)


def test_unrelated_data_share_k_of_n_minus_one_neighbours() -> None:
    shares = [mutual_knn(draw(60, 30, seed=s), draw(60, 30, seed=s + 100), k=6) for s in range(20)]
    assert sum(shares) / 20 == pytest.approx(6 / 59, abs=0.015)


def test_rows_that_are_all_alike_do_not_agree_in_the_order_of_their_index() -> None:
    # Two words, of which every row holds one: 40 rows tie with each other, and which ten are nearest is chance.
    word = torch.arange(80) % 2
    X, Y = draw(2, 6)[word], draw(2, 5, seed=2)[word]
    assert mutual_knn(X, Y, k=10) == pytest.approx(10 / 39, abs=0.06)
    assert mutual_knn(X, Y, k=39) == 1.0


@pytest.mark.parametrize(
    ("measure", "k", "message"),
    [
        (mutual_knn, 0, "mutual_knn has k=0 with 20 rows; wanted 1 <= k <= 19"),
        (mutual_knn, 20, "mutual_knn has k=20 with 20 rows; wanted 1 <= k <= 19"),
        (cknna, 1, "cknna has k=1 with 20 rows; wanted 2 <= k <= 19"),
    ],
)
def test_an_impossible_number_of_neighbours_is_refused(measure, k: int, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FitError, match=message):
        measure(draw(20, 3), draw(20, 3, seed=2), k)


def test_a_row_of_zeros_has_no_neighbours() -> None:
    X = draw(20, 3)
    X[4] = 0
    with pytest.raises(FitError, match="1 rows of X are zero; wanted rows with a direction"):
        mutual_knn(X, draw(20, 3))
