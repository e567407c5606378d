"""Linear CKA of every layer against every layer, in blocks, so that no kernel is held in memory."""

from collections.abc import Sequence

import torch
from scipy.linalg.blas import get_blas_funcs
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.scorer import check_rows
from bridge.similarity.states import LayerStates, layer_states

# Bytes of the kernels of all layers that are in memory at once, and columns of each.
BLOCK_BYTES = 2**26
LEAST_BLOCK, MOST_BLOCK = 64, 128
# Share of ||X X^T||_F^2 that the unbiased estimator of HSIC(K, K) must keep, by the precision of the products.
LEAST_KEPT = {torch.float32: 0.05, torch.float64: 1e-6}


def cka_matrix(source: Sequence[Tensor], target: Sequence[Tensor], debiased: bool = False) -> Tensor:
    """Linear CKA of every layer of a source with every layer of a target; `bridge.similarity.linear_cka` for the rest.

    ||X^T Y||_F^2 is the inner product of the kernels X X^T and Y Y^T. Of these only blocks on and above the diagonal
    are computed, each once for all layers; where that is less work, products of features take their place. Layers that
    were given in float32 are multiplied in float32, which costs about 1e-6.

    Args:
        source: S layers (n, d), of any widths.
        target: T layers (n, d), row i of each from the same item.
        debiased: use the unbiased estimator of Song et al. (2012).

    Returns:
        (S, T) float64.

    Raises:
        FitError: no layers; fewer than four rows, unequal numbers of rows, rows that are all the same, or not finite.

    Example:
        >>> X = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
        >>> cka_matrix([X, X[:, :2]], [3 * X + 1]).round(decimals=6)[0]
        tensor([1.], dtype=torch.float64)
    """
    if not source or not target:
        raise FitError(f"got {len(source)} and {len(target)} layers; wanted at least one of each: give more layers")
    return alignments(layer_states(list(source), "X"), layer_states(list(target), "Y"), debiased)


def alignments(source: Sequence[LayerStates], target: Sequence[LayerStates], debiased: bool) -> Tensor:
    """`cka_matrix` of `LayerStates`."""
    n = check_rows([*source, *target])
    sides = [[layer.rows for layer in side] for side in (source, target)]
    if len({rows.dtype for side in sides for rows in side}) > 1:
        sides = [[rows.double() for rows in side] for side in sides]
    pairs, own = (_by_features if _features_are_less(sides, n) else _by_kernels)(sides, n)
    if not debiased:
        return pairs / (own[0][:, None] * own[1]).sqrt()
    # Squared lengths of the centered rows are the diagonals of the kernels.
    k = [torch.stack([rows.double().square().sum(1) for rows in side], 1) for side in sides]
    products = unbiased(pairs, k[0].T @ k[1], k[0].sum(0)[:, None] * k[1].sum(0), n)
    norms = [unbiased(each, d.square().sum(0), d.sum(0).square(), n) for each, d in zip(own, k, strict=True)]
    cka = products / (norms[0][:, None] * norms[1]).sqrt()
    # Where a few rows hold most of a kernel's trace, the subtraction may leave only rounding.
    kept = [each > LEAST_KEPT[side[0].dtype] * whole for each, whole, side in zip(norms, own, sides, strict=True)]
    for i, j in (~(kept[0][:, None] & kept[1])).nonzero().tolist():
        cka[i, j] = _without_diagonals(source[i], target[j])
    return cka


def _without_diagonals(source: LayerStates, target: LayerStates) -> Tensor:
    """Debiased CKA of one pair in float64, from off-diagonal entries alone, so that no diagonal is subtracted."""
    K, L = source.centered @ source.centered.T, target.centered @ target.centered.T

    def hsic(A: Tensor, B: Tensor) -> Tensor:
        a, b, n = A.diagonal(), B.diagonal(), len(A)
        around = a.sum() * b.sum() / ((n - 1.0) * (n - 2.0)) - 2.0 * (a @ b) / (n - 2.0)
        return 2.0 * (A.triu(1) * B.triu(1)).sum() + around

    return hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt()


def unbiased(products: Tensor, on: Tensor, traces: Tensor, n: int) -> Tensor:
    """n (n-3) HSIC_1 of doubly centered kernels K and L from tr(K L), the sum of K_ii L_ii, and tr(K) tr(L).

    Centering does not change the unbiased estimator (adding a_i + a_j to every K_ij off the diagonal does not), and
    each row of a centered K sums, without its diagonal entry, to minus that entry.
    """
    return products - on + traces / ((n - 1.0) * (n - 2.0)) - 2.0 * on / (n - 2.0)


def _features_are_less(sides: list[list[Tensor]], n: int) -> bool:
    widths = [[rows.shape[1] for rows in side] for side in sides]
    every = [w for side in widths for w in side]
    features = sum(2 * a * b for a in widths[0] for b in widths[1]) * n + sum(min(n, w) * w for w in every) * n
    # blocks on the diagonal are computed whole
    kernels = (1.0 + MOST_BLOCK / n) * sum(every) * n * n + len(widths[0]) * len(widths[1]) * n * n
    return features <= kernels


def _by_features(sides: list[list[Tensor]], n: int) -> tuple[Tensor, list[Tensor]]:
    """||X^T Y||_F^2 of every pair, and ||X^T X||_F^2 of every layer."""
    pairs = torch.stack([torch.stack([_square((X.T @ Y).view(-1)) for Y in sides[1]]) for X in sides[0]])
    own = [torch.stack([_own(X.T if X.shape[1] <= n else X) for X in side]) for side in sides]
    return pairs, own


def _by_kernels(sides: list[list[Tensor]], n: int) -> tuple[Tensor, list[Tensor]]:
    """The same from blocks of columns of X X^T; entries below the diagonal count twice."""
    first = sides[0][0]
    if len(sides[0]) == len(sides[1]) == 1 and not first.is_cuda:
        K, L = (_triangle(side[0]) for side in sides)
        return _of_triangles(K, L).view(1, 1), [_of_triangles(A, A).view(1) for A in (K, L)]
    n_layers = len(sides[0]) + len(sides[1])
    step = min(MOST_BLOCK, max(LEAST_BLOCK, BLOCK_BYTES // (n_layers * n * first.element_size())))
    pairs = first.new_zeros(len(sides[0]), len(sides[1]), dtype=torch.float64)
    own = [pairs.new_zeros(len(side)) for side in sides]
    for a in range(0, n, step):
        b = min(a + step, n)
        blocks = []
        for side, norms in zip(sides, own, strict=True):
            block = first.new_empty(len(side), n - a, b - a)
            for out, rows in zip(block, side, strict=True):
                torch.mm(rows[a:], rows[a:b].T, out=out)
            flat, corner = block.flatten(1), block[:, : b - a].flatten(1)
            norms += 2.0 * _squares(flat) - _squares(corner)
            blocks.append((flat, corner))
        pairs += 2.0 * _inner(blocks[0][0], blocks[1][0]) - _inner(blocks[0][1], blocks[1][1])
    return pairs, own


def _triangle(X: Tensor) -> Tensor:
    """One triangle of X X^T of an X on the CPU, with zeros in the other: half the work of a product."""
    rows = X.detach().numpy()
    columns = rows.flags.f_contiguous
    syrk = get_blas_funcs("syrk", (rows,))
    return torch.from_numpy(syrk(1.0, rows if columns else rows.T, trans=not columns).T)


def _of_triangles(A: Tensor, B: Tensor) -> Tensor:
    """The sum of all products of two symmetric matrices, from one triangle of each."""
    return (2.0 * A.view(-1).dot(B.view(-1)) - A.diagonal().dot(B.diagonal())).double()


def _own(X: Tensor) -> Tensor:
    """||X X^T||_F^2."""
    if not X.is_cuda:
        triangle = _triangle(X)
        return _of_triangles(triangle, triangle)
    total = X.new_zeros((), dtype=torch.float64)
    for a in range(0, len(X), MOST_BLOCK):
        block = X[a:] @ X[a : a + MOST_BLOCK].T
        flat = block.view(-1)
        total += 2.0 * _square(flat) - _square(flat[: block.shape[1] ** 2])
    return total


def _inner(A: Tensor, B: Tensor) -> Tensor:
    """A B^T of flat blocks (S, k) and (T, k); as a dot product where both have one row, which is faster."""
    return (A[0].dot(B[0]) if len(A) == len(B) == 1 else A @ B.T).double()


def _squares(flat: Tensor) -> Tensor:
    return torch.linalg.vector_norm(flat, dim=1).double().square()


def _square(flat: Tensor) -> Tensor:
    return flat.dot(flat).double()
