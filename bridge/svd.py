"""Singular value decomposition that does not fail to converge."""

import scipy.linalg
import torch
from torch import Tensor


def svd(M: Tensor, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """As `torch.linalg.svd`, also where its divide and conquer does not converge.

    LAPACK's gesdd fails now and then on matrices of many equal singular values; its slower gesvd does not.

    Args:
        M: (..., n, d), on any device.
        full_matrices: whether U and Vh are square.

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
