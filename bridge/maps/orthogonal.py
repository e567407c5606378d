"""Orthogonal Procrustes between states of any number of rows and of equal or unequal widths."""

from typing import Any, Literal

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.moments import Moments
from bridge.maps.polar import SINGLE_FROM, decompose, polar_factor, polar_in_single, worth_iterating
from bridge.maps.rotation import Located, Rotation, Spans
from bridge.svd import svd

COMPLETIONS = ("nearest", "none")
# the most bytes of factors that permuted fits keep in memory at once
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
      (b_i . x) (a_i + b_i) / (1 + c_i), so no D x D matrix is formed; it is computed when `transform` first needs it.

    The work is in the span of the rows: with n < D it needs two n x d bases and one n x n decomposition. Float32 rows
    of equal widths from 256 on, n >= d, are multiplied in float32, as scipy does, and R is made orthonormal in float64;
    pass float64 rows for more digits.

    `inverse` is the transpose, divided by the scale: exact for d_source <= d_target, the projection back for
    d_source > d_target.

    Source: Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem",
    doi:10.1007/BF02289451. The completion is the direct rotation of Davis and Kahan (1970), "The rotation of
    eigenvectors by a perturbation III", doi:10.1137/0707001. The scale and the determinant are those of Umeyama
    (1991), "Least-squares estimation of transformation parameters between two point patterns",
    doi:10.1109/34.88573.

    Args:
        completion: "nearest" or "none".
        scale: multiply R by the number that then minimises ||c X R - Y||_F, c = tr(R^T X^T Y) / ||X R||_F^2.
        special: only rotations, no reflections: where det R = -1, the direction with the least singular value of
            X^T Y is turned around. It takes equal widths and rows that determine every direction.

    Attributes:
        rank_: k, the number of directions that the fit determined.
        solver_: "gram", "qr", "direct" or "moments", joined by "/" if source and target differ (see `RowBasis`);
            followed by the method for X^T Y if another than its SVD was tried.
        scale_: c; 1 without `scale`.

    Raises:
        FitError: states that cannot be fitted on (`fit`), X^T Y = 0, or `special` with unequal widths or undetermined
            directions.

    Example:
        >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
        >>> quarter_turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        >>> Orthogonal().fit(X, X @ quarter_turn).matrix().round(decimals=9) + 0.0
        tensor([[ 0.,  1.],
                [-1.,  0.]], dtype=torch.float64)
    """

    has_inverse = True
    streams = True
    can_rotate = True
    scale_: float

    def __init__(
        self, completion: Literal["nearest", "none"] = "nearest", scale: bool = False, special: bool = False
    ) -> None:
        self.completion = completion
        self.scale = scale
        self.special = special

    def matrix(self) -> Tensor:
        """Return the matrix (d_source, d_target), scale included, with transform(X) = X @ R; large for wide models."""
        self._check_fitted()
        whole = self._rotation.whole_matrix
        if whole is not None:
            return whole * self.scale_ if self.scale else whole.clone()
        device = self._rotation.core.device
        return self.transform(torch.eye(self.width_source_, dtype=torch.float64, device=device))

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        spans = self._spans(X, Y)
        M = spans.source.L.T @ spans.target.L
        self._keep(spans, M)
        if self.scale:
            self.scale_ = self._trace / float(self._moved(self._rotation, spans, X).square().sum())

    def _fit_single(self, X: Tensor, Y: Tensor) -> bool:
        n, d = X.shape
        if X.is_cuda or self.scale or self.special or not (n >= d == Y.shape[1] >= SINGLE_FROM):
            return False
        self._check_options(d, d)
        R, how = polar_in_single(X.T @ Y)
        if R is not None:
            self._rotation = Rotation.whole(Spans.of_widths(d, d, R), R)
            self.rank_, self.solver_, self.scale_ = d, f"direct, {how}", 1.0
        return R is not None

    def _fit_moments(self, moments: Moments) -> None:
        self._check_options(moments.width_source, moments.width_target)
        self._keep(Spans.of_moments(moments), moments.cross)
        if self.scale:
            R = self.matrix()
            self.scale_ = self._trace / float(((moments.gram_source @ R) * R).sum())

    def _keep(self, spans: Spans, M: Tensor) -> None:
        self._rotation, self._trace, how = self._solved(spans, M)
        self.rank_ = self._rotation.rank
        self.solver_ = ", ".join([spans.solver, how] if how else [spans.solver])
        self.scale_ = 1.0

    def _solved(self, spans: Spans, M: Tensor) -> tuple[Rotation, float, str]:
        """Return R, tr(R^T X^T Y), and the method of decomposing M, empty for the SVD."""
        how, square = "", M.shape[0] == M.shape[1] == spans.width_source == spans.width_target
        if square and worth_iterating(len(M), M.device):
            R, how = polar_factor(M) if spans.is_clear(M) else (None, "X^T Y is close to rounding")
            if R is not None and not (self.special and float(torch.linalg.slogdet(R).sign) < 0):
                return Rotation.whole(spans, R), float((R * M).sum()), how
            how = f"svd, since {how if R is None else 'the polar factor is a reflection'}"
        return *self._from_svd(spans, *decompose(M)), how

    def _from_svd(self, spans: Spans, U: Tensor, s: Tensor, Vh: Tensor) -> tuple[Rotation, float]:
        rank = spans.rank(s)
        U, s, V = U[:, :rank], s[:rank], Vh[:rank].T
        if self.special:
            if rank < spans.width_source:
                raise FitError(
                    f"special=true got rows that determine {rank} of {spans.width_source} directions, which leaves the "
                    "determinant open; wanted all of them: fit on more items than the width, or set special=false"
                )
            if float(torch.linalg.slogdet(U @ V.T).sign) < 0:
                V, s = torch.cat([V[:, :-1], -V[:, -1:]], dim=1), torch.cat([s[:-1], -s[-1:]])
        return Rotation(spans, U, V, self.completion), float(s.sum())

    @staticmethod
    def _moved(rotation: Rotation, spans: Spans, X: Tensor) -> Tensor:
        """X R, or the fit rows themselves if R keeps every row's norm: only the norm of the result is used."""
        keeps = rotation.completed or rotation.rank == spans.width_source
        return X if keeps and spans.width_source <= spans.width_target else rotation.apply(Located(spans, X))

    def _transform(self, X: Tensor) -> Tensor:
        mapped = self._rotation.apply(Located(self._rotation.spans, X))
        return mapped * self.scale_ if self.scale else mapped

    def _inverse(self, Y: Tensor) -> Tensor:
        back = self._rotation.reversed()
        return back.apply(Located(back.spans, Y)) / self.scale_

    def _n_parameters(self) -> int:
        """Dimension of the set of such matrices: a frame of the narrower side in the wider, and the scale."""
        narrow, wide = sorted((self.width_source_, self.width_target_))
        return narrow * wide - narrow * (narrow + 1) // 2 + self.scale

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super()._state()
        return tensors | self._rotation.state(), facts

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        own = {name: tensors[name] for name in tensors if not name.startswith("rotation.")}
        super()._restore(own, facts)
        self._rotation = Rotation.restored(tensors, self.width_source_, self.width_target_, self.rank_)

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        spans = self._spans(X, Y)
        source, target = spans.source.L, spans.target.L
        states = Located(spans, X_new)
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        factor_bytes = 8 * (len(X) + 3 * source.shape[1]) * max(source.shape[1], target.shape[1])
        n_at_once = max(1, CHUNK_BYTES // factor_bytes)
        for draw, chunk in zip(draws.split(n_at_once), permutations.split(n_at_once), strict=True):
            products = source.T @ target[chunk]
            whole = worth_iterating(min(products.shape[1:]), X.device)
            parts = [] if whole else list(zip(*svd(products), strict=True))
            for i, product in enumerate(products):
                rotation, trace = self._solved(spans, product)[:2] if whole else self._from_svd(spans, *parts[i])
                draw[i] = rotation.apply(states)
                if self.scale:
                    draw[i] *= trace / self._moved(rotation, spans, X).square().sum()
        return draws

    def _spans(self, X: Tensor, Y: Tensor) -> Spans:
        self._check_options(X.shape[1], Y.shape[1])
        return Spans.of_rows(X, Y, self._eps)

    def _check_options(self, d_source: int, d_target: int) -> None:
        if self.completion not in COMPLETIONS:
            raise FitError(
                f"completion is {self.completion!r}; wanted one of {', '.join(COMPLETIONS)}: change map.completion"
            )
        if self.special and d_source != d_target:
            raise FitError(
                f"special=true got widths {d_source} (source) and {d_target} (target); wanted equal ones, "
                "where a determinant is defined: set special=false"
            )
