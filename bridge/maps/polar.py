"""The polar factor of a square matrix by methods other than the SVD, where they are faster and as accurate."""

import torch
from torch import Tensor

from bridge.maps.normal_equations import factor, gram, least_eigenvalue
from bridge.svd import svd

# Sides from which `polar_factor`, which is of float64, is used, by kind of device. On two cores of a CPU the SVD was
# faster at every side from 64 to 2048 (benchmarks/RESULTS.md). Float32 products on a CPU take `polar_in_single`.
USED_FROM = {"cuda": 256}
# the largest condition number at which the factor still agrees with that of the SVD to about 1e-9
CONDITION = 1e6
MAX_STEPS = 30
# Sides from which float32 rows are multiplied in float32, and from which another way than the SVD is taken.
SINGLE_FROM = 256
# Of the power iteration for the largest singular value.
N_PROBES, N_ITERATIONS = 4, 3
# Power iteration approaches the largest singular value from below; its result is multiplied by this.
SLACK = 1.25
# Share of the largest singular value below which the others are too small for float32.
LEAST_SINGLE = 1e-5
# Halley's steps stop where all singular values are this near to 1.
NEAR = 1e-2
# ||Q^T Q - I||_F / sqrt(d) after the last step in float32, above which it has failed.
MOST_LEFT = 6e-7
# Least squared singular value, as a share of ||M^T M||_F, for which eigenvectors of M^T M are good enough.
LEAST_SQUARE = 1e-10
# Largest cosine between two columns of M V, for which a first-order correction is good enough.
MOST_OBLIQUE = 1e-7
# once the change is this small, the next step, quadratically better, is at the level of rounding
CONVERGED = 1e-6


def worth_iterating(d: int, device: torch.device) -> bool:
    """Whether the iteration is expected to be faster than the SVD of a d x d float64 matrix."""
    return device.type in USED_FROM and d >= USED_FROM[device.type]


def polar_factor(M: Tensor) -> tuple[Tensor | None, str]:
    """The orthogonal matrix nearest to M, U V^T of its singular vectors, from inverses and products alone.

    Q <- (g Q + Q^{-T} / g) / 2 with g = (||Q^{-1}||_1 ||Q^{-1}||_inf / (||Q||_1 ||Q||_inf))^{1/4} converges
    quadratically from Q = M, in under ten steps at any condition number that is accepted; a last step of
    Newton-Schulz, Q (3 I - Q^T Q) / 2, takes rounding out of Q^T Q.

    Source: Higham (1986), "Computing the polar decomposition, with applications", doi:10.1137/0907079.

    Args:
        M: (d, d) float64.

    Returns:
        The factor and "polar"; or None and the reason: the polar factor of a nearly singular matrix needs singular
        vectors.

    Example:
        >>> polar_factor(torch.tensor([[0.0, 2.0], [-3.0, 0.0]], dtype=torch.float64))[0].round(decimals=9) + 0.0
        tensor([[ 0.,  1.],
                [-1.,  0.]], dtype=torch.float64)
        >>> polar_factor(torch.zeros(2, 2, dtype=torch.float64))
        (None, 'X^T Y is singular')
    """
    size = torch.linalg.matrix_norm(M)
    if not size > 0:
        return None, "X^T Y is singular"
    # any positive multiple of M has the same polar factor, and the norms of this one cannot overflow
    Q, change = M / size, float("inf")
    for step in range(MAX_STEPS):
        inverse, failed = torch.linalg.inv_ex(Q)
        if failed:
            return None, "X^T Y is singular"
        # Frobenius norms, 1 for the scaled M, are larger than spectral ones, by a factor up to sqrt(d) each
        if step == 0 and not float(torch.linalg.matrix_norm(inverse)) <= CONDITION * len(M):
            return None, "X^T Y is nearly singular"
        scale = _scale(Q, inverse) if change > 1e-2 else 1.0
        new = (scale * Q + inverse.T / scale) / 2
        change = float(torch.linalg.matrix_norm(new - Q)) / float(torch.linalg.matrix_norm(new))
        Q = new
        if change <= CONVERGED:
            return _orthonormal(Q), "polar"
    return None, f"the polar iteration did not converge in {MAX_STEPS} steps"


def polar_in_single(M: Tensor) -> tuple[Tensor | None, str]:
    """The polar factor of float32 products, orthonormal in float64.

    Three of Halley's steps with dynamic weights, Q <- Q (a I + b Q^T Q) (I + c Q^T Q)^{-1}: the first one, whose
    equations are badly conditioned, in float64, the others in float32. A step of Newton-Schulz in float32 and one in
    float64 follow. It is nearer to the factor in float64 than that of an SVD in float32 is.

    Source: Nakatsukasa, Bai, Gygi (2010), "Optimizing Halley's iteration for computing the matrix polar decomposition",
    doi:10.1137/090774999.

    Args:
        M: (d, d) float32.

    Returns:
        The factor in float64 and "float32"; or None if a singular value may be only rounding.
    """
    size = SLACK * _spectral(M)
    if not 0.0 < size < float("inf"):
        return None, ""
    Q, least = _halley(M.double() / size, LEAST_SINGLE)
    Q = Q.float()
    while 1.0 - least > NEAR:
        Q, least = _halley(Q, least)
    Q = torch.addmm(Q, Q, _excess(Q), alpha=-0.5)
    wide = Q.double()
    excess = _excess(wide).float()
    # a singular value below the assumed least one has not converged to 1 yet
    if not float(torch.linalg.matrix_norm(excess)) <= MOST_LEFT * len(M) ** 0.5:
        return None, ""
    return wide.sub_(Q @ excess.mul_(0.5)), "float32"


def decompose(M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, s, Vh of M whose product U Vh is the polar factor, by eigenvectors of M^T M where M is well conditioned.

    The columns of M V, scaled to length 1, are orthogonal but for some E, which is measured. To first order in E they
    are corrected to U = W (I - E / 2 + O), O skew with O_ij = E_ij (s_j - s_i) / (2 (s_i + s_j)), that makes U^T M V
    symmetric; the remaining error is of the size of E^2. Other matrices, small ones and those on a GPU are decomposed
    by the SVD.

    Args:
        M: (a, b) float64.

    Returns:
        As `torch.linalg.svd` with full_matrices=False.

    Example:
        >>> M = torch.randn(300, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> (U, _, Vh), (P, _, Qh) = decompose(M), torch.linalg.svd(M)
        >>> float((U @ Vh - P @ Qh).abs().max()) < 1e-11
        True
    """
    if not M.is_cuda and M.shape[0] == M.shape[1] >= SINGLE_FROM:
        A = gram(M)
        L = factor(A, 0.0)
        if L is not None and least_eigenvalue(L) > LEAST_SQUARE * float(torch.linalg.matrix_norm(A)):
            V = torch.linalg.eigh(A).eigenvectors.flip(1)
            W = M @ V
            s = torch.linalg.vector_norm(W, dim=0)
            W /= s
            E = _excess(W)
            if float(E.abs().max()) <= MOST_OBLIQUE:
                # E / 2 - O, both of which are small enough to be rounded to float32
                C = E * (s[:, None] / (s[:, None] + s))
                return W - (W.float() @ C.float()), s, V.T
    return svd(M)


def _spectral(M: Tensor) -> float:
    """The largest singular value, from below, by a few steps of power iteration."""
    V = torch.randn(M.shape[1], N_PROBES, dtype=M.dtype, generator=torch.Generator().manual_seed(0)).to(M.device)
    for _ in range(N_ITERATIONS):
        V = M.T @ (M @ (V / torch.linalg.vector_norm(V, dim=0)))
    return float(torch.linalg.vector_norm(V, dim=0).max()) ** 0.5


def _halley(Q: Tensor, least: float) -> tuple[Tensor, float]:
    """One step from singular values in [least, 1], and the least one afterwards."""
    d = (4.0 * (1.0 - least**2) / least**4) ** (1 / 3)
    root = (1.0 + d) ** 0.5
    a = root + 0.5 * (8.0 - 4.0 * d + 8.0 * (2.0 - least**2) / (least**2 * root)) ** 0.5
    b = (a - 1.0) ** 2 / 4.0
    c = a + b - 1.0
    L = factor(gram(Q).mul_(c), 1.0)
    assert L is not None
    solved = torch.cholesky_solve(Q.T, L).T
    return solved.mul_(a - b / c).add_(Q, alpha=b / c), least * (a + b * least**2) / (1.0 + c * least**2)


def _excess(Q: Tensor) -> Tensor:
    """Q^T Q - I."""
    excess = gram(Q)
    excess.diagonal().sub_(1.0)
    return excess


def _orthonormal(Q: Tensor) -> Tensor:
    return 1.5 * Q - 0.5 * (Q @ (Q.T @ Q))


def _scale(Q: Tensor, inverse: Tensor) -> float:
    largest = [float(torch.linalg.matrix_norm(A, ord)) for A in (inverse, Q) for ord in (1, float("inf"))]
    return (largest[0] * largest[1] / (largest[2] * largest[3])) ** 0.25
