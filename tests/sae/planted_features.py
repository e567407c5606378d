"""States of a known dictionary that an SAE of a few hundred steps finds, and short specs."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from bridge.sae.spec import SAESpec
from bridge.sae.synthetic import Superposed, superposed

D, N_TRUE = 24, 32


@cache
def planted(seed: int = 0, n: int = 3000) -> Superposed:
    """Raw states are far from 0 and not of norm sqrt(d), as a model's are."""
    made = superposed(n, D, N_TRUE, 2.0, torch.Generator().manual_seed(seed))
    return made._replace(X=5.0 * made.X + 3.0)


def rotation(seed: int = 7) -> Tensor:
    return torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(seed)))[0]


def spec(**changes: Any) -> SAESpec:
    return SAESpec(**{"k": 3, "expansion": 4, "n_steps": 400, "batch_size": 128, "learning_rate": 3e-3} | changes)
