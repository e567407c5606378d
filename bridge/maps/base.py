"""What every map does: fit(X, Y), transform(X), and transform_permuted for the shuffled control."""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.normalize import finite_states


class Map(ABC):
    """A map from source states to target states.

    A subclass says in `_fit` how it is fitted and in `_transform` how it is applied; both get checked float64
    states. Constructors only store, so that one instance can be fitted again and again.

    Attributes:
        requires_equal_widths: the map is defined only where both models have the same width.
        rank_: number of source directions that the fit determined.
        solver_: how the fit was computed.
        width_source_, width_target_: widths of the fit rows.
    """

    requires_equal_widths: ClassVar[bool] = False
    rank_: int
    solver_: str
    width_source_: int
    width_target_: int

    def fit(self, X: Tensor, Y: Tensor) -> Self:
        """Fit the map on paired rows.

        Args:
            X: (n, d_source) source states.
            Y: (n, d_target) target states; row i belongs to the same item as row i of X.

        Returns:
            self.

        Raises:
            FitError: rows that do not match, values that are not finite, widths that the map cannot bridge.
        """
        X, Y = self._checked_pair(X, Y)
        self.width_source_, self.width_target_ = X.shape[1], Y.shape[1]
        self._fit(X, Y)
        return self

    def transform(self, X: Tensor) -> Tensor:
        """Map source states into the target's space.

        Args:
            X: (..., d_source) source states.

        Returns:
            (..., d_target) float64.

        Raises:
            FitError: not fitted, values that are not finite, or another width than the fit's.
        """
        if not hasattr(self, "width_source_"):
            raise FitError(f"{type(self).__name__} is not fitted; wanted a fitted map: call fit(X, Y) first")
        X = finite_states(X, "X", min_dims=1)
        self._check_width(X)
        rows = X.reshape(-1, self.width_source_)
        return self._transform(rows).reshape(*X.shape[:-1], self.width_target_)

    def transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        """Fit on X and a permutation of Y's rows, apply to X_new, for each of many permutations.

        Args:
            X: (n, d_source) source states.
            Y: (n, d_target) target states.
            permutations: (p, n) long; each row a permutation of 0..n-1. Draw i is fitted on X and
                Y[permutations[i]].
            X_new: (m, d_source) states to map.

        Returns:
            (p, m, d_target) float64: what a fresh map fitted on each permutation gives for X_new. The map
            itself stays as it was.

        Raises:
            FitError: as `fit`, or rows of `permutations` that are no permutations.
        """
        X, Y = self._checked_pair(X, Y)
        n = len(X)
        in_order = torch.arange(n, device=permutations.device)
        if permutations.ndim != 2 or not torch.equal(
            permutations.sort(dim=1).values, in_order.expand(len(permutations), n)
        ):
            raise FitError(
                f"permutations has shape {tuple(permutations.shape)}; wanted (p, {n}), "
                f"every row a permutation of 0..{n - 1}"
            )
        X_new = finite_states(X_new, "X_new")
        fresh = copy.copy(self)
        fresh.width_source_, fresh.width_target_ = X.shape[1], Y.shape[1]
        fresh._check_width(X_new)
        return fresh._transform_permuted(X, Y, permutations.to(Y.device), X_new)

    @abstractmethod
    def _fit(self, X: Tensor, Y: Tensor) -> None: ...

    @abstractmethod
    def _transform(self, X: Tensor) -> Tensor: ...

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        for draw, permutation in zip(draws, permutations, strict=True):
            self._fit(X, Y[permutation])
            draw.copy_(self._transform(X_new))
        return draws

    def _checked_pair(self, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
        for states, name in ((X, "X"), (Y, "Y")):
            if states.ndim != 2:
                raise FitError(
                    f"{name} has shape {tuple(states.shape)}; wanted (n, d): pass one state a row, one row an item"
                )
        if len(X) != len(Y):
            raise FitError(
                f"X has {len(X)} rows and Y has {len(Y)}; wanted as many: row i of both must be the same item"
            )
        if self.requires_equal_widths and X.shape[1] != Y.shape[1]:
            raise FitError(
                f"{type(self).__name__} needs states of equal width, got {X.shape[1]} (source) and "
                f"{Y.shape[1]} (target); choose one that takes unequal widths, such as map=orthogonal"
            )
        return finite_states(X, "X"), finite_states(Y, "Y")

    def _check_width(self, X: Tensor) -> None:
        if X.shape[-1] != self.width_source_:
            raise FitError(
                f"the states to map have width {X.shape[-1]}; wanted {self.width_source_}, "
                "the width of the fit: pass states of the source model"
            )
