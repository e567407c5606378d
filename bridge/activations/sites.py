"""The names of sites: places of the residual stream, also inside blocks. Needs no torch."""

import re

from bridge.errors import ConfigError

# The depth of a site in blocks: whole numbers are layers, and a half is in the middle of a block. What the embeddings
# give lies half a block before the first.
EMBED = -0.5


def site_name(depth: float) -> str:
    """The name of the site at a depth.

    Example:
        >>> [site_name(depth) for depth in (EMBED, 0, 0.5, 1, 1.5)]
        ['embed', 'resid_pre_0', 'resid_mid_0', 'resid_post_0', 'resid_mid_1']
    """
    if depth == EMBED:
        return "embed"
    if depth == 0:
        return "resid_pre_0"
    return f"resid_mid_{int(depth)}" if depth % 1 else f"resid_post_{int(depth) - 1}"


def site_depth(site: str, n_blocks: int, model: str) -> float:
    """The depth of a site, in blocks.

    Args:
        site: "embed", or "resid_pre_B", "resid_mid_B" or "resid_post_B" of block B, counted from 0. The state after a
            block is the one before the next, so two names can have one depth.
        n_blocks: blocks of the model.
        model: its name, for the message.

    Raises:
        ConfigError: no such site.

    Example:
        >>> [site_depth(site, 2, "mine") for site in ("embed", "resid_pre_1", "resid_post_0", "resid_mid_1")]
        [-0.5, 1.0, 1.0, 1.5]
    """
    match = re.fullmatch(r"resid_(pre|mid|post)_(\d+)", str(site))
    if site == "embed":
        return EMBED
    if match is None or int(match[2]) >= n_blocks:
        raise ConfigError(
            f"site {site} is not in {model}; wanted embed, or resid_pre_B, resid_mid_B or resid_post_B with B from 0 "
            f"to {n_blocks - 1}: change task.sites"
        )
    return int(match[2]) + {"pre": 0.0, "mid": 0.5, "post": 1.0}[match[1]]
