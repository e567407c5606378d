"""Fitted maps as torch modules, for training by gradients; they use plain products, so that `torch.vmap` works."""

import torch
from torch import Tensor, nn

from bridge.maps.solvers import fit_width


def parameter(values: Tensor) -> nn.Parameter:
    """Return a float32 copy that gradients can change."""
    return nn.Parameter(values.detach().to(torch.float32, copy=True))


class Dense(nn.Module):
    """x W + b, with b only where the map has an intercept."""

    offset: nn.Parameter | None

    def __init__(self, weight: Tensor, offset: Tensor | None = None) -> None:
        super().__init__()
        self.weight = parameter(weight)
        self.offset = None if offset is None else parameter(offset)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (..., d_source) to (..., d_target)."""
        mapped = rows @ self.weight
        return mapped if self.offset is None else mapped + self.offset


class TwoFactors(nn.Module):
    """scale x A B, plus x itself (padded with zeros or cut) with `skip`; the rank stays that of A and B."""

    def __init__(self, left: Tensor, right: Tensor, scale: float = 1.0, skip: bool = False) -> None:
        super().__init__()
        self.left, self.right = parameter(left), parameter(right)
        self.scale, self.skip = scale, skip

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (..., d_source) to (..., d_target)."""
        update = (rows @ self.left) @ self.right * self.scale
        return fit_width(rows, self.right.shape[-1]) + update if self.skip else update
