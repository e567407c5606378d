"""Many p values corrected together."""

import torch
from torch import Tensor

from bridge.errors import FitError


def holm(p: Tensor) -> Tensor:
    """Holm's correction: reject where the result is at most alpha, and no true hypothesis of the family is rejected
    with probability above alpha, however the p values depend on each other.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", jstor 4615733.

    Args:
        p: (m,) p values of one family.

    Returns:
        (m,) float64 adjusted p values in the order of `p`, each at least `p` and at most 1.

    Raises:
        FitError: values outside [0, 1].

    Example:
        >>> holm(torch.tensor([0.01, 0.04, 0.03], dtype=torch.float64)).tolist()
        [0.03, 0.06, 0.06]
    """
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise FitError(f"p values have shape {tuple(p.shape)} or lie outside 0 to 1; wanted (m,) p values")
    if not len(p):
        return p.to(torch.float64)
    ordered, order = p.to(torch.float64).sort(stable=True)
    factors = torch.arange(len(p), 0, -1, dtype=torch.float64, device=p.device)
    adjusted = (ordered * factors).cummax(dim=0).values.clamp(max=1.0)
    return torch.empty_like(adjusted).scatter_(0, order, adjusted)
