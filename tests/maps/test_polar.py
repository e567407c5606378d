import pytest
import torch
from torch import Tensor

import bridge.maps.polar
from bridge.errors import FitError
from bridge.maps.moments import Moments
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.polar import polar_factor, worth_iterating
from bridge.maps.semi_orthogonal import SemiOrthogonal


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_condition(d: int, condition: float) -> tuple[Tensor, Tensor]:
    """A matrix of that condition number and its polar factor."""
    U, _, Vh = torch.linalg.svd(gaussian(d, d))
    s = torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), d, dtype=torch.float64)
    return 7.0 * U * s @ Vh, U @ Vh


@pytest.mark.parametrize("condition", [1.0, 1e1, 1e3, 1e5])
@pytest.mark.parametrize("d", [2, 30, 150])
def test_the_polar_factor_is_that_of_the_singular_vectors_and_orthogonal_far_below_1e_10(d, condition):
    M, expected = with_condition(d, condition)
    Q, how = polar_factor(M)
    assert how == "polar"
    torch.testing.assert_close(Q, expected, rtol=0.0, atol=1e-15 * condition * d)
    assert float((Q.T @ Q - torch.eye(d, dtype=torch.float64)).norm()) < 1e-12


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_the_polar_factor_does_not_depend_on_the_scale(scale):
    M, expected = with_condition(20, 100.0)
    torch.testing.assert_close(polar_factor(scale * M)[0], expected, rtol=0.0, atol=1e-11)


def test_a_singular_or_nearly_singular_matrix_has_no_factor_and_the_reason_is_said():
    assert polar_factor(with_condition(20, 1e12)[0]) == (None, "X^T Y is nearly singular")
    singular = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    assert polar_factor(singular) == (None, "X^T Y is singular")


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.maps.polar, "USED_FROM", {"cpu": 2})


def test_the_solver_is_chosen_by_size_and_device():
    assert not worth_iterating(4096, torch.device("cpu"))
    assert not worth_iterating(100, torch.device("cuda"))
    assert worth_iterating(4096, torch.device("cuda"))


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("options", [{}, {"scale": True}, {"completion": "none"}])
def test_an_orthogonal_fit_by_the_polar_factor_is_the_fit_by_singular_vectors(options, monkeypatch):
    X, Y, X_new = gaussian(90, 40), gaussian(90, 40, seed=1), gaussian(4, 40, seed=2)
    orders = torch.stack([torch.randperm(90, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    fitted = Orthogonal(**options).fit(X, Y)
    assert (fitted.solver_, fitted.rank_) == ("direct, polar", 40)
    draws = Orthogonal(**options).transform_permuted(X, Y, orders, X_new)
    streamed = Orthogonal(**options).fit_moments(Moments(center=False).update(X[:50], Y[:50]).update(X[50:], Y[50:]))
    assert streamed.solver_ == "moments, polar"
    monkeypatch.setattr(bridge.maps.polar, "USED_FROM", {})
    by_svd = Orthogonal(**options).fit(X, Y)
    assert by_svd.solver_ == "direct"
    torch.testing.assert_close(fitted.matrix(), by_svd.matrix(), rtol=0.0, atol=1e-9)
    torch.testing.assert_close(streamed.matrix(), by_svd.matrix(), rtol=0.0, atol=1e-9)
    expected = Orthogonal(**options).transform_permuted(X, Y, orders, X_new)
    torch.testing.assert_close(draws, expected, rtol=0.0, atol=1e-9)


@pytest.mark.usefixtures("everywhere")
def test_a_fit_that_the_polar_factor_cannot_give_says_why_it_took_singular_vectors():
    X = gaussian(90, 3) @ gaussian(3, 40, seed=1)
    assert Orthogonal().fit(X, X).solver_.startswith("direct, svd, since X^T Y is ")
    Y = gaussian(90, 40)
    flipped = Y * torch.tensor([1.0] * 39 + [-1.0])
    assert Orthogonal().fit(Y, flipped).solver_ == "direct, polar"
    assert Orthogonal(special=True).fit(Y, flipped).solver_ == "direct, svd, since the polar factor is a reflection"
    # unequal widths have no square X^T Y
    assert Orthogonal().fit(Y, gaussian(90, 30)).solver_ == "direct"


@pytest.mark.usefixtures("everywhere")
def test_semi_orthogonal_steps_by_the_polar_factor_end_where_those_by_singular_vectors_do(monkeypatch):
    X, Y = gaussian(90, 20), gaussian(90, 12, seed=1)
    fitted = SemiOrthogonal(tolerance=1e-12).fit(X, Y).matrix()
    monkeypatch.setattr(bridge.maps.polar, "USED_FROM", {})
    torch.testing.assert_close(fitted, SemiOrthogonal(tolerance=1e-12).fit(X, Y).matrix(), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("d_source", "d_target"), [(12, 12), (12, 16), (16, 12)])
@pytest.mark.parametrize("n", [9, 40])
@pytest.mark.parametrize("completion", ["nearest", "none"])
@pytest.mark.parametrize("target_rank", [3, 12])
def test_no_other_scale_is_nearer(n, d_source, d_target, completion, target_rank):
    X, Y = gaussian(n, d_source), gaussian(n, target_rank, seed=1) @ gaussian(target_rank, d_target, seed=2)
    fitted = Orthogonal(completion, scale=True).fit(X, Y)
    plain = Orthogonal(completion).fit(X, Y)
    torch.testing.assert_close(fitted.matrix(), fitted.scale_ * plain.matrix())
    assert plain.scale_ == 1.0
    mapped = plain.transform(X)
    best = float((mapped * Y).sum() / mapped.square().sum())
    assert fitted.scale_ == pytest.approx(best, rel=1e-9)
    torch.testing.assert_close(fitted.transform(fitted.inverse(fitted.transform(X))), fitted.transform(X))
    streamed = Orthogonal(completion, scale=True).fit_moments(Moments(center=False).update(X, Y))
    assert streamed.scale_ == pytest.approx(best, rel=1e-9)


def test_special_gives_the_best_rotation_and_leaves_rotations_alone():
    X = gaussian(60, 10)
    R = torch.linalg.qr(gaussian(10, 10, seed=1)).Q
    R = R * torch.tensor([1.0] * 9 + [float(torch.linalg.det(R).sign())])
    assert float(torch.linalg.det(R)) == pytest.approx(1.0)
    torch.testing.assert_close(Orthogonal(special=True).fit(X, X @ R).matrix(), R, rtol=0.0, atol=1e-10)
    Y = X @ R * torch.tensor([1.0] * 9 + [-1.0]) + gaussian(60, 10, seed=2)
    any_, rotation = Orthogonal().fit(X, Y).matrix(), Orthogonal(special=True).fit(X, Y).matrix()
    assert float(torch.linalg.det(any_)) == pytest.approx(-1.0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)
    best = float(((X @ rotation) * Y).sum())
    for seed in range(200):
        turn = torch.linalg.matrix_exp(0.1 * (gaussian(10, 10, seed=seed) - gaussian(10, 10, seed=seed).T))
        assert float(((X @ rotation @ turn) * Y).sum()) < best
    scaled = Orthogonal(special=True, scale=True).fit(X, Y)
    assert scaled.scale_ == pytest.approx(best / float(X.square().sum()))


def test_special_where_a_determinant_is_not_defined_or_not_determined_is_refused():
    with pytest.raises(FitError, match=r"special=true got widths 9 \(source\) and 7 \(target\); wanted equal ones"):
        Orthogonal(special=True).fit(gaussian(30, 9), gaussian(30, 7))
    with pytest.raises(FitError, match="determine 5 of 9 directions, .*; wanted all of them"):
        Orthogonal(special=True).fit(gaussian(5, 9), gaussian(5, 9, seed=1))
