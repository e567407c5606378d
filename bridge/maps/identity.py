"""The map that does nothing, for models that already share their coordinates."""

from torch import Tensor
from torch.nn.functional import pad

from bridge.maps.base import Map
from bridge.maps.moments import Moments


class IdentityMap(Map):
    """Carry states over as they are: padded with zeros, or cut, where the widths differ.

    R = I on the first min(d_source, d_target) coordinates. Nothing is fitted; as a control it shows what the
    raw coordinates share. `inverse` is the same the other way round.

    Example:
        >>> import torch
        >>> X, Y = torch.ones(3, 2), torch.zeros(3, 4)
        >>> IdentityMap().fit(X, Y).transform(X)[0].tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    has_inverse = True
    streams = True

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        self.rank_ = 0
        self.solver_ = "none"

    def _transform(self, X: Tensor) -> Tensor:
        return pad(X, (0, self.width_target_ - self.width_source_)).clone()

    def _fit_moments(self, moments: Moments) -> None:
        self.rank_ = 0
        self.solver_ = "none"

    def _inverse(self, Y: Tensor) -> Tensor:
        return pad(Y, (0, self.width_source_ - self.width_target_)).clone()

    def _n_parameters(self) -> int:
        return 0

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        return self._transform(X_new).expand(len(permutations), -1, -1)
