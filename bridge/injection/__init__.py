"""Injections: how a mapped state enters the target."""

from bridge.injection.base import Injection
from bridge.injection.late_layer import LateLayer
from bridge.injection.lm_head import LmHead
from bridge.injection.soft_prefix import SoftPrefix

__all__ = ["Injection", "LateLayer", "LmHead", "SoftPrefix"]
