"""States of known similarity, by construction."""

import torch
from torch import Tensor


def draw(n: int, d: int, seed: int = 0) -> Tensor:
    """Gaussian states with a spectrum that falls, as those of models do."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * torch.linspace(
        2.0, 0.3, d, dtype=torch.float64
    )


def rotation(d: int, seed: int = 1) -> Tensor:
    """A Haar rotation or reflection."""
    generator = torch.Generator().manual_seed(seed)
    Q, R = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    return Q * R.diagonal().sign()
