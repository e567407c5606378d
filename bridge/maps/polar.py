"""The polar factor of a square matrix by other ways than its SVD, where they are faster and as good."""

import torch
from torch import Tensor

# Sides from which the iteration is used, by kind of device. On two cores of a CPU the SVD was faster at every side
# from 64 to 2048 (benchmarks/RESULTS.md), so that a CPU has none.
USED_FROM = {"cuda": 256}
# the largest condition number at which the factor still agrees with that of the SVD to about 1e-9
CONDITION = 1e6
MAX_STEPS = 30
# Sides from which rows that were given in float32 are multiplied and decomposed in float32.
SINGLE_FROM = 256
# Singular values below this many roundings of float32 of the largest one are not known to be there.
CLEAR = 16.0
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
        The factor and "polar"; or None and why there is none: the factor of a matrix that is nearly singular is
        not determined by it well enough, and takes singular vectors.

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
    # the factor is that of any multiple of M, and no norm of this one can overflow
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
    """The polar factor of float32 products from their SVD in float32, made orthonormal in float64.

    Args:
        M: (d, d) float32.

    Returns:
        The factor in float64 and "float32"; or None where a singular value may be nothing but rounding.
    """
    U, s, Vh = torch.linalg.svd(M)
    if not float(s[-1]) > CLEAR * torch.finfo(M.dtype).eps * float(s[0]):
        return None, ""
    return _completed(U @ Vh), "float32"


def _orthonormal(Q: Tensor) -> Tensor:
    return 1.5 * Q - 0.5 * (Q @ (Q.T @ Q))


def _completed(Q: Tensor) -> Tensor:
    """A float32 Q made orthonormal in float64; the small correction itself may be as rough as float32."""
    wide = Q.double()
    excess = wide.T @ wide
    excess.diagonal().sub_(1.0)
    return wide - 0.5 * (Q @ excess.float())


def _scale(Q: Tensor, inverse: Tensor) -> float:
    largest = [float(torch.linalg.matrix_norm(A, ord)) for A in (inverse, Q) for ord in (1, float("inf"))]
    return (largest[0] * largest[1] / (largest[2] * largest[3])) ** 0.25
