"""Least squares by one Cholesky factorization, for well-conditioned rows and fits without singular values."""

import torch
from torch import Tensor

from bridge.maps.solvers import EPS, is_centered, of_products, reflected

# Block size of the Cholesky factorization on a CPU.
FACTOR_BLOCK = 128
# A symmetric product is computed in four columns of blocks, whose side is a multiple of this.
PRODUCT_BLOCK, N_BLOCKS = 64, 4
# Least squared singular value, as a share of ||X^T X||_F, for which normal equations keep ten digits in float64.
LEAST = 1e-6
# The same for float32, where the error is at most three times that of a QR factorization.
LEAST_SINGLE = 3e-4
# Least penalty, as a share of ||X^T X||_F, for which normal equations keep eight digits.
LEAST_PENALTY = 1e-8
# Matrix side from which float32 is used, as it is faster.
SINGLE_FROM = 256
# Largest condition number for which float32 is used with a penalty.
SINGLE_CONDITION = 1e3
# Relative residual of the normal equations that a solution in float32 must not exceed.
SINGLE_RESIDUAL = 1e-4
N_PROBES, N_ITERATIONS = 4, 3


def solve(X: Tensor, Y: Tensor, relative: float, eps: float = EPS) -> tuple[Tensor | None, Tensor, int, str] | None:
    """Minimise ||X W - Y||_F^2 + a ||W||_F^2, W of least norm, with a = `relative` ||X||_F^2 / min(n, d).

    X^T X + a I = L L^T for n > d, and (X X^T + a I) in its place for n <= d, where W = X^T (X X^T + a I)^{-1} Y. Half
    of each symmetric product is computed. Float32 rows are multiplied and solved in float32, where rows or a penalty
    keep the condition small; the residual of the equations that were solved is then measured.

    Args:
        X: (n, d) float64 or float32.
        Y: (n, d_target) of the same dtype.
        relative: at least 0.
        eps: of the precision in which X was given (`bridge.maps.solvers.resolution`).

    Returns:
        Factors (d, r) or None, and (r, d_target), float64, with W = left right; the rank of X; and "cholesky". None if
        X may be rank-deficient or is badly conditioned: then float64, or singular values, are needed.
    """
    n, d = X.shape
    wide, single = n <= d, X.dtype == torch.float32
    if wide and is_centered(X, eps):
        # the constant direction of centered rows is only rounding, and becomes one row to leave out
        X, Y = reflected(X)[1:], reflected(Y)[1:]
    A = gram(X.T if wide else X)
    size = float(torch.linalg.matrix_norm(A)) if len(A) else 0.0
    penalty = relative * float(A.diagonal().sum()) / min(n, d)
    if not size > 0 or (single and penalty and size + penalty > SINGLE_CONDITION * penalty):
        return None
    rank, L = len(A), factor(A, penalty)
    if L is None:
        return None
    # with a penalty L says little about the least eigenvalue of A itself, so A is factored without it
    least = (LEAST_SINGLE if single and not penalty else LEAST) * size
    if not (factor(A, -least) is not None if penalty else least_eigenvalue(L) > least):
        if single or penalty < LEAST_PENALTY * size:
            return None
        squares = torch.linalg.eigvalsh(A)
        rank = int((squares > squares[-1] * of_products(eps, max(n, d))).sum())
    # the solver expects column-major order
    B = Y if wide else (Y.T @ X).T
    C = torch.cholesky_solve(B, L)
    if single and not _residual(A, B, C, penalty) <= SINGLE_RESIDUAL:
        return None
    return (X.T.contiguous().double() if wide else None), C.contiguous().double(), rank, "cholesky"


def least_eigenvalue(L: Tensor) -> float:
    """The least eigenvalue of L L^T, from above and within a small factor, by inverse iteration."""
    V = torch.randn(len(L), N_PROBES, dtype=L.dtype, generator=torch.Generator().manual_seed(0)).to(L.device)
    for _ in range(N_ITERATIONS):
        V = torch.cholesky_solve(V / torch.linalg.vector_norm(V, dim=0), L)
    return 1.0 / float(torch.linalg.vector_norm(V, dim=0).max())


def gram(X: Tensor) -> Tensor:
    """X^T X (d, d), of which the blocks above the diagonal are computed and the others copied."""
    X, d = X.detach(), X.shape[1]
    # a multiple of the least side, because products of odd sizes are slow
    step = PRODUCT_BLOCK * -(-d // (N_BLOCKS * PRODUCT_BLOCK))
    if X.is_cuda or d <= 2 * PRODUCT_BLOCK:
        return X.T @ X
    A = X.new_empty(d, d)
    for a in range(0, d, step):
        b = min(a + step, d)
        torch.mm(X[:, a:b].T, X[:, a:], out=A[a:b, a:])
        A[b:, a:b] = A[a:b, b:].T
    return A


def factor(A: Tensor, shift: float) -> Tensor | None:
    """The lower L (d, d) with L L^T = A + shift I, or None where that is not positive definite.

    Source: the left-looking blocked algorithm, Golub and Van Loan (2013), "Matrix computations", section 4.2.9.
    """
    d, step = len(A), len(A) if A.is_cuda else FACTOR_BLOCK
    L = torch.zeros_like(A)
    for a in range(0, d, step):
        b = min(a + step, d)
        own = A[a:b, a:b] - L[a:b, :a] @ L[a:b, :a].T
        own.diagonal().add_(shift)
        corner, failed = torch.linalg.cholesky_ex(own)
        if failed:
            return None
        L[a:b, a:b] = corner
        if b < d:
            below = A[a:b, b:] - L[a:b, :a] @ L[b:, :a].T
            L[b:, a:b] = torch.linalg.solve_triangular(corner, below, upper=False).T
    return L


def _residual(A: Tensor, B: Tensor, C: Tensor, penalty: float) -> float:
    """How far A C + penalty C is from B for a few sums of columns, relative to B."""
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(B.shape[1], N_PROBES, dtype=B.dtype, generator=generator).to(B.device)
    c, b = C @ probes, B @ probes
    return float((A @ c + penalty * c - b).norm() / b.norm().clamp_min(torch.finfo(b.dtype).tiny))
