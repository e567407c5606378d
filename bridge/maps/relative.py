"""Relative representations: similarities to anchors in the source, turned back into states of the target."""

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.factored import Factored
from bridge.svd import svd


class Relative(Factored):
    """Translate through similarities to shared anchors.

    A few fit items are anchors, with unit rows A (k, d_source) and B (k, d_target). A state is described by its
    cosines with the anchors, x A^T / ||x||, and the target's state is the direction z with
    z B^T = x A^T / ||x||, by the pseudo-inverse of B^T. The norm, which cosines do not contain, is that of the row,
    times the ratio of the mean norms of target and source rows. So the map is linear, x A^T (B^T)^+ scaled, of rank k
    at most. Only the anchors and two mean norms are fitted: other pairs play no part.

    A nearly singular B makes the pseudo-inverse amplify noise. Singular values below `tolerance` times the
    largest count as 0; the source averages several pruned sets of anchors instead. Nothing is centered: do
    that first, as the source does. `inverse` is the pseudo-inverse.

    Source: Maiorca, Moschella, Fumero, Locatello and Rodolà (2024), "Latent space translation via inverse
    relative projection", arXiv 2406.15057; Moschella et al. (2023), "Relative representations enable zero-shot
    latent space communication", arXiv 2209.15430.

    Args:
        n_anchors: k, from 1 to the number of fit rows.
        seed: draws the anchors among the fit rows.
        tolerance: in [0, 1).

    Attributes:
        anchors_: (k,) long, the fit rows that are anchors.

    Example:
        >>> X = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> Relative(n_anchors=2).fit(X, 3 * X.flip(1)).transform(torch.tensor([[1.0, 5.0]])).round(decimals=9)
        tensor([[15.,  3.]], dtype=torch.float64)
    """

    anchors_: Tensor

    def __init__(self, n_anchors: int = 64, seed: int = 0, tolerance: float = 0.05) -> None:
        self.n_anchors = n_anchors
        self.seed = seed
        self.tolerance = tolerance

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        self.anchors_ = self._drawn(len(X)).to(X.device)
        A, B = _unit(X[self.anchors_], "X"), _unit(Y[self.anchors_], "Y")
        back, self.rank_ = self._back(B, X, Y)
        self.left_, self.right_ = A.T, back
        self.solver_ = "anchors"

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        anchors = self._drawn(len(X)).to(X.device)
        located = X_new @ _unit(X[anchors], "X").T
        draws = X.new_empty(len(permutations), len(X_new), Y.shape[1])
        for draw, permutation in zip(draws, permutations, strict=True):
            draw.copy_(located @ self._back(_unit(Y[permutation[anchors]], "Y"), X, Y)[0])
        return draws

    def _back(self, B: Tensor, X: Tensor, Y: Tensor) -> tuple[Tensor, int]:
        """Return the scaled pseudo-inverse of B^T (k, d_target) and its rank."""
        U, s, Vh = svd(B)
        kept = s > self.tolerance * s[0]
        size = torch.linalg.vector_norm(Y, dim=1).mean() / torch.linalg.vector_norm(X, dim=1).mean()
        return size * (U[:, kept] / s[kept]) @ Vh[kept], int(kept.sum())

    def _drawn(self, n: int) -> Tensor:
        if not 1 <= self.n_anchors <= n:
            raise FitError(
                f"Relative n_anchors is {self.n_anchors} and there are {n} fit rows; wanted 1 to {n} anchors: "
                "choose fewer or fit on more items"
            )
        if not 0 <= self.tolerance < 1:
            raise FitError(
                f"relative tolerance is {self.tolerance}; wanted at least 0 and below 1: change map.tolerance"
            )
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(n, generator=generator)[: self.n_anchors].sort().values

    def _n_parameters(self) -> int:
        return self.n_anchors * (self.width_source_ + self.width_target_)


def _unit(rows: Tensor, name: str) -> Tensor:
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise FitError(
            f"{int((norms == 0).sum())} of {len(rows)} anchors are zero in {name}; wanted rows with a direction: "
            "choose another seed or drop those items"
        )
    return rows / norms
