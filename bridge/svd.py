"""Singular value decomposition with a second algorithm for where the first does not converge."""

import scipy.linalg
import torch
from torch import Tensor


def svd(M: Tensor, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition, as `torch.linalg.svd`.

    LAPACK's divide and conquer (gesdd), which torch uses, sometimes fails to converge on matrices with many equal
    singular values. Then the slower gesvd is used.

    Args:
        M: (..., n, d), on any device.
        full_matrices: whether U and Vh are square.

    Returns:
        U (..., n, r), s (..., r) in descending order and Vh (..., r, d), with r = min(n, d) unless `full_matrices`.

    Raises:
        LinAlgError: M is not finite.
    """
    try:
        return tuple(torch.linalg.svd(M, full_matrices=full_matrices))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        if not bool(M.isfinite().all()):
            raise
    if M.ndim > 2:
        parts = [svd(one, full_matrices) for one in M]
        return tuple(torch.stack(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]
    U_s_Vh = scipy.linalg.svd(M.cpu().numpy(), full_matrices=full_matrices, lapack_driver="gesvd")
    return tuple(torch.from_numpy(part).to(M) for part in U_s_Vh)  # type: ignore[return-value]
