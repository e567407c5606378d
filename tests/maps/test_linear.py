import numpy as np
import pytest
import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.linear import Linear
from bridge.maps.ridge import Ridge

EXACT = {"rtol": 0.0, "atol": 1e-10}


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def low_rank(n: int, d: int) -> Tensor:
    return gaussian(n, 3) @ gaussian(3, d, seed=1)


def test_linear_recovers_a_known_matrix():
    X, W = gaussian(30, 6), gaussian(6, 9, seed=1)
    fitted = Linear().fit(X, X @ W)
    torch.testing.assert_close(fitted.matrix(), W, **EXACT)
    assert fitted.rank_ == 6


@pytest.mark.parametrize("X", [gaussian(30, 6), gaussian(6, 30), gaussian(6, 6), low_rank(30, 6), low_rank(6, 30)])
def test_linear_is_the_minimum_norm_solution_of_numpy(X):
    Y = gaussian(len(X), 4, seed=2)
    expected, _, rank, _ = np.linalg.lstsq(X.numpy(), Y.numpy(), rcond=None)
    fitted = Linear().fit(X, Y)
    torch.testing.assert_close(fitted.matrix(), torch.from_numpy(expected), **EXACT)
    assert fitted.rank_ == rank


def test_linear_maps_directions_that_no_row_has_to_zero():
    X = gaussian(4, 10)
    outside = torch.linalg.qr(X.T, mode="complete").Q[:, 4:].T
    assert float(Linear().fit(X, gaussian(4, 3, seed=1)).transform(outside).abs().max()) < 1e-12


@pytest.mark.parametrize("X", [gaussian(30, 6), gaussian(6, 30), low_rank(6, 30), low_rank(30, 6)])
@pytest.mark.parametrize("penalty", [1e-6, 1.0, 30.0])
def test_ridge_is_least_squares_on_rows_with_the_penalty_appended(X, penalty):
    Y = gaussian(len(X), 4, seed=2)
    absolute = penalty * float(X.square().sum()) / min(X.shape)
    d = X.shape[1]
    rows = torch.cat([X, absolute**0.5 * torch.eye(d, dtype=torch.float64)])
    expected = np.linalg.lstsq(rows.numpy(), torch.cat([Y, Y.new_zeros(d, 4)]).numpy(), rcond=None)[0]
    torch.testing.assert_close(Ridge(penalty).fit(X, Y).matrix(), torch.from_numpy(expected), rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("n", [5, 30])
def test_the_ridge_penalty_does_not_depend_on_the_scale_of_the_states(n):
    X, Y = gaussian(n, 8), gaussian(n, 5, seed=1)
    torch.testing.assert_close(
        Ridge(0.5).fit(1e4 * X, Y).transform(1e4 * X), Ridge(0.5).fit(X, Y).transform(X), **EXACT
    )


def test_ridge_goes_to_linear_as_the_penalty_vanishes_and_to_zero_as_it_grows():
    X, Y = gaussian(20, 8), gaussian(20, 5, seed=1)
    torch.testing.assert_close(Ridge(1e-13).fit(X, Y).matrix(), Linear().fit(X, Y).matrix(), **EXACT)
    assert float(Ridge(1e13).fit(X, Y).matrix().abs().max()) < 1e-10


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_ridge_penalty_that_is_not_above_zero_is_refused(penalty):
    with pytest.raises(FitError, match=f"ridge penalty is {penalty}; wanted a number above 0: map=linear has none"):
        Ridge(penalty).fit(gaussian(5, 3), gaussian(5, 3))


@pytest.mark.parametrize("map_", [Linear(), Ridge()])
def test_rows_that_are_all_zero_are_refused(map_):
    with pytest.raises(FitError, match="all 5 rows of X are zero; wanted rows that differ: fit on more items"):
        map_.fit(torch.zeros(5, 3), gaussian(5, 3))
