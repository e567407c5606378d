"""Rotations between matched rows, and those of the controls."""

import pytest
import torch
from planted import draw, rotation
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from bridge.rotations.fits import NULLS, MatchedRows, axes, fit_rotations, null_rotations, polar

D = 6


def centered(n: int, d: int, seed: int) -> Tensor:
    X = draw(n, d, seed)
    return X - X.mean(0)


def matched(n: int = 40, d: int = D, noise: float = 0.3) -> MatchedRows:
    X = centered(n, d, 0) * torch.linspace(3, 1, d)
    Y = X @ rotation(d, 1) + noise * centered(n, d, 2)
    return MatchedRows(X, Y, torch.arange(n) % 4)


def is_orthogonal(R: Tensor) -> bool:
    eye = torch.eye(R.shape[-1], dtype=R.dtype)
    return torch.allclose(R.mT @ R, eye.expand_as(R), atol=1e-12)


def test_a_batch_of_fits_is_each_fit_alone_and_scipys() -> None:
    X, Y = (torch.stack([draw(20, D, seed=k + s) for k in range(4)]).view(2, 2, 20, D) for s in (0, 10))
    R = fit_rotations(X, Y)
    assert R.shape == (2, 2, D, D)
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(R[i, j], fit_rotations(X[i, j], Y[i, j]))
            expected = orthogonal_procrustes(X[i, j].numpy(), Y[i, j].numpy())[0]
            torch.testing.assert_close(R[i, j], torch.from_numpy(expected))


def test_a_known_rotation_is_recovered_and_a_reflection_too() -> None:
    X = draw(30, D)
    for seed in range(4):
        turn = rotation(D, seed)
        torch.testing.assert_close(fit_rotations(X, X @ turn), turn)
    assert {round(float(torch.linalg.det(rotation(D, seed)))) for seed in range(4)} == {1, -1}


def test_undetermined_directions_are_random_reproducible_and_cost_nothing() -> None:
    X, Y = (draw(30, 2, seed=s) @ draw(2, D, seed=s + 5) for s in (0, 1))
    first, again, other = (fit_rotations(X, Y, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert float((first - other).norm()) > 0.5
    for R in (first, other):
        assert is_orthogonal(R)
        # The best that there is: the sum of the singular values.
        torch.testing.assert_close((R * (X.T @ Y)).sum(), torch.linalg.svdvals(X.T @ Y).sum())
    # What X spans goes to what Y spans, whatever the seed.
    torch.testing.assert_close(X @ first, X @ other)


def test_rows_without_variance_give_a_haar_draw() -> None:
    R = torch.stack([polar(torch.zeros(D, D, dtype=torch.float64), seed) for seed in range(200)])
    assert is_orthogonal(R)
    # The trace of a Haar draw has mean 0 and variance 1.
    traces = R.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(float(traces.mean())) < 0.3
    assert 0.6 < float(traces.var()) < 1.5


@pytest.mark.parametrize("name", NULLS)
def test_the_rotations_of_each_control_are_orthogonal_differ_and_come_again(name: str) -> None:
    rows = matched()
    R = null_rotations(name, rows, 5, seed=3)
    assert R.shape == (5, D, D)
    assert is_orthogonal(R)
    assert torch.equal(R, null_rotations(name, rows, 5, seed=3))
    assert not torch.allclose(R, null_rotations(name, rows, 5, seed=4))
    # Two draws of six signs can be the same.
    assert len({tuple(one.flatten().tolist()) for one in R.round(decimals=6)}) >= 4


def test_rows_stay_with_their_label_and_alone_in_it_they_stay_where_they_are() -> None:
    rows = matched()
    R = fit_rotations(rows.X, rows.Y, 0)
    distinct = MatchedRows(rows.X, rows.Y, torch.arange(len(rows.X)))
    for null in null_rotations("shuffled_within", distinct, 3, 0):
        torch.testing.assert_close(null, R)
    # Rows of one label are all the same, so that the order within it is nothing.
    X, Y = rows.X[rows.labels], rows.Y[rows.labels]
    for null in null_rotations("shuffled_within", MatchedRows(X, Y, rows.labels), 3, 0):
        torch.testing.assert_close(X @ null, X @ fit_rotations(X, Y))
    for null in null_rotations("shuffled", MatchedRows(X, Y, rows.labels), 3, 0):
        assert float((X @ null - X @ fit_rotations(X, Y)).norm() / Y.norm()) > 0.1


def test_principal_axes_go_onto_principal_axes_in_the_order_of_their_variance() -> None:
    rows = matched()
    spectrum = null_rotations("spectrum", rows, 40, 0)
    turned = axes(rows.X).T @ spectrum @ axes(rows.Y)
    eye = torch.eye(D, dtype=torch.float64).expand_as(turned)
    torch.testing.assert_close(turned.abs(), eye)
    signs = turned.diagonal(dim1=1, dim2=2).sign()
    assert ((signs > 0).double().mean(0) - 0.5).abs().max() < 0.3
    # No rotation brings the covariances nearer to each other.
    C, target = rows.X.T @ rows.X, rows.Y.T @ rows.Y
    distances = [float((R.T @ C @ R - target).norm()) for R in (spectrum[0], *(rotation(D, s) for s in range(50)))]
    assert min(distances) == distances[0]


def test_axes_have_falling_variances() -> None:
    X = matched().X
    variances = (X @ axes(X)).square().sum(0)
    assert (variances[:-1] > variances[1:]).all()
    torch.testing.assert_close(variances.sum(), X.square().sum())


def test_fits_between_unrelated_rows_are_among_those_of_shuffled_rows() -> None:
    # The rank of the fit's own score among 19 draws is uniform, so that one fit in twenty is above them all.
    hits, n_trials = 0, 200
    for trial in range(n_trials):
        X, Y = (centered(24, 3, 1000 + 10 * trial + s) for s in (0, 1))
        rows = MatchedRows(X[:12] - X[:12].mean(0), Y[:12] - Y[:12].mean(0), torch.zeros(12, dtype=torch.long))
        R = torch.cat([fit_rotations(rows.X, rows.Y)[None], null_rotations("shuffled", rows, 19, trial)])
        score = ((X[12:] @ R) * Y[12:]).sum((1, 2))
        hits += bool((score[1:] < score[0]).all())
    # Three standard errors of a share of 0.05.
    assert abs(hits / n_trials - 0.05) < 3 * (0.05 * 0.95 / n_trials) ** 0.5
