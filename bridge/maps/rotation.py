"""A rotation kept in coordinates of the spans of the fit rows, so that no D x D matrix is formed for n < D."""

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.moments import Moments
from bridge.maps.normal_equations import gram
from bridge.maps.polar import CONDITION
from bridge.maps.solvers import EPS, RowBasis, fit_width, of_products, row_basis
from bridge.svd import svd


@dataclass
class Spans:
    """Bases of the rows of X and of Y; they are the same for every order of Y's rows.

    Attributes:
        source: basis of the rows of X; `target` of those of Y.
        width_source: d of X; `width_target` of Y.
        product_scale: the size of a singular value of X^T Y for unrelated rows.
        relative_tolerance: the share of it, or of the largest singular value, that may be rounding.
        eps: the precisions in which X and Y were given.
        n: number of rows.
        products: X^T X and Y^T Y, if the rows themselves are not available.
    """

    source: RowBasis
    target: RowBasis
    width_source: int
    width_target: int
    product_scale: float = 0.0
    relative_tolerance: float = 0.0
    eps: tuple[float, float] = (EPS, EPS)
    n: int = 0
    products: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of_rows(cls, X: Tensor, Y: Tensor, eps: tuple[float, float] = (EPS, EPS)) -> "Spans":
        """Find the bases, and how large rounding in X^T Y can be for rows given in precisions `eps`."""
        ranks = min(X.shape) * min(Y.shape)
        # rounding in X^T Y grows with the sizes of X and Y, however small their product is
        scale = float(torch.linalg.vector_norm(X) * torch.linalg.vector_norm(Y)) / ranks**0.5
        tolerance = of_products(max(eps), max(*X.shape, *Y.shape))
        bases = row_basis(X, eps[0]), row_basis(Y, eps[1])
        return cls(*bases, X.shape[1], Y.shape[1], scale, tolerance, eps, len(X))

    @classmethod
    def of_widths(cls, d_source: int, d_target: int, like: Tensor) -> "Spans":
        """Both bases are the identity: the rows themselves are not needed."""
        source, target = (RowBasis(like.new_zeros(0, width), None, "direct") for width in (d_source, d_target))
        return cls(source, target, d_source, d_target)

    @classmethod
    def of_moments(cls, moments: Moments) -> "Spans":
        """Use the identity as both bases: moments do not tell the span of the rows."""
        widths = (moments.width_source, moments.width_target)
        source, target = (RowBasis(moments.cross.new_zeros(0, width), None, "moments") for width in widths)
        traces = float(moments.gram_source.trace() * moments.gram_target.trace()) ** 0.5
        ranks = min(moments.n, widths[0]) * min(moments.n, widths[1])
        eps = moments.eps_source, moments.eps_target
        tolerance = of_products(max(eps), max(moments.n, *widths))
        products = moments.gram_source, moments.gram_target
        return cls(source, target, *widths, traces / ranks**0.5, tolerance, eps, moments.n, products)

    def floor(self, largest: float) -> float:
        """The singular value of X^T Y below which there is only rounding."""
        return self.relative_tolerance * max(largest, self.product_scale)

    def is_clear(self, M: Tensor) -> bool:
        """Whether all singular values of X^T Y exceed rounding, at the largest condition number that is accepted."""
        size = float(torch.linalg.matrix_norm(M))
        return size > CONDITION * len(M) * self.floor(size)

    def reversed(self) -> "Spans":
        """Source and target exchanged."""
        return Spans(self.target, self.source, self.width_target, self.width_source)

    @property
    def solver(self) -> str:
        """The solvers of both bases, named once if they are the same."""
        return "/".join(dict.fromkeys([self.source.solver, self.target.solver]))

    @cached_property
    def overlap(self) -> Tensor:
        """Inner products of the source basis with the target basis, both padded with zeros."""
        if self.source.Q is None:
            identity = torch.eye(self.width_source, dtype=torch.float64, device=self.source.L.device)
            return self.target.coordinates(identity)
        return self.target.coordinates(self.source.Q)

    @cached_property
    def n_held(self) -> int:
        """The smaller number of directions that either side's rows hold by more than rounding."""
        products = self.products or tuple(
            gram(side.L.T if len(side.L) < side.L.shape[1] else side.L) for side in (self.source, self.target)
        )
        held = []
        for A, eps, width in zip(products, self.eps, (self.width_source, self.width_target), strict=True):
            squares = torch.linalg.eigvalsh(A)
            held.append(int((squares > squares[-1] * of_products(eps, max(self.n, width))).sum()))
        return min(held)

    def rank(self, s: Tensor) -> int:
        """Number of singular values s of X^T Y that are more than rounding."""
        largest = float(s[0])
        rank = int((s > self.floor(largest)).sum())
        # Rounding in one side times true states of the other can pass the floor: the rank of each side decides then.
        doubtful = max(self.eps) * max(self.n, self.width_source, self.width_target)
        if rank and max(self.eps) > EPS and float(s[rank - 1]) <= doubtful * max(largest, self.product_scale):
            rank = min(rank, self.n_held)
        if rank == 0:
            raise FitError(
                "X^T Y is zero, so that no rotation is better than another; wanted rows that vary together: "
                "fit on more items, or center rows that are not all the same"
            )
        return rank


class Located:
    """States to be mapped, in coordinates of both bases."""

    def __init__(self, spans: Spans, X: Tensor) -> None:
        self.spans, self.X = spans, X
        self.in_source = spans.source.coordinates(X)

    @cached_property
    def in_target(self) -> Tensor:
        """Coordinates in the target basis."""
        return self.spans.target.coordinates(self.X)

    @cached_property
    def padded(self) -> Tensor:
        """The states at the target's width."""
        return fit_width(self.X, self.spans.width_target)


class Rotation:
    """R in coordinates of the two bases: core (r_source, r_target) on the span, and how it is completed outside.

    `core` is U V^T with U (r_source, k) and V (r_target, k); `principal`, the principal vectors a = U P and
    b = V Q of the two spans and the cosines between them, is computed when it is first needed.
    """

    def __init__(self, spans: "Spans", U: Tensor, V: Tensor, completion: str) -> None:
        self.spans, self.core, self.rank = spans, (U @ V.T).contiguous(), U.shape[1]
        # with k = min(d_source, d_target) the complement is empty, or is mapped to padding
        self.completed = completion == "nearest" and U.shape[1] < min(spans.width_source, spans.width_target)
        self._found: tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor] = (U, V)

    @classmethod
    def whole(cls, spans: "Spans", R: Tensor) -> "Rotation":
        """A rotation that the fit determined in every direction."""
        new = cls.__new__(cls)
        new.spans, new.core, new.rank, new.completed = spans, R.contiguous(), len(R), False
        return new

    @property
    def whole_matrix(self) -> Tensor | None:
        """R (d_source, d_target) where both bases are the identity and nothing is completed."""
        direct = self.spans.source.Q is None and self.spans.target.Q is None and not self.completed
        return self.core if direct else None

    @property
    def principal(self) -> tuple[Tensor, Tensor, Tensor]:
        """a (r_source, k), b (r_target, k) and the cosines (k,)."""
        if len(self._found) == 2:
            U, V = self._found
            P, cosines, Qh = svd(U.T @ self.spans.overlap @ V, full_matrices=True)
            self._found = ((U @ P).contiguous(), (V @ Qh.T).contiguous(), cosines)
        return self._found

    def reversed(self) -> "Rotation":
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
    def restored(cls, tensors: dict[str, Tensor], width_source: int, width_target: int, rank: int) -> "Rotation":
        """Make a rotation again from its `state`."""
        new = cls.__new__(cls)
        new.core, new.rank = tensors["rotation.core"], rank
        # no rows are needed to map others
        source, target = (
            RowBasis(new.core.new_zeros(0, width), tensors.get(f"rotation.Q_{side}"), "restored")
            for side, width in (("source", width_source), ("target", width_target))
        )
        new.spans = Spans(source, target, width_source, width_target)
        new.completed = "rotation.a" in tensors
        if new.completed:
            new._found = (tensors["rotation.a"], tensors["rotation.b"], tensors["rotation.cosines"])
        return new

    def apply(self, states: Located) -> Tensor:
        """Return the states times R, (m, width_target)."""
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
