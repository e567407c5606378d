"""Distances between items, and Procrustes' distance, against scipy and by construction."""

import math

import pytest
import torch
from planted import draw, rotation
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr

from bridge.errors import FitError
from bridge.similarity.rsa import rsa
from bridge.similarity.shape import procrustes_similarity


def test_rsa_is_the_correlation_of_the_distances() -> None:
    X, Y = draw(25, 4), draw(25, 6, seed=2)
    Y[:, :4] += X
    a, b = pdist(X.numpy()), pdist(Y.numpy())
    assert rsa(X, Y, "pearson") == pytest.approx(float(pearsonr(a, b)[0]), abs=1e-6)
    assert rsa(X, Y, "spearman") == pytest.approx(float(spearmanr(a, b)[0]), abs=1e-9)


def test_equal_rows_share_their_rank() -> None:
    # Through inner products the distance of equal rows is rounding, which has no order.
    X = draw(5, 4)[torch.arange(30) % 5] + 100.0
    Y = draw(30, 4, seed=2)
    expected = spearmanr(pdist(X.numpy()).round(9), pdist(Y.numpy()))[0]
    assert rsa(X, Y, "spearman") == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("far", [1e3, 1e5, 1e8])
def test_one_row_far_from_the_others_hides_nothing_of_them(far: float) -> None:
    for noise in (0.0, 0.8):
        X, Y = draw(60, 20), noise * draw(60, 20) + draw(60, 20, seed=2)
        X[0] *= far
        Y[0] *= far
        a, b = pdist(X.numpy()), pdist(Y.numpy())
        assert rsa(X, Y, "spearman") == pytest.approx(float(spearmanr(a, b)[0]), abs=1e-4)
        assert rsa(X, Y, "spearman") < 0.6


def test_equal_distances_are_tied_whatever_the_lengths_of_their_rows() -> None:
    # Corners of a lattice, turned: few different distances, between rows of many lengths, and a row far away.
    corners = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3)
    corners = torch.cat([corners, corners[:5], torch.full((1, 3), 1e4, dtype=torch.float64)])
    Y = draw(33, 4, seed=2)
    expected = spearmanr(pdist(corners.numpy()), pdist(Y.numpy()))[0]
    assert rsa(corners @ rotation(3) / 7.0, Y, "spearman") == pytest.approx(float(expected), abs=1e-9)


def test_rows_equally_far_from_each_other_say_nothing() -> None:
    with pytest.raises(FitError, match="all rows of X are equally far from each other"):
        rsa(torch.eye(6), draw(6, 3))


def test_procrustes_similarity_is_the_cosine_under_the_best_rotation() -> None:
    X, Y = (M - M.mean(0) for M in (draw(40, 6), draw(40, 6, seed=2)))
    R, _ = orthogonal_procrustes(X.numpy(), Y.numpy())
    turned = X @ torch.tensor(R)
    cosine = float((turned * Y).sum() / (turned.norm() * Y.norm()))
    assert procrustes_similarity(X, Y) == pytest.approx(cosine, abs=1e-12)
    distance = (turned / turned.norm() - Y / Y.norm()).norm().square()
    assert 2.0 - 2.0 * procrustes_similarity(X, Y) == pytest.approx(float(distance), abs=1e-12)


def test_the_narrower_side_is_padded_with_zeros() -> None:
    X, Y = draw(40, 4), draw(40, 7, seed=2)
    padded = torch.nn.functional.pad(X, (0, 3)) @ rotation(7)
    assert procrustes_similarity(X, Y) == pytest.approx(procrustes_similarity(padded, Y), abs=1e-12)


def test_its_arc_cosine_is_a_metric_on_triples() -> None:
    def angle(X: torch.Tensor, Y: torch.Tensor) -> float:
        return math.acos(min(1.0, procrustes_similarity(X, Y)))

    for seed in range(10):
        A, B, C = (draw(15, 5, seed=seed + shift) for shift in (0, 100, 200))
        ab, bc, ac = angle(A, B), angle(B, C), angle(A, C)
        assert ab == pytest.approx(angle(B, A), abs=1e-9)
        assert ac <= ab + bc + 1e-12
    # Y = c X Q + v is at distance zero.
    assert angle(A, 2.5 * A @ rotation(5) + 3.0) == pytest.approx(0.0, abs=1e-7)
