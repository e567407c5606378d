import pytest
import scipy.linalg
import torch
from torch import Tensor

import bridge.maps.orthogonal
from bridge.errors import FitError
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.solvers import fit_width

EXACT = {"rtol": 0.0, "atol": 1e-10}


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def haar(d: int, seed: int = 0) -> Tensor:
    Q, R = torch.linalg.qr(gaussian(d, d, seed=seed))
    return Q * R.diagonal().sign()


def naive(X: Tensor, Y: Tensor, completion: str) -> tuple[int, Tensor]:
    """Whole D x D singular vectors; the completion is a polar factor between explicit null-space bases."""
    D = max(X.shape[1], Y.shape[1])
    U, s, Vh = torch.linalg.svd(fit_width(X, D).T @ fit_width(Y, D))
    k = int((s > 1e-10 * s[0]).sum())
    R = U[:, :k] @ Vh[:k]
    if completion == "nearest":
        left, _, right = torch.linalg.svd(U[:, k:].T @ Vh[k:].T)
        R = R + U[:, k:] @ left @ right @ Vh[k:]
    return k, R[: X.shape[1], : Y.shape[1]]


def data(kind: str, n: int, d: int, seed: int) -> Tensor:
    X = gaussian(n, d, seed=seed)
    if kind == "centered":
        return X - X.mean(0)
    if kind == "low_rank":
        return gaussian(n, 3, seed=seed) @ gaussian(3, d, seed=seed + 1)
    if kind == "repeated_rows":
        return X[torch.arange(n) // 2]
    if kind == "ill_conditioned":
        U, s, Vh = torch.linalg.svd(X, full_matrices=False)
        return U * torch.logspace(0, -5, len(s), dtype=torch.float64) @ Vh
    return X


@pytest.mark.parametrize("completion", ["nearest", "none"])
@pytest.mark.parametrize("kind", ["full_rank", "centered", "low_rank", "repeated_rows", "ill_conditioned"])
@pytest.mark.parametrize(
    ("n", "d_source", "d_target"),
    [
        (5, 12, 12),
        (20, 12, 12),
        (5, 12, 8),
        (5, 8, 12),
        (10, 12, 8),
        (10, 8, 12),
        (30, 12, 8),
        (30, 8, 12),
        (2, 4, 4),
    ],
)
def test_orthogonal_agrees_with_the_naive_whole_space_solution(n, d_source, d_target, kind, completion):
    X, Y = data(kind, n, d_source, seed=3), gaussian(n, d_target, seed=4)
    k, R = naive(X, Y, completion)
    fitted = Orthogonal(completion).fit(X, Y)
    assert fitted.rank_ == k
    torch.testing.assert_close(fitted.matrix(), R, **EXACT)


def test_orthogonal_recovers_a_known_rotation():
    X, Q = gaussian(40, 12), haar(12, seed=1)
    fitted = Orthogonal().fit(X, 2.5 * X @ Q)
    torch.testing.assert_close(fitted.matrix(), Q, **EXACT)
    assert fitted.rank_ == 12


def test_orthogonal_recovers_a_rotation_on_the_span_of_centered_rows_and_an_offset_does_not_matter():
    X, Q, offset = gaussian(9, 50), haar(50, seed=1), gaussian(1, 50, seed=2)
    Y = 0.3 * X @ Q + offset
    centered = X - X.mean(0)
    fitted = Orthogonal().fit(centered, Y - Y.mean(0))
    assert fitted.rank_ == 8
    torch.testing.assert_close(fitted.transform(centered), centered @ Q, **EXACT)
    combination = gaussian(3, 9, seed=5) @ centered
    torch.testing.assert_close(fitted.transform(combination), combination @ Q, **EXACT)


@pytest.mark.parametrize("n", [60, 13])
def test_orthogonal_agrees_with_scipy(n):
    X, Y = gaussian(n, 24), gaussian(n, 24, seed=1)
    R = torch.from_numpy(scipy.linalg.orthogonal_procrustes(X.numpy(), Y.numpy())[0])
    fitted = Orthogonal().fit(X, Y)
    torch.testing.assert_close(fitted.transform(X), X @ R, **EXACT)
    if n == 60:
        torch.testing.assert_close(fitted.matrix(), R, **EXACT)


@pytest.mark.parametrize("n", [4, 25, 40, 90])
@pytest.mark.parametrize(("d_source", "d_target"), [(40, 40), (30, 40), (40, 30)])
def test_the_completed_rotation_is_orthogonal_far_below_1e_10(n, d_source, d_target):
    R = Orthogonal().fit(gaussian(n, d_source), gaussian(n, d_target, seed=1)).matrix()
    narrow = R @ R.T if d_source <= d_target else R.T @ R
    assert float((narrow - torch.eye(len(narrow), dtype=torch.float64)).norm()) < 1e-11


def test_without_completion_the_map_is_zero_outside_the_span_and_an_isometry_inside():
    X, Y = gaussian(5, 20), gaussian(5, 20, seed=1)
    R = Orthogonal("none").fit(X, Y).matrix()
    torch.testing.assert_close(torch.linalg.svdvals(R)[:5], torch.ones(5, dtype=torch.float64), **EXACT)
    assert float(torch.linalg.svdvals(R)[5:].max()) < 1e-12
    basis = torch.linalg.qr(X.T).Q
    outside = gaussian(3, 20, seed=2) @ (torch.eye(20, dtype=torch.float64) - basis @ basis.T)
    assert float((outside @ R).abs().max()) < 1e-12


def test_the_nearest_completion_is_nearer_to_the_identity_than_random_ones():
    X, Y = gaussian(6, 15), gaussian(6, 15, seed=1)
    R, identity = Orthogonal().fit(X, Y).matrix(), torch.eye(15, dtype=torch.float64)
    U, _, Vh = torch.linalg.svd(X.T @ Y)
    for seed in range(20):
        other = U[:, :6] @ Vh[:6] + U[:, 6:] @ haar(9, seed) @ Vh[6:]
        assert float((R - identity).norm()) < float((other - identity).norm())


def test_a_fit_of_states_on_themselves_is_the_identity_everywhere():
    X = gaussian(6, 15)
    torch.testing.assert_close(Orthogonal().fit(X, X).matrix(), torch.eye(15, dtype=torch.float64), **EXACT)


def test_spans_at_right_angles_are_completed_to_a_rotation():
    X, Y = torch.eye(6)[:2], torch.eye(6)[2:4]
    R = Orthogonal().fit(X, Y).matrix()
    torch.testing.assert_close(R @ R.T, torch.eye(6, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(X.double() @ R, Y.double(), **EXACT)
    torch.testing.assert_close(R[4:], torch.eye(6, dtype=torch.float64)[4:], **EXACT)


@pytest.mark.parametrize("n", [6, 30])
def test_turning_both_sides_turns_the_map(n):
    X, Y, turn_x, turn_y = gaussian(n, 10), gaussian(n, 12, seed=1), haar(10, 2), haar(12, 3)
    R = Orthogonal("none").fit(X, Y).matrix()
    turned = Orthogonal("none").fit(X @ turn_x, 7.0 * Y @ turn_y).matrix()
    torch.testing.assert_close(turned, turn_x.T @ R @ turn_y, **EXACT)


def test_the_order_of_the_pairs_does_not_matter():
    X, Y, order = gaussian(6, 10), gaussian(6, 10, seed=1), torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(Orthogonal().fit(X[order], Y[order]).matrix(), Orthogonal().fit(X, Y).matrix(), **EXACT)


@pytest.mark.parametrize(("n", "d_source", "d_target"), [(6, 10, 10), (30, 8, 12), (6, 8, 12), (30, 12, 8), (6, 12, 8)])
def test_no_random_rotation_has_a_larger_trace(n, d_source, d_target):
    X, Y = gaussian(n, d_source), gaussian(n, d_target, seed=1)
    best = float((Orthogonal().fit(X, Y).transform(X) * Y).sum())
    for seed in range(50):
        other = haar(max(d_source, d_target), seed)[:d_source, :d_target]
        assert best > float(((X @ other) * Y).sum())


def test_the_solver_is_recorded_and_bad_conditioning_goes_to_qr():
    wide, tall = gaussian(6, 20), gaussian(6, 4)
    assert Orthogonal().fit(wide, gaussian(6, 30)).solver_ == "gram"
    assert Orthogonal().fit(wide - wide.mean(0), gaussian(6, 30)).solver_ == "gram"
    assert Orthogonal().fit(wide, tall).solver_ == "gram/direct"
    assert Orthogonal().fit(tall, tall).solver_ == "direct"
    assert Orthogonal().fit(data("ill_conditioned", 6, 20, seed=0), wide).solver_ == "qr/gram"
    assert Orthogonal().fit(wide, data("repeated_rows", 6, 20, seed=0)).solver_ == "gram/qr"


def test_a_width_whose_square_does_not_fit_into_memory_is_no_problem():
    X, Y = gaussian(4, 200_000), gaussian(4, 200_000, seed=1)
    fitted = Orthogonal().fit(X, Y)
    mapped = fitted.transform(torch.cat([X, gaussian(2, 200_000, seed=2)]))
    assert fitted.rank_ == 4
    before = torch.cat([X, gaussian(2, 200_000, seed=2)])
    torch.testing.assert_close(mapped @ mapped.T, before @ before.T, rtol=1e-12, atol=1e-7)


@pytest.mark.parametrize("completion", ["nearest", "none"])
def test_permuted_fits_are_the_same_in_chunks_of_one(completion, monkeypatch):
    X, Y, X_new = gaussian(7, 10), gaussian(7, 12, seed=1), gaussian(3, 10, seed=2)
    orders = torch.stack([torch.randperm(7, generator=torch.Generator().manual_seed(i)) for i in range(5)])
    whole = Orthogonal(completion).transform_permuted(X, Y, orders, X_new)
    monkeypatch.setattr(bridge.maps.orthogonal, "CHUNK_BYTES", 1)
    one_by_one = Orthogonal(completion).transform_permuted(X, Y, orders, X_new)
    torch.testing.assert_close(one_by_one, whole, rtol=0.0, atol=1e-12)
    loop = torch.stack([Orthogonal(completion).fit(X, Y[order]).transform(X_new) for order in orders])
    torch.testing.assert_close(whole, loop, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("completion", ["nearest", "none"])
def test_permutations_that_change_the_rank_are_each_completed_at_their_own_rank(completion):
    X = torch.eye(5)[[0, 0, 1, 1]]
    orders = torch.tensor([[0, 1, 2, 3], [0, 2, 1, 3]])
    ranks = [Orthogonal().fit(X, X[order]).rank_ for order in orders]
    assert ranks == [2, 1]
    draws = Orthogonal(completion).transform_permuted(X, X, orders, torch.eye(5))
    for draw, order in zip(draws, orders, strict=True):
        torch.testing.assert_close(draw, naive(X.double(), X[order].double(), completion)[1], **EXACT)


def test_rows_without_anything_in_common_are_refused():
    with pytest.raises(FitError, match=r"X\^T Y is zero, so that no rotation is better.*: fit on more items"):
        Orthogonal().fit(torch.zeros(4, 3), gaussian(4, 3))
    same, balanced = torch.ones(3, 1) * gaussian(1, 8), torch.tensor([[1.0], [2.0], [-3.0]]) * gaussian(1, 8)
    with pytest.raises(FitError, match=r"X\^T Y is zero"):
        Orthogonal().fit(same, balanced)


def test_an_unknown_completion_is_refused():
    with pytest.raises(FitError, match="completion is 'haar'; wanted one of nearest, none"):
        Orthogonal("haar").fit(gaussian(4, 3), gaussian(4, 3))


@pytest.mark.parametrize(
    "options", [{"scale": True}, {"completion": "none", "scale": True}, {"special": True}], ids=str
)
@pytest.mark.parametrize(("n", "d_source", "d_target"), [(30, 9, 9), (30, 9, 7), (30, 7, 9), (5, 9, 9)])
def test_permuted_fits_with_an_option_equal_the_loop_over_fresh_maps(options, n, d_source, d_target):
    if options.get("special") and (d_source != d_target or n < d_source):
        pytest.skip("no determinant")
    X, Y, X_new = gaussian(n, d_source), 5.0 * gaussian(n, d_target, seed=1), gaussian(4, d_source, seed=2)
    orders = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(i)) for i in range(6)])
    draws = Orthogonal(**options).transform_permuted(X, Y, orders, X_new)
    loop = torch.stack([Orthogonal(**options).fit(X, Y[order]).transform(X_new) for order in orders])
    torch.testing.assert_close(draws, loop, rtol=0.0, atol=1e-9)


def test_special_turns_the_direction_that_costs_least():
    for seed in range(20):
        X = gaussian(40, 6, seed=seed) * torch.logspace(0, -1, 6, dtype=torch.float64)
        Y = X @ torch.linalg.qr(gaussian(6, 6, seed=100 + seed)).Q + 0.1 * gaussian(40, 6, seed=200 + seed)
        U, s, Vh = torch.linalg.svd(X.T @ Y)
        reflected = float(torch.linalg.det(U @ Vh)) < 0
        R = Orthogonal(special=True).fit(X, Y).matrix()
        assert float((R * (X.T @ Y)).sum()) == pytest.approx(float(s.sum() - 2 * s[-1] * reflected))
        assert float(torch.linalg.det(R)) == pytest.approx(1.0)


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_what_is_rounding_depends_on_the_sizes_of_both_sides(size):
    basis = torch.linalg.qr(gaussian(30, 8)).Q
    X, Y = size * basis[:, :4] @ gaussian(4, 6, seed=1), basis[:, 4:] @ gaussian(4, 5, seed=2) / size
    with pytest.raises(FitError, match=r"X\^T Y is zero, so that no rotation is better than another"):
        Orthogonal().fit(X, Y)
