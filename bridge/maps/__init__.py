"""Maps from source states to target states: fit on rows X and Y, then transform new rows of X."""

from bridge.maps.affine import Affine
from bridge.maps.base import Map
from bridge.maps.identity import IdentityMap
from bridge.maps.linear import Linear
from bridge.maps.moments import Moments, fit_stream
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.ridge import Ridge
from bridge.maps.stored import load_map

__all__ = ["Affine", "IdentityMap", "Linear", "Map", "Moments", "Orthogonal", "Ridge", "fit_stream", "load_map"]
