"""Injections: how a mapped state enters the target.

Together with a map, an injection stitches two models: the first layers of one, the map, the last layers of the other.

Source: Bansal, Nakkiran and Barak (2021), "Revisiting model stitching to compare neural representations", NeurIPS,
arXiv:2106.07682.
"""

from bridge.injection.base import Injection
from bridge.injection.late_layer import LateLayer
from bridge.injection.lm_head import LmHead
from bridge.injection.soft_prefix import SoftPrefix

__all__ = ["Injection", "LateLayer", "LmHead", "SoftPrefix"]
