import pytest
import torch

from bridge.errors import FitError
from bridge.normalize import Normalize

SETTINGS = [(center, scale) for center in (True, False) for scale in ("none", "l2", "frobenius", "whiten")]


def states(n: int, d: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3.0 * torch.randn(n, d, dtype=torch.float64, generator=generator) + 5.0


@pytest.mark.parametrize(("center", "scale"), SETTINGS)
def test_inverse_with_row_scales_undoes_transform_on_rows_never_seen(center, scale):
    norm = Normalize(center, scale).fit(states(20, 6))
    X_new = states(7, 6, seed=1)
    torch.testing.assert_close(norm.inverse(norm.transform(X_new), norm.row_scale(X_new)), X_new)


@pytest.mark.parametrize(("center", "scale"), SETTINGS)
def test_draws_in_a_leading_dimension_are_treated_one_by_one(center, scale):
    norm = Normalize(center, scale).fit(states(20, 6))
    draws = torch.stack([states(7, 6, seed) for seed in range(3)])
    for together, alone in zip(norm.transform(draws), map(norm.transform, draws), strict=True):
        torch.testing.assert_close(together, alone)
    back = norm.inverse(norm.transform(draws), norm.row_scale(draws))
    torch.testing.assert_close(back, draws)


def test_l2_gives_every_row_norm_one_and_the_mean_norm_as_scale():
    X = states(20, 6)
    norm = Normalize(scale="l2").fit(X)
    torch.testing.assert_close(norm.transform(X).norm(dim=1), torch.ones(20, dtype=torch.float64))
    assert norm.scale_ == pytest.approx(float((X - X.mean(0)).norm(dim=1).mean()))
    assert float(norm.row_scale(X).mean()) == pytest.approx(1.0)


def test_frobenius_gives_fit_rows_a_mean_squared_norm_of_one():
    X = states(20, 6)
    Z = Normalize(scale="frobenius").fit(X).transform(X)
    assert float(Z.square().sum(dim=1).mean()) == pytest.approx(1.0)
    torch.testing.assert_close(Z.mean(dim=0), torch.zeros(6, dtype=torch.float64))


def test_mean_and_scale_come_from_the_fit_rows_only():
    X = states(20, 6)
    norm = Normalize(scale="frobenius").fit(X)
    torch.testing.assert_close(norm.transform(X.mean(0) + torch.eye(6)), torch.eye(6).double() / norm.scale_)


def test_whitened_fit_rows_have_unit_covariance_and_shrinkage_draws_it_towards_what_it_was():
    X = states(40, 6) @ torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    Z = Normalize(scale="whiten", shrinkage=0.0).fit(X).transform(X)
    torch.testing.assert_close(Z.T @ Z / 40, torch.eye(6, dtype=torch.float64))
    C = torch.cov(X.T, correction=0)
    shrunk = 0.7 * C + 0.3 * C.trace() / 6 * torch.eye(6, dtype=torch.float64)
    Z = Normalize(scale="whiten", shrinkage=0.3).fit(X).transform(X)
    vectors, values = torch.linalg.eigh(shrunk).eigenvectors, torch.linalg.eigh(shrunk).eigenvalues
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    torch.testing.assert_close(Z, (X - X.mean(0)) @ root)


def test_whitening_of_fewer_rows_than_features_equals_that_of_the_whole_covariance_and_can_be_undone():
    X, X_new = states(5, 12), states(4, 12, seed=1)
    norm = Normalize(scale="whiten", shrinkage=0.2).fit(X)
    C = torch.cov(X.T, correction=0)
    values, vectors = torch.linalg.eigh(0.8 * C + 0.2 * C.trace() / 12 * torch.eye(12, dtype=torch.float64))
    wanted = (X_new - X.mean(0)) @ vectors @ torch.diag(values.rsqrt()) @ vectors.T
    torch.testing.assert_close(norm.transform(X_new), wanted)
    torch.testing.assert_close(norm.inverse(norm.transform(X_new)), X_new)


def test_inverse_without_row_scales_gives_every_row_the_typical_size_about_the_mean():
    X = states(20, 6)
    norm = Normalize(scale="l2").fit(X)
    sizes = (norm.inverse(norm.transform(X)) - X.mean(0)).norm(dim=1)
    torch.testing.assert_close(sizes, torch.full((20,), norm.scale_, dtype=torch.float64))


def test_a_row_equal_to_the_mean_becomes_zero_and_comes_back():
    X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.float64)
    norm = Normalize(scale="l2").fit(X)
    assert norm.transform(X)[1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(norm.inverse(norm.transform(X), norm.row_scale(X)), X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_states_of_any_dtype_are_normalized_in_float64_and_left_alone(dtype):
    X = states(20, 6).to(dtype)
    before = X.clone()
    norm = Normalize(scale="l2").fit(X)
    assert norm.mean_.dtype == norm.transform(X.double()).dtype == torch.float64
    assert torch.equal(norm.transform(X), norm.transform(X.double()).float())
    assert torch.equal(X, before)
    torch.testing.assert_close(norm.transform(X.double()), Normalize(scale="l2").fit(X.double()).transform(X.double()))


def bad_rows(n_bad: int) -> torch.Tensor:
    X = states(200, 4)
    X[:n_bad, 1] = torch.tensor([float("nan"), float("inf"), -float("inf")])[:n_bad]
    return X


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: Normalize().fit(bad_rows(3)),
            "3 of 200 rows of X hold NaN or infinite values; wanted finite ones",
        ),
        (lambda: Normalize().fit(bad_rows(1)), "1 of 200 rows of X holds NaN"),
        (
            lambda: Normalize().fit(states(5, 3)[0]),
            r"X has shape \(3,\); wanted \(n, d\) with at least one row",
        ),
        (lambda: Normalize().fit(states(5, 3)[:0]), r"X has shape \(0, 3\); wanted \(n, d\)"),
        (
            lambda: Normalize(scale="zca").fit(states(5, 3)),
            "scale is 'zca'; wanted one of none, l2, frobenius, whiten",
        ),
        (
            lambda: Normalize(scale="whiten", shrinkage=1.5).fit(states(5, 3)),
            "normalize shrinkage is 1.5; wanted a number from 0 to 1",
        ),
        (
            lambda: Normalize(scale="whiten", shrinkage=0.0).fit(states(5, 8)),
            "5 rows of X span 4 of 8 directions; wanted all of them to whiten without shrinkage: set",
        ),
        (
            lambda: Normalize(scale="whiten").fit(torch.full((5, 3), 0.1)),
            "all 5 rows of X are the same; wanted rows that differ",
        ),
        (
            lambda: Normalize(scale="l2").fit(torch.full((5, 3), 0.1)),
            "all 5 rows of X are the same; wanted rows that differ, to scale by",
        ),
        (
            lambda: Normalize(center=False, scale="frobenius").fit(torch.zeros(5, 3)),
            "all 5 rows of X are zero; wanted rows that differ",
        ),
        (
            lambda: Normalize().transform(states(5, 3)),
            r"Normalize is not fitted; wanted .*: call fit\(X\) first",
        ),
        (
            lambda: Normalize().fit(states(5, 3)).transform(states(5, 4)),
            "X has width 4; wanted 3, the width of the fit: pass states of the same model",
        ),
        (lambda: Normalize().fit(states(5, 3)).inverse(states(5, 4)), "Z has width 4; wanted 3"),
    ],
)
def test_what_cannot_be_normalized_is_refused_in_one_line(call, text):
    with pytest.raises(FitError, match=text) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_finite_values_whose_sum_overflows_are_accepted():
    X = torch.full((4, 2), 1e308, dtype=torch.float64)
    assert torch.equal(Normalize(center=False).fit(X).transform(X), X)
