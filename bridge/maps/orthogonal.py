"""Orthogonal Procrustes between states of any number of rows and of equal or unequal widths."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.solvers import EPS, RowBasis, fit_width, row_basis

COMPLETIONS = ("nearest", "none")
# bytes of factors that permuted fits keep in memory at once
CHUNK_BYTES = 256 * 2**20


class Orthogonal(Map):
    """The rotation (or reflection) that takes X closest to Y.

    Maximises tr(R^T X^T Y) subject to R^T R = I, which for equal widths minimises ||X R - Y||_F. The narrower
    side is padded with zeros to D = max(d_source, d_target), and R is the (d_source, d_target) corner of the
    D x D solution: R R^T = I for d_source <= d_target, where it is also the least-squares optimum, and R^T R
    = I for d_source > d_target, where it still maximises the trace but is in general *not* the least-squares
    optimum.

    X^T Y determines R only between the k left and k right singular vectors A, B of its k non-zero singular
    values: R = A B^T there. What happens outside is a choice, and an explicit one:

    - completion="none": directions outside the span of A are mapped to 0, R = A B^T.
    - completion="nearest": they are mapped onto the complement of B by the orthogonal map nearest to the
      identity. With the principal vectors a_i, b_i of both spans and their cosines c_i it is x -> x - sum_i
      (b_i . x) (a_i + b_i) / (1 + c_i), so no D x D matrix is formed; it is worked out when `transform` first
      needs it.

    The work is in the span of the rows: with n < D it needs two n x d bases and one n x n decomposition.

    Source: Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem",
    doi:10.1007/BF02289451. The completion is the direct rotation of Davis and Kahan (1970), "The rotation of
    eigenvectors by a perturbation III", doi:10.1137/0707001.

    Args:
        completion: "nearest" or "none".

    Attributes:
        rank_: k, the number of directions that the fit determined.
        solver_: "gram", "qr" or "direct", joined by "/" where source and target differ (see `RowBasis`).

    Raises:
        FitError: states that cannot be fitted on (`fit`), or X^T Y = 0.

    Example:
        >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
        >>> quarter_turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        >>> Orthogonal().fit(X, X @ quarter_turn).matrix().round(decimals=9) + 0.0
        tensor([[ 0.,  1.],
                [-1.,  0.]], dtype=torch.float64)
    """

    has_inverse = True
    can_rotate = True

    def __init__(self, completion: Literal["nearest", "none"] = "nearest") -> None:
        self.completion = completion

    def matrix(self) -> Tensor:
        """Return R (d_source, d_target) with transform(X) = X @ R; large for wide models."""
        self._check_fitted()
        device = self._rotation.core.device
        return self.transform(torch.eye(self.width_source_, dtype=torch.float64, device=device))

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        spans = self._spans(X, Y)
        U, s, Vh = torch.linalg.svd(spans.source.L.T @ spans.target.L, full_matrices=False)
        self.rank_ = spans.rank(s)
        self.solver_ = spans.solver
        self._rotation = _Rotation(spans, U[:, : self.rank_], Vh[: self.rank_].T, self.completion)

    def _transform(self, X: Tensor) -> Tensor:
        return self._rotation.apply(_Located(self._rotation.spans, X))

    def _inverse(self, Y: Tensor) -> Tensor:
        back = self._rotation.reversed()
        return back.apply(_Located(back.spans, Y))

    def _n_parameters(self) -> int:
        narrow, wide = sorted((self.width_source_, self.width_target_))
        return narrow * wide - narrow * (narrow + 1) // 2

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super()._state()
        return tensors | self._rotation.state(), facts

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        own = {name: tensors[name] for name in tensors if not name.startswith("rotation.")}
        super()._restore(own, facts)
        self._rotation = _Rotation.restored(tensors, self.width_source_, self.width_target_)

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        spans = self._spans(X, Y)
        source, target = spans.source.L, spans.target.L
        states = _Located(spans, X_new)
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        factor_bytes = 8 * (len(X) + 3 * source.shape[1]) * max(source.shape[1], target.shape[1])
        n_at_once = max(1, CHUNK_BYTES // factor_bytes)
        for draw, chunk in zip(draws.split(n_at_once), permutations.split(n_at_once), strict=True):
            U, s, Vh = torch.linalg.svd(source.T @ target[chunk], full_matrices=False)
            for i in range(len(chunk)):
                rank = spans.rank(s[i])
                draw[i] = _Rotation(spans, U[i, :, :rank], Vh[i, :rank].T, self.completion).apply(states)
        return draws

    def _spans(self, X: Tensor, Y: Tensor) -> "_Spans":
        if self.completion not in COMPLETIONS:
            raise FitError(f"completion is {self.completion!r}; wanted one of {', '.join(COMPLETIONS)}")
        return _Spans.of_rows(X, Y)


@dataclass
class _Spans:
    """Bases of the rows of X and of Y; they are the same for every order of Y's rows."""

    source: RowBasis
    target: RowBasis
    width_source: int
    width_target: int
    product_scale: float = 0.0
    relative_tolerance: float = 0.0

    @classmethod
    def of_rows(cls, X: Tensor, Y: Tensor) -> "_Spans":
        """Find the bases, and how large rounding in X^T Y can be."""
        ranks = min(X.shape) * min(Y.shape)
        # rounding in X^T Y grows with the sizes of X and Y, however small their product is
        scale = float(torch.linalg.vector_norm(X) * torch.linalg.vector_norm(Y)) / ranks**0.5
        tolerance = EPS * max(*X.shape, *Y.shape)
        return cls(row_basis(X), row_basis(Y), X.shape[1], Y.shape[1], scale, tolerance)

    def reversed(self) -> "_Spans":
        """Source and target exchanged."""
        return _Spans(self.target, self.source, self.width_target, self.width_source)

    @property
    def solver(self) -> str:
        """The solver of both bases, named once where it is the same."""
        return "/".join(dict.fromkeys([self.source.solver, self.target.solver]))

    @cached_property
    def overlap(self) -> Tensor:
        """Inner products of the source basis with the target basis, both padded with zeros."""
        if self.source.Q is None:
            identity = torch.eye(self.width_source, dtype=torch.float64, device=self.source.L.device)
            return self.target.coordinates(identity)
        return self.target.coordinates(self.source.Q)

    def rank(self, s: Tensor) -> int:
        rank = int((s > self.relative_tolerance * max(float(s[0]), self.product_scale)).sum())
        if rank == 0:
            raise FitError(
                "X^T Y is zero, so that no rotation is better than another; wanted rows that vary together: "
                "fit on more items, or center rows that are not all the same"
            )
        return rank


class _Located:
    """States to be mapped, in coordinates of both bases."""

    def __init__(self, spans: _Spans, X: Tensor) -> None:
        self.spans, self.X = spans, X
        self.in_source = spans.source.coordinates(X)

    @cached_property
    def in_target(self) -> Tensor:
        return self.spans.target.coordinates(self.X)

    @cached_property
    def padded(self) -> Tensor:
        return fit_width(self.X, self.spans.width_target)


class _Rotation:
    """R in coordinates of the two bases: core (r_source, r_target) on the span, and how it is completed outside.

    `core` is U V^T with U (r_source, k) and V (r_target, k); `principal`, the principal vectors a = U P and
    b = V Q of the two spans and the cosines between them, is worked out when it is first needed.
    """

    def __init__(self, spans: "_Spans", U: Tensor, V: Tensor, completion: str) -> None:
        self.spans, self.core = spans, (U @ V.T).contiguous()
        # with k = min(d_source, d_target) the complement is empty, or what it is mapped to is padding
        self.completed = completion == "nearest" and U.shape[1] < min(spans.width_source, spans.width_target)
        self._found: tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor] = (U, V)

    @property
    def principal(self) -> tuple[Tensor, Tensor, Tensor]:
        """a (r_source, k), b (r_target, k) and the cosines (k,)."""
        if len(self._found) == 2:
            U, V = self._found
            P, cosines, Qh = torch.linalg.svd(U.T @ self.spans.overlap @ V)
            self._found = ((U @ P).contiguous(), (V @ Qh.T).contiguous(), cosines)
        return self._found

    def reversed(self) -> "_Rotation":
        """R^T, from target to source."""
        back = copy.copy(self)
        back.spans, back.core = self.spans.reversed(), self.core.T
        if self.completed:
            a, b, cosines = self.principal
            back._found = (b, a, cosines)
        return back

    def state(self) -> dict[str, Tensor]:
        """All that `apply` needs, by name."""
        tensors = {"core": self.core, "Q_source": self.spans.source.Q, "Q_target": self.spans.target.Q}
        if self.completed:
            tensors |= dict(zip(("a", "b", "cosines"), self.principal, strict=True))
        return {f"rotation.{name}": tensor for name, tensor in tensors.items() if tensor is not None}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], width_source: int, width_target: int) -> "_Rotation":
        """Make a rotation again from its `state`."""
        new = cls.__new__(cls)
        new.core = tensors["rotation.core"]
        # no rows are needed to map others
        source, target = (
            RowBasis(new.core.new_zeros(0, width), tensors.get(f"rotation.Q_{side}"), "restored")
            for side, width in (("source", width_source), ("target", width_target))
        )
        new.spans = _Spans(source, target, width_source, width_target)
        new.completed = "rotation.a" in tensors
        if new.completed:
            new._found = (tensors["rotation.a"], tensors["rotation.b"], tensors["rotation.cosines"])
        return new

    def apply(self, states: _Located) -> Tensor:
        width = self.spans.width_target
        arrive = states.in_source @ self.core
        if not self.completed:
            return self.spans.target.expand(arrive, width)
        a, b, cosines = self.principal
        along_a = states.in_source @ a
        # b . x_perp / (1 + c), with x_perp = x - sum_i (a_i . x) a_i
        turned = (states.in_target @ b - along_a * cosines) / (1.0 + cosines)
        leave = (along_a + turned) @ a.T
        mapped = states.padded - self.spans.source.expand(leave, width)
        return mapped.add_(self.spans.target.expand(arrive - turned @ b.T, width))
