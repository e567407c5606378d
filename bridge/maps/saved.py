"""A saved map: fitted in an earlier cell, and used without a new fit."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from bridge.errors import FitError
from bridge.maps.adapter import Adapter
from bridge.maps.base import Map
from bridge.maps.stored import Scalar


class Saved(Map):
    """A map that was saved with `Adapter.save`; `fit` checks only the widths of its rows.

    Its normalisations, which belong to the rows that it was fitted on, are in `adapter`. Controls that need a new fit,
    such as the same map on permuted rows, are not available.

    Args:
        path: the folder.

    Raises:
        FitError: no map in the folder, a damaged one, or other widths than it was fitted for (`fit`); a fit on permuted
            rows.

    Example:
        >>> import tempfile, torch
        >>> from bridge.maps import Orthogonal
        >>> from bridge.normalize import Normalize
        >>> X = torch.tensor([[2.0, 1.0], [0.0, 1.0], [1.0, 5.0]])
        >>> side = Normalize(scale="none").fit(X)
        >>> Z = side.transform(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Adapter(side, Orthogonal().fit(Z, Z), side).save(folder)
        ...     torch.allclose(Saved(folder).fit(Z, -Z).transform(Z[:1]), Z[:1].double())
        True
    """

    refits: ClassVar[bool] = False

    def __init__(self, path: str) -> None:
        self.path = path

    @cached_property
    def adapter(self) -> Adapter:
        """The map with the normalisations around it."""
        return Adapter.load(self.path)

    def save(self, folder: str | Path, about: Mapping[str, Scalar] | None = None) -> None:
        """Write the saved map, as `Map.save` does."""
        self.adapter.map.save(folder, about)

    def check_widths(self, d_source: int, d_target: int) -> None:
        """Refuse states of other widths than the map was fitted for.

        Raises:
            FitError: the widths differ, or there is no map in the folder.
        """
        map_ = self.adapter.map
        if (d_source, d_target) != (map_.width_source_, map_.width_target_):
            raise FitError(
                f"the map in {self.path} was fitted for widths {map_.width_source_} -> {map_.width_target_}, got "
                f"{d_source} -> {d_target}; wanted equal widths: give the pair that it was fitted for, or a map to "
                "fit"
            )

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        self.check_widths(X.shape[1], Y.shape[1])
        map_ = self.adapter.map
        self.rank_ = map_.rank_
        self.solver_ = f"kept: {map_.solver_}"

    def _transform(self, X: Tensor) -> Tensor:
        return self.adapter.map.transform(X)

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        raise FitError("a saved map is not fitted again; wanted a map to fit: choose one, such as map=orthogonal")

    def _n_parameters(self) -> int:
        return self.adapter.map.n_parameters_
