"""Maps from source states to target states: fit on rows X and Y, then transform new rows of X."""

from bridge.maps.base import Map
from bridge.maps.identity import IdentityMap
from bridge.maps.linear import Linear, Ridge
from bridge.maps.orthogonal import Orthogonal

__all__ = ["IdentityMap", "Linear", "Map", "Orthogonal", "Ridge"]
