"""Least-squares maps against slow ways to the same answer, and options out of range."""

import pytest
import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.affine import Affine
from bridge.maps.cca import CCA
from bridge.maps.linear import Linear
from bridge.maps.lora import LoRA
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.pca_orthogonal import PCAOrthogonal
from bridge.maps.reduced_rank import ReducedRank
from bridge.maps.relative import Relative
from bridge.maps.ridge import PENALTIES, Ridge
from bridge.maps.semi_orthogonal import SemiOrthogonal
from bridge.maps.stream import fit_stream


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noisy(n: int, d_source: int, d_target: int, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    X = gaussian(n, d_source)
    return X, X @ gaussian(d_source, d_target, seed=1) / d_source**0.5 + noise * gaussian(n, d_target, seed=2)


@pytest.mark.parametrize(("n", "d"), [(14, 6), (10, 16)])
@pytest.mark.parametrize("center", [True, False])
def test_the_penalty_by_leave_one_out_is_the_one_that_refitting_without_each_row_finds(n, d, center):
    X, Y = noisy(n, d, 5)
    if center:
        X, Y = X - X.mean(0), Y - Y.mean(0)
    fitted = Ridge(select="loo").fit(X, Y)
    errors = []
    for penalty in PENALTIES:
        absolute = penalty * float(X.square().sum()) / min(n, d)
        error = 0.0
        for i in range(n):
            rest = torch.arange(n) != i
            A, B = X[rest], Y[rest]
            shift = (A.mean(0), B.mean(0)) if center else (0.0, 0.0)
            A, B = A - shift[0], B - shift[1]
            W = torch.linalg.solve(A.T @ A + absolute * torch.eye(d, dtype=torch.float64), A.T @ B)
            error += float(((X[i] - shift[0]) @ W + shift[1] - Y[i]).square().sum())
        errors.append(error)
    assert fitted.penalty_ == PENALTIES[min(range(len(errors)), key=errors.__getitem__)]
    torch.testing.assert_close(fitted.matrix(), Ridge(fitted.penalty_).fit(X, Y).matrix())


@pytest.mark.parametrize("select", ["loo", "split"])
def test_more_noise_gets_a_larger_penalty_and_the_choice_does_better_than_none(select):
    X, Y = noisy(60, 40, 30, noise=0.01)
    quiet = Ridge(select=select).fit(X[:45], Y[:45]).penalty_
    X, Y = noisy(60, 40, 30, noise=1.0)
    loud = Ridge(select=select).fit(X[:45], Y[:45])
    assert loud.penalty_ > 10 * quiet
    free = Linear().fit(X[:45], Y[:45])
    assert float((loud.transform(X[45:]) - Y[45:]).norm()) < 0.7 * float((free.transform(X[45:]) - Y[45:]).norm())


@pytest.mark.parametrize(("n", "d"), [(40, 12), (20, 30)])
def test_the_penalty_by_a_split_is_the_one_that_predicts_a_fifth_of_the_rows_best(n, d):
    X, Y = noisy(n, d, 5)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(4))
    held, kept = order[: n // 5], order[n // 5 :]
    errors = [float((Ridge(p).fit(X[kept], Y[kept]).transform(X[held]) - Y[held]).norm()) for p in PENALTIES]
    assert (
        Ridge(select="split", seed=4).fit(X, Y).penalty_ == PENALTIES[min(range(len(errors)), key=errors.__getitem__)]
    )


def test_the_inverse_of_an_affine_map_takes_the_intercept_away_first():
    X, W = gaussian(30, 6), gaussian(6, 6, seed=1)
    fitted = Affine().fit(X + 5.0, X @ W - 3.0)
    torch.testing.assert_close(fitted.inverse(X @ W - 3.0), X + 5.0)


def test_the_split_depends_on_the_seed_alone_and_a_permuted_fit_chooses_anew():
    X, Y = noisy(40, 30, 20)
    assert Ridge(select="split", seed=3).fit(X, Y).penalty_ == Ridge(select="split", seed=3).fit(X, Y).penalty_
    orders = torch.stack([torch.arange(40), torch.arange(40).flip(0)])
    for select in ("loo", "split"):
        penalties = [Ridge(select=select).fit(X, Y[order]).penalty_ for order in orders]
        assert penalties[0] < penalties[1]
        draws = Ridge(select=select).transform_permuted(X, Y, orders, X)
        for draw, order, penalty in zip(draws, orders, penalties, strict=True):
            torch.testing.assert_close(draw, Ridge(penalty).fit(X, Y[order]).transform(X))


@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize(("n", "d_source", "d_target"), [(40, 9, 7), (40, 7, 9), (6, 9, 9)])
def test_reduced_rank_is_the_cut_of_the_augmented_prediction_and_no_other_matrix_of_its_rank_is_better(
    n, d_source, d_target, penalty
):
    X, Y = noisy(n, d_source, d_target)
    W = ReducedRank(3, penalty).fit(X, Y).matrix()
    assert int(torch.linalg.matrix_rank(W)) == 3
    absolute = penalty * float(X.square().sum()) / min(n, d_source)
    rows = torch.cat([X, absolute**0.5 * torch.eye(d_source, dtype=torch.float64)])
    wanted = torch.cat([Y, Y.new_zeros(d_source, d_target)])
    full = torch.linalg.pinv(rows) @ wanted
    V = torch.linalg.svd(rows @ full).Vh[:3].T
    torch.testing.assert_close(W, full @ V @ V.T)
    best = float((rows @ W - wanted).square().sum())
    for seed in range(20):
        other = W + 0.05 * W.norm() * (gaussian(d_source, 3, seed=seed) @ torch.linalg.svd(W).Vh[:3])
        assert float((rows @ other - wanted).square().sum()) > best


def test_lora_is_reduced_rank_regression_of_the_residual_whatever_its_alpha():
    X, Y = noisy(40, 9, 12)
    residual = Y - torch.nn.functional.pad(X, (0, 3))
    expected = ReducedRank(4, 0.1).fit(X, residual).transform(X) + torch.nn.functional.pad(X, (0, 3))
    for alpha in (1.0, 16.0):
        torch.testing.assert_close(LoRA(4, alpha, 0.1).fit(X, Y).transform(X), expected)


def test_cca_finds_the_correlations_of_the_whitened_rows_and_with_all_of_them_is_ridge():
    X, Y = noisy(60, 9, 7)
    X, Y = X - X.mean(0), Y - Y.mean(0)
    whitened = [torch.linalg.svd(rows, full_matrices=False).U for rows in (X, Y)]
    expected = torch.linalg.svdvals(whitened[0].T @ whitened[1])
    torch.testing.assert_close(CCA(3, penalty=0.0).fit(X, Y).correlations_, expected[:3])
    torch.testing.assert_close(CCA(None, 0.2).fit(X, Y).matrix(), Ridge(0.2).fit(X, Y).matrix())
    assert CCA(None, penalty=0.0).can_rotate
    assert not CCA(3, penalty=0.0).can_rotate
    assert not CCA(None).can_rotate


def test_semi_orthogonal_is_nearer_than_orthogonal_and_than_any_small_turn_of_it():
    X, Y = noisy(60, 12, 7)
    X = X * torch.logspace(0, -1, 12, dtype=torch.float64)
    fitted = SemiOrthogonal(2000, 1e-13).fit(X, Y)
    R, best = fitted.matrix(), float((fitted.transform(X) - Y).norm())
    torch.testing.assert_close(R.T @ R, torch.eye(7, dtype=torch.float64), rtol=0.0, atol=1e-12)
    assert best < 0.98 * float((Orthogonal().fit(X, Y).transform(X) - Y).norm())
    for seed in range(100):
        turn = torch.linalg.matrix_exp(0.03 * (gaussian(12, 12, seed=seed) - gaussian(12, 12, seed=seed).T))
        assert float((X @ turn @ R - Y).norm()) > best
    assert SemiOrthogonal(2, 1e-15).fit(X, Y).solver_ == "direct, stopped after 2 steps without converging"
    narrow, wide = X[:, :5], X
    assert torch.equal(SemiOrthogonal().fit(narrow, wide).matrix(), Orthogonal().fit(narrow, wide).matrix())


def test_semi_orthogonal_in_a_basis_of_the_rows_is_as_near_as_in_the_whole_space():
    X, Y = gaussian(6, 60), gaussian(6, 8, seed=1)
    assert len(X) + 8 < 60
    fitted = SemiOrthogonal(3000, 1e-14).fit(X, Y)
    R = fitted.matrix()
    torch.testing.assert_close(R.T @ R, torch.eye(8, dtype=torch.float64), rtol=0.0, atol=1e-11)
    # with as much room outside the span, every contraction inside is within reach, so that only size is an error
    moved = float((fitted.transform(X) - Y).norm())
    assert moved < 1e-3 * float(Y.norm()) < float((Orthogonal().fit(X, Y).transform(X) - Y).norm())


REFUSED = {
    "rank of a LoRA below 1": (LoRA(0), "LoRA rank is 0; wanted at least 1"),
    "rank larger than a width": (
        LoRA(8),
        r"LoRA rank is 8, larger than one of the widths 9 \(source\) and 7 \(target\)",
    ),
    "rank larger than the rows": (ReducedRank(6), "ReducedRank rank is 6, but the 5 rows of X hold 5 directions; .*5"),
    "negative penalty of a low rank": (ReducedRank(2, -1.0), "ReducedRank penalty is -1.0; wanted a number that is at"),
    "alpha of nothing": (LoRA(2, alpha=0.0), "LoRA alpha is 0.0; wanted a number above 0"),
    "negative ridge penalty": (Ridge(-0.1), "ridge penalty is -0.1; wanted a number above 0"),
    "infinite ridge penalty": (Ridge(float("inf")), "ridge penalty is inf; wanted a number above 0"),
    "unknown selection": (Ridge(select="best"), "ridge select is 'best'; wanted one of fixed, loo, split"),
    "fewer rows than anchors": (Relative(6), "n_anchors is 6 and there are 5 fit rows; wanted 1 to 5 anchors"),
    "no anchors": (Relative(0), "n_anchors is 0 and there are 5 fit rows"),
    "tolerance of anchors": (Relative(3, tolerance=1.0), "relative tolerance is 1.0; wanted at least 0 and below 1"),
    "more components than rows": (PCAOrthogonal(6), "n_components is 6; wanted 1 to 5, .* source rows hold"),
    "no components": (PCAOrthogonal(0), "n_components is 0; wanted 1 to 5"),
    "more pairs than rows": (CCA(6), "CCA n_components is 6; wanted 1 to 5, the number of directions"),
    "negative CCA penalty": (CCA(2, -1.0), "CCA penalty is -1.0; wanted a number that is at least 0"),
    "no steps": (SemiOrthogonal(0), "SemiOrthogonal got n_steps=0 .*; wanted at least 1 step"),
}


@pytest.mark.parametrize(("map_", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_an_option_out_of_range_is_refused_at_the_fit_in_one_line(map_, text):
    X, Y = gaussian(5, 9), gaussian(5, 7, seed=1)
    order = torch.arange(5)[None]
    for call in (lambda: map_.fit(X, Y), lambda: map_.transform_permuted(X, Y, order, X)):
        with pytest.raises(FitError, match=text) as refused:
            call()
        assert "\n" not in str(refused.value)


def test_a_penalty_that_is_chosen_on_rows_cannot_be_chosen_on_sums_or_on_two_rows():
    X, Y = gaussian(5, 9), gaussian(5, 7, seed=1)
    with pytest.raises(FitError, match="ridge select=loo needs the rows themselves; wanted select=fixed"):
        fit_stream(Ridge(select="loo"), [(X, Y)])
    with pytest.raises(FitError, match="ridge select=split got 2 rows; wanted at least 3"):
        Ridge(select="split").fit(X[:2], Y[:2])


def test_an_anchor_without_a_direction_is_refused():
    X, Y = gaussian(5, 9), gaussian(5, 7, seed=1)
    Y[2] = 0.0
    with pytest.raises(FitError, match="1 of 5 anchors are zero in Y; wanted rows with a direction"):
        Relative(5).fit(X, Y)


@pytest.mark.parametrize("n", [60, 4])
def test_semi_orthogonal_is_never_farther_than_the_start_however_few_steps_it_takes(n):
    worse = 0
    for seed in range(20):
        # rows that are white make Orthogonal the optimum, and a step from beside it is not
        X = torch.linalg.qr(gaussian(max(n, 12), 12, seed=seed)).Q[:n]
        Y = X @ torch.linalg.qr(gaussian(12, 7, seed=100 + seed)).Q + 0.01 * gaussian(n, 7, seed=200 + seed)
        start = float((Orthogonal().fit(X, Y).transform(X) - Y).norm())
        end = float((SemiOrthogonal(n_steps=1).fit(X, Y).transform(X) - Y).norm())
        worse += end > start * (1 + 1e-12)
    assert worse == 0
