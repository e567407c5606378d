"""Whether an orthogonal matrix looks like a draw from the Haar measure: a test that is calibrated by simulation.

The eigenvalues of one orthogonal matrix repel each other, so that their angles are spread more evenly than independent
ones. A Kolmogorov-Smirnov test against the uniform distribution therefore returns p near 1 for nearly any matrix, a
permutation or a fit between shuffled pairs included. Here every statistic is compared with its own distribution over
simulated Haar draws of the same width and determinant.

Sources: Killip and Nenciu (2004), "Matrix models for circular ensembles", Theorem 2, for draws of the angles without
the matrix; Diaconis and Shahshahani (1994), "On the eigenvalues of random matrices", for traces of powers; Mezzadri
(2007), "How to generate random matrices from the classical compact groups", for draws of the matrix.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import linear_sum_assignment
from scipy.stats import kstest

Floats = NDArray[np.float64]
# Highest power whose trace is looked at.
N_POWERS = 8
# Up to this width matrices of the null are drawn whole, so that their entries can be looked at, too.
WHOLE_AT_MOST = 256
# The largest entry of R'R - I of a matrix that counts as orthogonal.
ORTHOGONAL = 1e-6


@dataclass(frozen=True)
class HaarTest:
    """The answer of `haar_test`.

    Attributes:
        statistics: name -> value.
        p: name -> two-sided rank p of each statistic alone; "all" is the rank p of the largest of them, each in its
            standard deviations, so that the search among them is accounted for.
        n_draws: of the null.
        determinant: of the matrix, 1 or -1; the null has it too.
    """

    statistics: dict[str, float]
    p: dict[str, float]
    n_draws: int
    determinant: int


def haar_test(R: Floats, n_draws: int, rng: np.random.Generator) -> HaarTest:
    """Test whether a matrix is a Haar draw, given its determinant.

    Statistics: *distance*, ||R - I||_F; *ks*, the Kolmogorov-Smirnov distance of the angles from the uniform
    distribution; *spacing*, the mean distance of an angle to its nearest neighbour; *powers*, the largest trace of
    R^2 to R^8, each in standard deviations of the null; and up to a width of 256 *entries*, the mean fourth power of
    the entries times d^2, which is 3 for entries like those of normal numbers and d for a permutation.

    Args:
        R: (d, d) orthogonal.
        n_draws: Haar draws of the null; the least p is one over one more.
        rng: the source of randomness.

    Raises:
        ValueError: the matrix is not orthogonal.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> haar_test(np.eye(16)[::-1], 99, rng).p["all"], haar_test(haar_draw(16, rng), 99, rng).p["all"] > 0.05
        (0.01, True)
    """
    R = checked(R)
    d, determinant = len(R), _determinant(R)
    if d <= WHOLE_AT_MOST:
        matrices = [R, *(_turned(haar_draw(d, rng), determinant) for _ in range(n_draws))]
        theta = np.stack([angles(matrix) for matrix in matrices])
    else:
        matrices, theta = [], np.concatenate([angles(R)[None], haar_angles(d, determinant, n_draws, rng)])
    table = _of_angles(theta, *_forced(d, determinant))
    if matrices:
        table["entries"] = np.array([(matrix**4).mean() * d**2 for matrix in matrices])
    p = {name: two_sided(values) for name, values in table.items()}
    farthest = np.max([np.abs(_standard(values)) for values in table.values()], axis=0)
    return HaarTest(
        statistics={name: float(values[0]) for name, values in table.items()},
        p={name: float(ranked[0]) for name, ranked in p.items()} | {"all": float((farthest >= farthest[0]).mean())},
        n_draws=n_draws,
        determinant=determinant,
    )


def _of_angles(theta: Floats, plus: int, minus: int) -> dict[str, Floats]:
    """Each statistic (m,) of the angles (m, n) of m matrices, of which the first is the one that is tested."""
    n = theta.shape[1]
    traces = {k: plus + minus * (-1.0) ** k + 2 * np.cos(k * theta).sum(1) for k in range(1, N_POWERS + 1)}
    d = 2 * n + plus + minus
    z = np.stack([_standard(t) for k, t in traces.items() if k > 1])
    steps = np.arange(n + 1) / n
    share = theta / np.pi
    gaps = np.diff(theta, axis=1)
    nearest = np.minimum(
        np.pad(gaps, ((0, 0), (1, 0)), constant_values=np.pi), np.pad(gaps, ((0, 0), (0, 1)), constant_values=np.pi)
    )
    return {
        "distance": np.sqrt(np.maximum(2 * d - 2 * traces[1], 0)),
        "ks": np.maximum(steps[1:] - share, share - steps[:-1]).max(1),
        "spacing": nearest.mean(1) * n / np.pi,
        "powers": np.abs(z).max(0),
    }


def _standard(values: Floats) -> Floats:
    """Values (m,) in standard deviations from their mean; the tested one counts, so that all are treated alike."""
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def two_sided(values: Floats) -> Floats:
    """The rank p (m,) of each of m values among all of them, in both directions; ties count against a rejection.

    Example:
        >>> two_sided(np.array([9.0, 1, 2, 3])).tolist()
        [0.5, 0.5, 1.0, 1.0]
    """
    order = np.sort(values)
    above = len(values) - np.searchsorted(order, values, side="left")
    below = np.searchsorted(order, values, side="right")
    return np.minimum(1.0, 2 * np.minimum(above, below) / len(values))


def plain_ks(R: Floats) -> float:
    """The p of an ordinary Kolmogorov-Smirnov test of the angles against the uniform distribution.

    It takes the angles for independent, which they are not, so that it rejects next to nothing.
    """
    return float(kstest(angles(checked(R)) / np.pi, "uniform").pvalue)


def to_signed_permutation(R: Floats) -> float:
    """The Frobenius distance from R to the signed permutation matrix nearest to it.

    Example:
        >>> to_signed_permutation(-np.eye(5)[::-1])
        0.0
    """
    rows, columns = linear_sum_assignment(-np.abs(R))
    return float(np.sqrt(max(2 * len(R) - 2 * np.abs(R)[rows, columns].sum(), 0.0)))


def haar_draw(d: int, rng: np.random.Generator) -> Floats:
    """A Haar draw (d, d) from the orthogonal matrices, of either determinant."""
    Q, upper = np.linalg.qr(rng.standard_normal((d, d)))
    return np.asarray(Q * np.sign(np.diag(upper)))


def _turned(R: Floats, determinant: int) -> Floats:
    """R with this determinant: if need be, its first column is reflected, which leaves a Haar draw one."""
    if _determinant(R) != determinant:
        R = R.copy()
        R[:, 0] *= -1
    return R


def checked(R: Floats, tolerance: float = ORTHOGONAL) -> Floats:
    """The matrix in float64.

    Args:
        R: any array.
        tolerance: the largest entry of R'R - I that counts as rounding.

    Raises:
        ValueError: not square, not finite, or not orthogonal.
    """
    R = np.asarray(R, dtype=np.float64)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or len(R) < 2:
        raise ValueError(f"a matrix of shape {R.shape}; wanted a square one of width 2 or more: give a rotation")
    if not np.isfinite(R).all():
        raise ValueError("a matrix with entries that are not finite; wanted finite ones: give a rotation")
    error = np.abs(R.T @ R - np.eye(len(R))).max()
    if error > tolerance:
        raise ValueError(
            f"R'R differs from I by up to {error:.2g}; wanted at most {tolerance:g}: give an orthogonal matrix"
        )
    return R


def angles(R: Floats) -> Floats:
    """The angles of those eigenvalues e^(i theta) of an orthogonal matrix that come in pairs: n in (0, pi), sorted.

    The eigenvalues +1 and -1 that the determinant and an odd width force are left out, one of each.

    Example:
        >>> angles(np.array([[0.0, -1.0], [1.0, 0.0]])) * 2 / np.pi
        array([1.])
    """
    if len(R) > WHOLE_AT_MOST:
        # R and R' have the same eigenvectors, so that those of (R + R')/2 are the cosines, found twenty times faster;
        # angles then have seven digits.
        found = np.sort(np.arccos(np.clip(np.linalg.eigvalsh((R + R.T) / 2), -1, 1)))
    else:
        found = np.sort(np.abs(np.angle(np.linalg.eigvals(R))))
    d, determinant = len(R), _determinant(R)
    plus, minus = _forced(d, determinant)
    # Pairs e^(+-i theta) have the same absolute angle, and so stand next to each other.
    return found[plus : d - minus][::2]


def haar_angles(d: int, determinant: int, n: int, rng: np.random.Generator) -> Floats:
    """Angles, as `angles` gives them, of n Haar draws from the orthogonal matrices of one width and determinant.

    The cosines follow a Jacobi ensemble, which is the spectrum of a random tridiagonal matrix, so that no matrix of
    width d is made: at d = 4096 a draw takes a fraction of a second instead of minutes.

    Args:
        d: the width.
        determinant: 1 or -1.
        n: how many draws.
        rng: the source of randomness.

    Returns:
        (n, number of pairs), sorted.
    """
    plus, minus = _forced(d, determinant)
    pairs = (d - plus - minus) // 2
    # The weight (2 - x)^a (2 + x)^b of x = 2 cos theta: a forced eigenvalue repels the others.
    a, b = plus - 0.5, minus - 0.5
    draws = np.empty((n, pairs))
    for i in range(n):
        draws[i] = np.sort(np.arccos(np.clip(_jacobi(pairs, a, b, rng) / 2, -1, 1)))
    return draws


def _jacobi(n: int, a: float, b: float, rng: np.random.Generator) -> Floats:
    """Eigenvalues x (n,) with density prod |x_i - x_j|^2 prod (2 - x)^a (2 + x)^b on (-2, 2)."""
    k = np.arange(2 * n - 1)
    even = k % 2 == 0
    s = np.where(even, (2 * n - k - 2) / 2 + a + 1, (2 * n - k - 3) / 2 + a + b + 2)
    t = np.where(even, (2 * n - k - 2) / 2 + b + 1, (2 * n - k - 1) / 2)
    # Beta on (-1, 1) with density (1 - x)^(s - 1) (1 + x)^(t - 1).
    alpha = np.concatenate([[-1.0], 1 - 2 * rng.beta(s, t), [-1.0]])
    before, here, after = alpha[0:-1:2], alpha[1::2], alpha[2::2]
    two_before = np.concatenate([[0.0], here[:-1]])
    diagonal = (1 - before) * here - (1 + before) * two_before
    if n == 1:
        return diagonal
    beside = np.sqrt(((1 - before) * (1 - here**2) * (1 + after))[:-1])
    return np.asarray(eigh_tridiagonal(diagonal, beside, eigvals_only=True))


def _forced(d: int, determinant: int) -> tuple[int, int]:
    """How many eigenvalues +1 and -1 every orthogonal matrix of this width and determinant has."""
    if d % 2 == 0:
        return (0, 0) if determinant > 0 else (1, 1)
    return (1, 0) if determinant > 0 else (0, 1)


def _determinant(R: Floats) -> int:
    return 1 if np.linalg.slogdet(R)[0] > 0 else -1
