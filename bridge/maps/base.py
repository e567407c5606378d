"""The base class of maps: fit(X, Y), transform(X), and transform_permuted for the shuffled control."""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from bridge.errors import FitError
from bridge.maps import checks
from bridge.maps.moments import Moments
from bridge.maps.registry import names_of
from bridge.maps.solvers import EPS, resolution
from bridge.maps.stored import Scalar, kept, write_map
from bridge.normalize import finite_states


class Map(ABC):
    """A map from source states to target states.

    A subclass says in `_fit` how it is fitted, in `_transform` how it is applied and in `_n_parameters` how many
    free parameters that takes; all get checked float64 states. Constructors only store, so that one instance
    can be fitted again and again, and fitted attributes, which `save` stores, end in "_".

    Attributes:
        requires_equal_widths: the map is defined only where both models have the same width.
        has_inverse: `inverse` is defined.
        can_rotate: the fit finds any rotation between equal widths exactly, given enough rows.
        streams: `fit_moments` is defined.
        trainable: `module` and `absorb` are defined.
        refits: a fit depends on its rows; not so for a saved map.
        rank_: number of source directions that the fit determined.
        solver_: how the fit was computed.
        n_parameters_: number of free parameters of the fitted map.
        width_source_, width_target_: widths of the fit rows.
        about_: the `about` given to `save`, on a map that was loaded.
        training_: steps and losses of gradient descent, on a map that was trained through the target.
    """

    requires_equal_widths: ClassVar[bool] = False
    has_inverse: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    trainable: ClassVar[bool] = False
    refits: ClassVar[bool] = True
    can_rotate: bool = False
    rank_: int
    solver_: str
    n_parameters_: int
    width_source_: int
    width_target_: int
    about_: dict[str, Scalar]
    training_: dict[str, float]
    _groups: Tensor | None = None  # labels of the rows of the current fit
    _eps: tuple[float, float] = (EPS, EPS)  # resolutions of the precisions in which its X and Y were given

    def fit(self, X: Tensor, Y: Tensor, groups: Tensor | None = None) -> Self:
        """Fit the map on paired rows.

        Args:
            X: (n, d_source) source states; their dtype decides which singular values count as rounding.
            Y: (n, d_target) target states; row i belongs to the same item as row i of X.
            groups: (n,) integer label of each row; maps with validation rows (`MLP`, `Ridge` with a selection) hold out
                all rows of a label or none. None: each row has a label of its own.

        Returns:
            self.

        Raises:
            FitError: rows that do not match or are not finite, widths the map cannot bridge, or too few groups.
        """
        X, Y = X.detach(), Y.detach()  # no gradient flows through a fit
        self._check_pair(X, Y)
        self.width_source_, self.width_target_ = X.shape[1], Y.shape[1]
        self._groups = checks.checked_groups(groups, len(X))
        # a fit in float32 checks for non-finite values in its products
        if not (X.dtype == Y.dtype == torch.float32 and self._fit_single(X, Y)):
            checks.check_finite_rows(X, Y)
            self._fit(X.double(), Y.double())
        self._groups = None
        return self._settled()

    def fit_moments(self, moments: Moments) -> Self:
        """Fit the map on the moments of rows that were never in memory together.

        Args:
            moments: sums over the paired rows, about their means unless it was made with center=False.

        Returns:
            self, as if fitted on those rows less their means.

        Raises:
            FitError: a map that needs the rows themselves, or moments that no map can be fitted on.
        """
        if not self.streams:
            raise FitError(
                f"{type(self).__name__} needs the rows themselves; wanted a map that is fitted on sums over rows: "
                f"{names_of('streams')} are"
            )
        moments.check()
        self._check_widths(moments.width_source, moments.width_target)
        self.width_source_, self.width_target_ = moments.width_source, moments.width_target
        self._fit_moments(moments)
        return self._settled()

    def transform(self, X: Tensor) -> Tensor:
        """Map source states into the target's space.

        Args:
            X: (..., d_source) source states.

        Returns:
            (..., d_target) float64.

        Raises:
            FitError: not fitted, values that are not finite, or another width than the fit's.
        """
        self._check_fitted()
        X = finite_states(X, "X", min_dims=1)
        self._check_width(X)
        rows = X.reshape(-1, self.width_source_)
        return self._transform(rows).reshape(*X.shape[:-1], self.width_target_)

    def inverse(self, Y: Tensor) -> Tensor:
        """Map target states back: exactly if the map is invertible, otherwise by the pseudo-inverse.

        Args:
            Y: (..., d_target) target states.

        Returns:
            (..., d_source) float64.

        Raises:
            FitError: a map without an inverse, not fitted, values that are not finite, or another width than
                the fit's.
        """
        if not self.has_inverse:
            having = names_of("has_inverse")
            raise FitError(f"{type(self).__name__} has no inverse; wanted a map that has one: {having} have")
        self._check_fitted()
        Y = finite_states(Y, "Y", min_dims=1)
        self._check_width(Y, "target")
        return self._inverse(Y.reshape(-1, self.width_target_)).reshape(*Y.shape[:-1], self.width_source_)

    def save(self, folder: str | Path, about: Mapping[str, Scalar] | None = None) -> None:
        """Write the fitted map to map.safetensors and map.json in `folder`; `bridge.maps.load_map` reads it.

        Args:
            folder: made if it does not exist; a map in it is replaced.
            about: what the map belongs to, such as its pair and layers; `load_map` can check it.

        Raises:
            FitError: not fitted, or an `about` that JSON cannot hold.
        """
        self._check_fitted()
        # constructors only store, so that each argument is an attribute
        options = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        write_map(Path(folder), type(self).__name__, options, *self._state(), about or {})

    def module(self) -> nn.Module:
        """Return the fitted map as a float32 module that gradients can train.

        Returns:
            forward: (..., d_source) -> (..., d_target). Modules of one class, with the same options and widths,
            have parameters of the same names and shapes.

        Raises:
            FitError: not fitted, or a map that is not trained by gradients.
        """
        if not self.trainable:
            raise FitError(
                f"{type(self).__name__} is not trained by gradients; wanted a map that is: {names_of('trainable')} are"
            )
        self._check_fitted()
        return self._module()

    def absorb(self, module: nn.Module, solver: str = "gradient descent") -> Self:
        """Take over the parameters of a module from `module`, so that `transform` computes the same as it.

        Args:
            module: from `module` of this map or of one with the same options and widths.
            solver: the new value of `solver_`.

        Returns:
            self, with those parameters in float64.
        """
        wanted = self.module()
        shapes = {name: tuple(p.shape) for name, p in wanted.named_parameters()}
        got = {name: tuple(p.shape) for name, p in module.named_parameters()}
        if type(module) is not type(wanted) or got != shapes:
            raise FitError(
                f"{type(self).__name__} got a module with parameters {got}; wanted {shapes}: train that of module()"
            )
        if not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
            raise FitError(
                f"the module to absorb into {type(self).__name__} has parameters that are NaN or infinite; "
                "wanted finite ones: train with a smaller step"
            )
        self._absorb(module)
        self.solver_ = solver
        return self._settled()

    def transform_permuted(
        self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor, groups: Tensor | None = None
    ) -> Tensor:
        """Fit on X and a permutation of Y's rows, apply to X_new, for each of many permutations.

        Args:
            X: (n, d_source) source states.
            Y: (n, d_target) target states.
            permutations: (p, n) long; each row a permutation of 0..n-1. Draw i is fitted on X and
                Y[permutations[i]].
            X_new: (m, d_source) states to map.
            groups: (n,) integer label of each row of X, as in `fit`.

        Returns:
            (p, m, d_target) float64: X_new transformed by a fresh map fitted on each permutation. The map itself is not
            changed.

        Raises:
            FitError: as `fit`, or rows of `permutations` that are no permutations.
        """
        fresh = copy.copy(self)
        fresh._check_pair(X, Y)
        checks.check_finite_rows(X, Y)
        X, Y = X.double(), Y.double()
        permutations = checks.checked_permutations(permutations, len(X)).to(Y.device)
        X_new = finite_states(X_new, "X_new")
        fresh.width_source_, fresh.width_target_ = X.shape[1], Y.shape[1]
        fresh._groups = checks.checked_groups(groups, len(X))
        fresh._check_width(X_new)
        return fresh._transform_permuted(X, Y, permutations, X_new)

    @abstractmethod
    def _fit(self, X: Tensor, Y: Tensor) -> None: ...

    @abstractmethod
    def _transform(self, X: Tensor) -> Tensor: ...

    @abstractmethod
    def _n_parameters(self) -> int: ...

    def _fit_single(self, X: Tensor, Y: Tensor) -> bool:
        """Fit in float32 and return True; or return False where float64 is needed, as for rows that are not finite."""
        return False

    def _fit_moments(self, moments: Moments) -> None:
        raise NotImplementedError

    def _inverse(self, Y: Tensor) -> Tensor:
        raise NotImplementedError

    def _module(self) -> nn.Module:
        raise NotImplementedError

    def _absorb(self, module: nn.Module) -> None:
        raise NotImplementedError

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and JSON values from which `_restore` rebuilds the map."""
        return kept(vars(self))

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        for name, value in {**tensors, **facts}.items():
            setattr(self, name, value)

    def _settled(self) -> Self:
        # contiguous, because the memory layout affects the last bit of a product, and a saved map must give the same
        # bits
        for name, tensor in kept(vars(self))[0].items():
            setattr(self, name, tensor.contiguous())
        self.n_parameters_ = self._n_parameters()
        return self

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        for draw, permutation in zip(draws, permutations, strict=True):
            self._fit(X, Y[permutation])
            draw.copy_(self._transform(X_new))
        return draws

    def _check_pair(self, X: Tensor, Y: Tensor) -> None:
        self._check_widths(X.shape[-1], Y.shape[-1])
        self._eps = resolution(X), resolution(Y)
        checks.check_rows(X, Y)

    def _check_widths(self, d_source: int, d_target: int) -> None:
        if self.requires_equal_widths:
            checks.check_equal_widths(type(self).__name__, d_source, d_target)

    def _check_width(self, states: Tensor, side: str = "source") -> None:
        checks.check_width(states, self.width_source_ if side == "source" else self.width_target_, side)

    def _check_fitted(self) -> None:
        if not hasattr(self, "width_source_"):
            raise FitError(f"{type(self).__name__} is not fitted; wanted a fitted map: call fit(X, Y) first")
