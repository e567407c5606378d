"""The test of Haar randomness: its draws, its rate under the null, and what it finds that a plain test does not."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, ks_2samp

from bridge.statistics.haar import (
    angles,
    checked,
    haar_angles,
    haar_draw,
    haar_test,
    plain_ks,
    to_signed_permutation,
    two_sided,
)

Matrix = NDArray[np.float64]
D = 32


def of_determinant(d: int, determinant: int, rng: np.random.Generator) -> Matrix:
    while True:
        R = haar_draw(d, rng)
        if np.linalg.det(R) * determinant > 0:
            return R


@pytest.mark.parametrize(("d", "determinant"), [(2, 1), (3, 1), (3, -1), (6, 1), (6, -1), (9, 1), (9, -1)])
def test_angles_without_a_matrix_are_distributed_as_those_of_matrices(d: int, determinant: int) -> None:
    rng = np.random.default_rng(d)
    fast = haar_angles(d, determinant, 2000, rng)
    whole = np.stack([angles(of_determinant(d, determinant, rng)) for _ in range(2000)])
    assert fast.shape == whole.shape == (2000, d // 2 - (determinant < 0 and d % 2 == 0))
    for j in range(fast.shape[1]):
        assert ks_2samp(fast[:, j], whole[:, j]).pvalue > 1e-3
    assert ks_2samp(np.cos(fast).sum(1), np.cos(whole).sum(1)).pvalue > 1e-3


def test_the_sign_of_the_weight_matters_to_the_draws() -> None:
    # An eigenvalue 1 that the determinant forces pushes the others away from it.
    rng = np.random.default_rng(0)
    near = {det: haar_angles(9, det, 2000, rng)[:, 0].mean() for det in (1, -1)}
    assert near[1] > 1.5 * near[-1]


def test_angles_are_those_that_a_rotation_was_made_of() -> None:
    rng, theta = np.random.default_rng(0), np.array([0.3, 1.1, 2.9])
    R = np.eye(7)
    for i, t in enumerate(theta):
        R[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]
    Q = haar_draw(7, rng)
    np.testing.assert_allclose(angles(Q @ R @ Q.T), theta, atol=1e-10)
    np.testing.assert_allclose(angles(-Q @ R @ Q.T), np.sort(np.pi - theta), atol=1e-10)


def test_of_haar_draws_a_twentieth_is_rejected() -> None:
    rng = np.random.default_rng(0)
    tests = [haar_test(haar_draw(12, rng), 39, rng) for _ in range(600)]
    for name in tests[0].p:
        rejected = sum(test.p[name] <= 0.05 for test in tests)
        low, high = binom.ppf([0.001, 0.999], 600, 0.05)
        assert low <= rejected <= high, (name, rejected)


def alternatives(rng: np.random.Generator) -> dict[str, Matrix]:
    half = D // 2
    block, partial = np.zeros((D, D)), np.eye(D)
    block[:half, :half], block[half:, half:] = haar_draw(half, rng), haar_draw(half, rng)
    partial[half:, half:] = haar_draw(half, rng)
    Q = np.linalg.qr(rng.standard_normal((D, 4)))[0]
    return {
        "signed permutation": np.eye(D)[rng.permutation(D)] * rng.choice([-1, 1], D),
        "block": block,
        "partial identity": partial,
        "low-rank change": np.eye(D) + Q @ (haar_draw(4, rng) - np.eye(4)) @ Q.T,
        "cyclic shift": np.roll(np.eye(D), 1, 0),
    }


@pytest.mark.parametrize("name", list(alternatives(np.random.default_rng(0))))
def test_structure_is_found_also_where_a_plain_test_sees_none(name: str) -> None:
    rng = np.random.default_rng(1)
    R = alternatives(rng)[name]
    assert haar_test(R, 199, rng).p["all"] == 1 / 200
    if name in ("signed permutation", "block", "cyclic shift"):
        assert plain_ks(R) > 0.2
    assert plain_ks(haar_draw(D, rng)) > 0.9


def test_statistics_of_known_matrices() -> None:
    rng = np.random.default_rng(0)
    R = haar_draw(16, rng)
    found = haar_test(R, 19, rng).statistics
    assert found["distance"] == pytest.approx(np.linalg.norm(R - np.eye(16)))
    assert found["entries"] == pytest.approx((R**4).sum())
    still = haar_test(np.eye(16), 19, rng).statistics
    assert still["distance"] == pytest.approx(0, abs=1e-6)
    assert still["ks"] == pytest.approx(1)
    assert still["entries"] == pytest.approx(16)


def test_wide_matrices_are_tested_by_their_angles_alone() -> None:
    rng = np.random.default_rng(0)
    assert "entries" not in haar_test(haar_draw(300, rng), 19, rng).statistics


def test_distance_to_the_nearest_signed_permutation() -> None:
    rng = np.random.default_rng(0)
    P = np.eye(6)[rng.permutation(6)] * rng.choice([-1, 1], 6)
    assert to_signed_permutation(P) == pytest.approx(0, abs=1e-7)
    R = haar_draw(4, rng)
    every = (
        np.linalg.norm(R - np.diag(signs) @ np.eye(4)[list(order)])
        for order in permutations(range(4))
        for signs in product([-1, 1], repeat=4)
    )
    assert to_signed_permutation(R) == pytest.approx(min(every))


def test_ties_count_against_a_rejection() -> None:
    assert two_sided(np.ones(20)).tolist() == [1.0] * 20
    assert two_sided(np.arange(40.0))[[0, 1, 39]].tolist() == [0.05, 0.1, 0.05]


@pytest.mark.parametrize(
    ("R", "match"),
    [
        (np.ones((3, 2)), "shape"),
        (np.ones((3, 3)), "differs from I by up to 3"),
        (np.full((2, 2), np.nan), "not finite"),
        (np.eye(1), "width 2"),
        (2 * np.eye(4), "orthogonal"),
    ],
)
def test_what_is_no_rotation_is_refused(R: Matrix, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        checked(R)


@pytest.mark.parametrize("d", [260, 261])
def test_angles_of_wide_matrices_are_those_of_their_eigenvalues(d: int) -> None:
    R = haar_draw(d, np.random.default_rng(d))
    every = np.sort(np.abs(np.angle(np.linalg.eigvals(R))))
    found = angles(R)
    forced = d - 2 * len(found)
    assert forced == (1 if d % 2 else (2 if np.linalg.det(R) < 0 else 0))
    # Each angle is there twice, and the forced eigenvalues are 1 and -1.
    rest = every[(every > 1e-9) & (every < np.pi - 1e-9)]
    np.testing.assert_allclose(np.repeat(found, 2), rest, atol=1e-7)
