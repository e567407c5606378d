"""A seeded random generator for each purpose."""

import hashlib

import torch


def seeded(seed: int, purpose: str) -> torch.Generator:
    """A random generator for one purpose, whose draws do not depend on those for other purposes.

    Args:
        seed: the seed of the run.
        purpose: a name such as "shuffled"; the same seed and purpose give the same draws.

    Example:
        >>> a, b = (torch.rand(1, generator=seeded(0, name)).item() for name in ("shuffled", "random"))
        >>> a == b
        False
    """
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
