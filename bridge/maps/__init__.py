"""Maps from source states to target states: fit on rows X and Y, then transform new rows of X."""

from bridge.maps.adapter import Adapter
from bridge.maps.affine import Affine
from bridge.maps.base import Map
from bridge.maps.cca import CCA
from bridge.maps.identity import IdentityMap
from bridge.maps.linear import Linear
from bridge.maps.lora import LoRA
from bridge.maps.mlp import MLP
from bridge.maps.moments import Moments, fit_stream
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.pca_orthogonal import PCAOrthogonal
from bridge.maps.reduced_rank import ReducedRank
from bridge.maps.relative import Relative
from bridge.maps.ridge import Ridge
from bridge.maps.semi_orthogonal import SemiOrthogonal
from bridge.maps.stored import load_map

__all__ = [
    "CCA",
    "MLP",
    "Adapter",
    "Affine",
    "IdentityMap",
    "Linear",
    "LoRA",
    "Map",
    "Moments",
    "Orthogonal",
    "PCAOrthogonal",
    "ReducedRank",
    "Relative",
    "Ridge",
    "SemiOrthogonal",
    "fit_stream",
    "load_map",
]
