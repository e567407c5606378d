"""Exact factorizations that the maps share; their cost depends on the smaller side of the states."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.svd import svd

EPS = torch.finfo(torch.float64).eps
# the largest deviation from orthonormality of a basis from a Gram matrix, before Householder QR replaces it
ORTHONORMAL = 1e-12


def resolution(states: Tensor) -> float:
    """The machine epsilon of the precision in which states were given; numerical ranks are judged by it.

    Digits of float32 rows below float32's epsilon are rounding, in whichever precision they are computed with. Rows of
    16 bits count as float32: their rounding is larger, but it is spread over all directions.

    Args:
        states: of any dtype; whole numbers are exact.

    Returns:
        float64's epsilon, or float32's.

    Example:
        >>> resolution(torch.zeros(1)) / resolution(torch.zeros(1).double()) == 2.0**29
        True
    """
    return torch.finfo(torch.float32).eps if states.is_floating_point() and states.dtype != torch.float64 else EPS


def of_products(eps: float, size: int) -> float:
    """The share of the largest below which singular values of products of two sets of rows are rounding.

    Args:
        eps: of the precision in which the rows were given; their products are in float64.
        size: the largest of their dimensions.
    """
    return max(EPS * size, (eps * size) ** 2)


def is_centered(X: Tensor, eps: float = EPS) -> bool:
    """Whether the rows X (n, d) add up to 0, up to the rounding of a precision `eps`.

    Rounding leaves a mean of a few `eps` of the rows, and more if the mean that was subtracted was large. Rows
    that were drawn about zero have one of 1 / n of ||X||_F, and are never taken for centered.
    """
    n = len(X)
    most = min(max(n, 64) * eps, 0.1 / n)
    return n > 1 and bool(torch.linalg.vector_norm(X.mean(dim=0)) <= most * torch.linalg.vector_norm(X))


@dataclass(frozen=True)
class RowBasis:
    """X = L Q with orthonormal rows Q that contain the row space of X.

    Attributes:
        L: (n, r) coordinates of the rows of X.
        Q: (r, d) basis, or None for the identity (r = d).
        solver: "gram" (Cholesky of X X^T), "qr" (Householder) or "direct" (n >= d, Q = I).
    """

    L: Tensor
    Q: Tensor | None
    solver: str

    def coordinates(self, x: Tensor) -> Tensor:
        """Return x Q^T (m, r) for x (m, w); x is padded with zeros, or cut, to width d."""
        if self.Q is None:
            return fit_width(x, self.L.shape[1])
        width = min(x.shape[-1], self.Q.shape[1])
        return x[..., :width] @ self.Q[:, :width].T

    def expand(self, coordinates: Tensor, width: int) -> Tensor:
        """Return coordinates Q (m, width), padded with zeros or cut to `width`."""
        if self.Q is None:
            return fit_width(coordinates, width)
        return fit_width(coordinates @ self.Q[:, :width], width)


def fit_width(x: Tensor, width: int) -> Tensor:
    """Pad the last dimension of x with zeros, or cut it, to `width`."""
    return torch.nn.functional.pad(x, (0, width - x.shape[-1])) if x.shape[-1] != width else x


def row_basis(X: Tensor, eps: float = EPS) -> RowBasis:
    """Find an orthonormal basis that contains the rows of X, without any d x d matrix when n < d.

    The Cholesky factor of the n x n Gram matrix is the fastest way but loses orthogonality with the square of
    the condition number; the loss is measured, and QR is used where it exceeds 1e-12. Centered rows, whose
    Gram matrix is singular by construction, are reflected first so that the null direction is one row to
    leave out.

    Source: for the Gram route, Yamamoto, Nakatsukasa, Yanagisawa, Fukaya (2015), "Roundoff error analysis of
        the
    CholeskyQR2 algorithm", Electronic Transactions on Numerical Analysis 44.

    Args:
        X: (n, d) float64.
        eps: of the precision in which X was given (`resolution`); rows that are centered as far as it goes lose
            what is left of their mean.

    Returns:
        RowBasis; for n >= d it is X itself beside the identity.
    """
    n, d = X.shape
    if n >= d:
        return RowBasis(X, None, "direct")
    return _gram_basis(X, is_centered(X, eps)) or _qr_basis(X)


def thin_svd(X: Tensor, eps: float = EPS) -> tuple[Tensor, Tensor, Tensor, str]:
    """Singular value decomposition of X reduced to its numerical rank r.

    Args:
        X: (n, d) float64.
        eps: of the precision in which X was given (`resolution`); singular values below eps max(n, d) of the largest
            one are rounding.

    Returns:
        U (n, r), s (r,) descending and positive, V (d, r) with X = U diag(s) V^T, and the solver of the row
        basis. r = 0 for a zero matrix.
    """
    basis = row_basis(X, eps)
    U, s, Vh = svd(basis.L)
    rank = int((s > s[0] * eps * max(X.shape)).sum())
    return U[:, :rank], s[:rank], basis.expand(Vh[:rank], X.shape[1]).T, basis.solver


def reflected(X: Tensor) -> Tensor:
    """Apply the Householder reflection that swaps the constant column with the first unit column."""
    n = len(X)
    v = X.new_full((n, 1), n**-0.5)
    v[0] -= 1.0
    return X - v @ ((v.T @ X) * (2.0 / v.square().sum()))


def _gram_basis(X: Tensor, centered: bool) -> RowBasis | None:
    n = len(X)
    rows = reflected(X)[1:] if centered else X
    L, failed = torch.linalg.cholesky_ex(rows @ rows.T)
    if failed:
        return None
    Q = torch.linalg.solve_triangular(L, rows, upper=False)
    if not _is_orthonormal(Q):
        return None
    if centered:
        L = reflected(torch.cat([L.new_zeros(1, n - 1), L]))
    return RowBasis(L, Q.contiguous(), "gram")


def _is_orthonormal(Q: Tensor) -> bool:
    """Estimate ||Q Q^T - I||_F from a few random probes: the mean of ||(Q Q^T - I) v||^2 is its square."""
    probes = torch.randn(len(Q), 8, dtype=Q.dtype, generator=torch.Generator().manual_seed(0)).to(Q.device)
    defect = Q @ (Q.T @ probes) - probes
    # each probe adds rounding of its own of about EPS * sqrt(r)
    return bool(defect.square().sum(dim=0).mean().sqrt() <= max(ORTHONORMAL, 8 * EPS * len(Q)))


def _qr_basis(X: Tensor) -> RowBasis:
    Q, R = torch.linalg.qr(X.T)
    return RowBasis(R.T, Q.T.contiguous(), "qr")
