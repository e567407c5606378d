"""Maps fitted on batches of rows that are never in memory together."""

from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor

from bridge.maps.base import Map
from bridge.maps.moments import Moments

Fitted = TypeVar("Fitted", bound=Map)


def fit_stream(map_: Fitted, batches: Iterable[tuple[Tensor, Tensor]], center: bool = True) -> Fitted:
    """Fit a map on batches of paired rows, one in memory at a time.

    Args:
        map_: a map whose `streams` is true.
        batches: (b, d_source) source and (b, d_target) target states of the same items.
        center: fit on the rows less their means; subtract `Moments.mean_source` before the transform then, or
            use `Affine`, which keeps both means.

    Returns:
        The map, fitted.

    Raises:
        FitError: as `Moments.update` and `Map.fit_moments`.

    Example:
        >>> import torch
        >>> from bridge.maps import Affine
        >>> X = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
        >>> fitted = fit_stream(Affine(), zip(X.split(2), (3 * X + 1).split(2)))
        >>> fitted.transform(torch.tensor([[10.0]])).round(decimals=9).tolist()
        [[31.0]]
    """
    moments = Moments(center)
    for X, Y in batches:
        moments.update(X, Y)
    map_.fit_moments(moments)
    return map_
