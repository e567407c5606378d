"""Canonical correlations against scikit-learn and against planted subspaces."""

import numpy as np
import pytest
import torch
from planted import draw, rotation
from sklearn.cross_decomposition import CCA

from bridge.similarity.canonical import canonical_correlations, pwcca, svcca


def test_canonical_correlations_are_those_of_scikit_learn() -> None:
    X, Y = draw(120, 4), draw(120, 6, seed=2)
    Y[:, :4] += 1.5 * X
    fitted = CCA(n_components=4, scale=False, max_iter=20_000, tol=1e-14).fit(X.numpy(), Y.numpy())
    U, V = fitted.transform(X.numpy(), Y.numpy())
    expected = [np.corrcoef(U[:, i], V[:, i])[0, 1] for i in range(4)]
    np.testing.assert_allclose(canonical_correlations(X, Y).numpy(), expected, atol=1e-6)


def test_k_shared_directions_of_d_have_correlation_one_and_the_others_a_small_one() -> None:
    X, Y = draw(4000, 6), draw(4000, 6, seed=2)
    Y[:, :2] = X[:, 1:3]
    correlations = canonical_correlations(X @ rotation(6), Y @ rotation(6, seed=8))
    torch.testing.assert_close(correlations[:2], torch.ones(2, dtype=torch.float64))
    assert correlations[2] < 0.1
    assert svcca(X, Y, variance=1.0) == pytest.approx(2 / 6, abs=0.05)


def test_canonical_correlations_do_not_see_an_invertible_map() -> None:
    X, Y = draw(60, 5), draw(60, 7, seed=2)
    Y[:, :5] += X
    torch.testing.assert_close(canonical_correlations(X, Y @ draw(7, 7, seed=9) + 3.0), canonical_correlations(X, Y))


def test_few_rows_make_correlations_of_one_out_of_nothing() -> None:
    correlations = canonical_correlations(draw(20, 12), draw(20, 15, seed=2))
    # 12 + 15 - (20 - 1)
    assert int((correlations > 1 - 1e-9).sum()) == 8
    assert svcca(draw(20, 30), draw(20, 30, seed=2), variance=1.0) == pytest.approx(1.0, abs=1e-7)


def test_svcca_is_the_mean_over_the_kept_components() -> None:
    X, Y = draw(80, 6), draw(80, 6, seed=2) + 0.5 * draw(80, 6)

    def kept(M: torch.Tensor) -> torch.Tensor:
        centred = (M - M.mean(0)).numpy()
        values, vectors = np.linalg.eigh(centred.T @ centred)
        order = np.argsort(values)[::-1]
        share = np.cumsum(values[order]) / values.sum()
        return torch.tensor(centred @ vectors[:, order[: np.searchsorted(share, 0.8) + 1]])

    a, b = kept(X), kept(Y)
    assert a.shape[1] < 6
    assert svcca(X, Y, variance=0.8) == pytest.approx(float(canonical_correlations(a, b).mean()), abs=1e-7)


def test_pwcca_weights_the_correlations_by_what_its_variates_account_for() -> None:
    X, Y = draw(90, 4), draw(90, 6, seed=2)
    Y[:, 0] = X[:, 0]
    a, b = X - X.mean(0), Y - Y.mean(0)
    U, V = torch.linalg.qr(a)[0], torch.linalg.qr(b)[0]
    left, rho, _ = torch.linalg.svd(U.T @ V)
    variates = U @ left
    weights = torch.tensor([sum(abs(float(h @ x)) for x in a.T) for h in variates.T], dtype=torch.float64)
    expected = float((weights * rho).sum() / weights.sum())
    assert pwcca(X, Y) == pytest.approx(expected, abs=1e-8)
    # What is shared is the strongest direction of X, so it counts for more than its share.
    assert pwcca(X, Y) > svcca(X, Y, variance=1.0) + 0.05


def test_pwcca_changes_with_a_rotation_of_the_side_that_gives_weights_alone() -> None:
    X, Y = draw(60, 6), draw(60, 9, seed=2)
    Y[:, :3] += 2 * X[:, :3]
    score = pwcca(X, Y)
    assert pwcca(-3 * X + 1, Y @ draw(9, 9, seed=3) - 2) == pytest.approx(score, abs=1e-9)
    assert abs(pwcca(X @ rotation(6), Y) - score) > 0.01
    # Both ways round the narrower side gives the weights, and with equal ranks the first one.
    assert pwcca(Y, X) == pytest.approx(score, abs=1e-9)
    assert abs(pwcca(X, Y[:, :6]) - pwcca(Y[:, :6], X)) > 0.01


@pytest.mark.parametrize(("r", "s"), [(24, 24), (20, 30), (30, 20), (10, 32)])
def test_the_order_of_the_rows_does_not_move_pwcca_where_correlations_are_forced(r: int, s: int) -> None:
    X, Y = draw(40, r), draw(40, s, seed=3)
    Y[:, :5] += X[:, :5]
    scores = []
    for seed in range(5):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
        scores.append(pwcca(X[order], Y[order]))
    assert scores == pytest.approx([scores[0]] * 5, abs=1e-9)
    assert scores[0] < 1 - 1e-3


def test_svcca_averages_over_the_smaller_number_of_components():
    X = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert svcca(X, X[:, :3], variance=1.0) == pytest.approx(1.0)
    assert svcca(X[:, :3], X, variance=1.0) == pytest.approx(1.0)
