"""Least squares without singular values: as exact as with them, or not taken."""

import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.affine import Affine
from bridge.maps.linear import Linear
from bridge.maps.normal_equations import factor, gram, solve
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.polar import decompose
from bridge.maps.ridge import Ridge


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow(X: Tensor, Y: Tensor, relative: float) -> Tensor:
    """Ridge regression, or least squares of least norm, from singular values."""
    U, s, Vh = torch.linalg.svd(X, full_matrices=False)
    penalty = relative * float(X.square().sum()) / min(X.shape)
    kept = torch.where(s > 1e-12 * s[0], s / (s.square() + penalty), 0.0)
    return (Vh.T * kept) @ (U.T @ Y)


SHAPES = {
    "many rows": gaussian(60, 20),
    "few rows": gaussian(20, 60),
    "as many": gaussian(30, 30) + 3 * torch.eye(30, dtype=torch.float64),
    "few centered": gaussian(20, 60) - gaussian(20, 60).mean(0),
    "several blocks": gaussian(900, 600),
    "several blocks, few rows": gaussian(600, 900),
}


@pytest.mark.parametrize("relative", [0.0, 0.1])
@pytest.mark.parametrize("X", SHAPES.values(), ids=SHAPES.keys())
def test_the_solution_is_that_of_singular_values(X, relative):
    Y = gaussian(len(X), 7, seed=1) + 2.0
    left, right, rank, solver = solve(X, Y, relative)
    W = right if left is None else left @ right
    assert (rank, solver) == (int(torch.linalg.matrix_rank(X)), "cholesky")
    torch.testing.assert_close(W, slow(X, Y, relative), rtol=0.0, atol=1e-10 * float(W.abs().max()))


def test_what_is_not_of_full_rank_takes_singular_values_or_a_penalty():
    X, Y = gaussian(60, 8) @ gaussian(8, 20, seed=2), gaussian(60, 5, seed=1)
    assert solve(X, Y, 0.0) is None
    assert solve(X.T.contiguous(), gaussian(20, 5), 0.0) is None
    assert solve(torch.zeros(5, 3, dtype=torch.float64), Y[:5], 0.1) is None
    _, right, rank, _ = solve(X, Y, 0.01)
    assert rank == 8
    torch.testing.assert_close(right, slow(X, Y, 0.01), rtol=0.0, atol=1e-9)
    # Six digits of the rows are in directions that their products would lose.
    steep = gaussian(60, 20) * torch.logspace(0, -6, 20, dtype=torch.float64)
    assert solve(steep, Y, 0.0) is None
    assert Linear().fit(steep, Y).solver_ == "direct"
    assert Linear().fit(gaussian(60, 20), Y).solver_ == Affine().fit(gaussian(60, 20), Y).solver_ == "cholesky"


def test_blocks_make_the_whole_product_and_the_whole_factor():
    X = gaussian(700, 600)
    torch.testing.assert_close(gram(X), X.T @ X, rtol=1e-12, atol=1e-10)
    L = factor(X.T @ X, 3.0)
    torch.testing.assert_close(L @ L.T, X.T @ X + 3.0 * torch.eye(600, dtype=torch.float64), rtol=1e-12, atol=1e-9)
    assert float(L.triu(1).abs().max()) == 0.0
    assert factor(X.T @ X, -float(torch.linalg.eigvalsh(X.T @ X)[0]) - 1e-6) is None


def wide_float32() -> tuple[Tensor, Tensor]:
    X = (gaussian(600, 300) * torch.logspace(0, -1, 300, dtype=torch.float64)).float()
    return X, (X @ gaussian(300, 300, seed=1).float() + 0.3 * gaussian(600, 300, seed=2).float())


@pytest.mark.parametrize("rows", [600, 280])
def test_float32_rows_give_a_ridge_as_near_to_the_exact_one_as_scikit_learn_is(rows):
    from sklearn.linear_model import Ridge as Theirs

    X, Y = (M[:rows] for M in wide_float32())
    exact = Ridge(0.1).fit(X.double(), Y.double()).matrix()
    absolute = 0.1 * float(X.double().square().sum()) / min(X.shape)
    theirs = torch.tensor(Theirs(absolute, fit_intercept=False).fit(X.numpy(), Y.numpy()).coef_.T).double()
    fitted = Ridge(0.1).fit(X, Y)
    assert fitted.matrix().dtype == torch.float64
    assert float((fitted.matrix() - exact).norm()) < 3 * float((theirs - exact).norm()) < 1e-4 * float(exact.norm())
    # Where no large penalty keeps the condition small, float64 is taken.
    exact = Ridge(1e-6).fit(X.double(), Y.double()).matrix()
    assert float((Ridge(1e-6).fit(X, Y).matrix() - exact).norm()) < 1e-9 * float(exact.norm())


def test_float32_rows_give_a_rotation_as_near_to_the_exact_one_as_scipy_is():
    X, Y = wide_float32()
    exact = Orthogonal().fit(X.double(), Y.double()).matrix()
    theirs = torch.tensor(orthogonal_procrustes(X.numpy(), Y.numpy())[0]).double()
    fitted = Orthogonal().fit(X, Y)
    R = fitted.matrix()
    assert fitted.solver_ == "direct, float32"
    assert float((R - exact).norm()) < 3 * float((theirs - exact).norm()) < 1e-3
    assert float((R.T @ R - torch.eye(300, dtype=torch.float64)).norm()) < 1e-10
    assert torch.equal(fitted.transform(torch.eye(300)), R)


@pytest.mark.parametrize("map_", [Orthogonal(), Linear(), Ridge(0.1)], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("side", [0, 1])
def test_float32_rows_that_are_not_finite_are_refused_before_anything_is_fitted_on_them(map_, bad, side):
    X, Y = (M.clone() for M in wide_float32())
    map_.fit(X, Y)
    (X, Y)[side][7, 3] = bad
    with pytest.raises(FitError, match=rf"^1 of 600 rows of {'XY'[side]} holds NaN or infinite values"):
        map_.fit(X, Y)


def test_float32_rows_give_least_squares_as_near_to_the_exact_ones_as_lapack_does():
    X, Y = wide_float32()
    exact = Linear().fit(X.double(), Y.double()).matrix()
    theirs = torch.linalg.lstsq(X, Y, driver="gels").solution.double()
    fitted = Linear().fit(X, Y).matrix()
    assert 0.0 < float((fitted - exact).norm()) < 4 * float((theirs - exact).norm()) < 1e-4 * float(exact.norm())
    # Where rows alone do not keep the condition small, float64 is taken.
    X = X * torch.logspace(0, -1, 300)
    exact = Linear().fit(X.double(), Y.double()).matrix()
    assert float((Linear().fit(X, Y).matrix() - exact).norm()) < 1e-9 * float(exact.norm())


def test_eigenvectors_of_a_product_with_itself_give_the_polar_factor_that_singular_vectors_give():
    U, V = (torch.linalg.qr(gaussian(300, 300, seed=seed)).Q for seed in (1, 2))
    for least, is_svd in ((-4, False), (-7, True)):
        M = (U * torch.logspace(0, least, 300, dtype=torch.float64)) @ V.T
        P, s, Qh = decompose(M)
        # to 1e-16 times the condition number, as the factor itself is known
        assert float((P @ Qh - U @ V.T).norm()) < 1e-14 * 10.0**-least
        assert float((P.T @ P - torch.eye(300, dtype=torch.float64)).norm()) < 1e-12
        torch.testing.assert_close(s, torch.linalg.svdvals(M), rtol=1e-8, atol=0.0)
        assert torch.equal(P, torch.linalg.svd(M)[0]) == is_svd


def test_a_rotation_that_float32_cannot_tell_takes_float64():
    X, Y = wide_float32()
    X[:, -1] = 1e-6 * X[:, 0]
    assert Orthogonal().fit(X, Y).solver_ == "direct"
