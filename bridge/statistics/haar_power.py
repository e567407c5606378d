"""How often the test of Haar randomness rejects matrices that have a structure: its power, by alternative.

A test that does not reject says little unless it would have rejected. Each alternative is drawn many times and tested
with `bridge.statistics.haar.haar_test`, and the plain Kolmogorov-Smirnov test stands beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.statistics.haar import haar_draw, haar_test, plain_ks

Floats = NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], Floats]
LEVEL = 0.05
# Of the fits: rows for each dimension, and how fast the spectrum of the states falls.
ROWS, DECAY = 4, 0.9


@dataclass(frozen=True)
class Power:
    """How often one kind of matrix was rejected at the level of 5 %.

    Attributes:
        rates: statistic -> share of the tests; "all" is the test of all statistics together, "plain" the plain KS test.
        n_tests: how many matrices were tested.
    """

    rates: dict[str, float]
    n_tests: int


def signed_permutation(d: int, rng: np.random.Generator) -> Floats:
    """Coordinates exchanged, some with another sign."""
    return np.asarray(np.eye(d)[rng.permutation(d)] * rng.choice([-1.0, 1.0], d))


def block(d: int, rng: np.random.Generator) -> Floats:
    """Two halves of the coordinates, each rotated in itself."""
    R, half = np.zeros((d, d)), d // 2
    R[:half, :half], R[half:, half:] = haar_draw(half, rng), haar_draw(d - half, rng)
    return R


def partial_identity(d: int, rng: np.random.Generator) -> Floats:
    """One half of the coordinates rotated in itself, the other left alone, in a random basis."""
    R, half = np.eye(d), d // 2
    R[half:, half:] = haar_draw(d - half, rng)
    Q = haar_draw(d, rng)
    return np.asarray(Q @ R @ Q.T)


def low_rank_change(d: int, rng: np.random.Generator) -> Floats:
    """The identity outside a random subspace of an eighth of the dimensions."""
    r = max(2, d // 8)
    Q = haar_draw(d, rng)[:, :r]
    return np.asarray(np.eye(d) + Q @ (haar_draw(r, rng) - np.eye(r)) @ Q.T)


def cyclic_shift(d: int, rng: np.random.Generator) -> Floats:
    """Every coordinate moved on by one, in a random basis."""
    Q = haar_draw(d, rng)
    return np.asarray(Q @ np.roll(np.eye(d), 1, axis=0) @ Q.T)


def shuffled_fit(d: int, rng: np.random.Generator) -> Floats:
    """Procrustes between states and the same states with their rows permuted."""
    X = _states(d, rng) @ haar_draw(d, rng)
    return _procrustes(X, X[rng.permutation(len(X))])


def unrelated_fit(d: int, rng: np.random.Generator) -> Floats:
    """Procrustes between two unrelated sets of states."""
    return _procrustes(_states(d, rng) @ haar_draw(d, rng), _states(d, rng) @ haar_draw(d, rng))


def _states(d: int, rng: np.random.Generator) -> Floats:
    return np.asarray(rng.standard_normal((ROWS * d, d)) * DECAY ** np.arange(d))


def _procrustes(X: Floats, Y: Floats) -> Floats:
    U, _, Vh = np.linalg.svd(X.T @ Y)
    return np.asarray(U @ Vh)


ALTERNATIVES: Mapping[str, Draw] = {
    "signed permutation": signed_permutation,
    "block": block,
    "partial identity": partial_identity,
    "low-rank change": low_rank_change,
    "cyclic shift": cyclic_shift,
    "shuffled-pair fit": shuffled_fit,
    "unrelated data": unrelated_fit,
}


def power(draw: Draw, d: int, n_tests: int, n_draws: int, rng: np.random.Generator) -> Power:
    """How often matrices of one kind are rejected.

    Args:
        draw: (width, source of randomness) -> a matrix; one of `ALTERNATIVES`, or `haar_draw` for the null
            itself.
        d: the width.
        n_tests: how many matrices are tested.
        n_draws: of the null of each test.
        rng: the source of randomness.
    """
    counts: dict[str, int] = {}
    for _ in range(n_tests):
        R = draw(d, rng)
        p = haar_test(R, n_draws, rng).p | {"plain": plain_ks(R)}
        for name, value in p.items():
            counts[name] = counts.get(name, 0) + (value <= LEVEL)
    return Power({name: count / n_tests for name, count in counts.items()}, n_tests)
