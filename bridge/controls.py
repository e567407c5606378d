"""Every control, each with the one sentence that says what it rules out, and the states it gives."""

import copy
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from bridge.maps.base import Map
from bridge.maps.orthogonal import Orthogonal
from bridge.normalize import Normalize

Kind = Literal["estimate", "negative", "ceiling", "reference"]


@dataclass(frozen=True)
class Control:
    """A branch that is scored beside the others.

    `kind`: the estimate itself, a negative control that it must beat, a ceiling that it cannot pass, or a
    reference that involves no map. `drawn`: made of many random draws, whose spread is reported.
    """

    name: str
    kind: Kind
    drawn: bool
    rules_out: str


# Those a user can choose by `control.names`. The order is that of every table and plot.
CONTROLS: dict[str, Control] = {
    c.name: c
    for c in (
        Control("fitted", "estimate", False, "the fitted map itself"),
        Control("random", "negative", True, "that any rotation would do: a Haar-random rotation, many draws"),
        Control("shuffled", "negative", True, "that matching means and spectra suffice: the same fit on permuted rows"),
        Control(
            "shuffled_within",
            "negative",
            True,
            "that only the kind of answer carries over: the same fit on rows permuted inside each relation",
        ),
        Control("identity", "negative", False, "that the two spaces agree as they are: no map, zero-padded"),
        Control("mean", "negative", False, "that the target answers without the source: its mean state for every item"),
        Control("same_model", "ceiling", False, "that the injection itself is dead: the target's own states, same fit"),
        Control(
            "planted",
            "ceiling",
            False,
            "that the pipeline is broken: the target's own states under a known Haar rotation, which the fit must undo",
        ),
    )
}
# Scored in every cell, whatever was chosen.
REFERENCES: dict[str, Control] = {
    c.name: c
    for c in (
        Control("native_source", "reference", False, "the source itself on the same items"),
        Control("native_target", "reference", False, "the target itself on the same items"),
        Control(
            "gold_embedding",
            "ceiling",
            False,
            "that a soft prefix can say nothing: the gold answer's own embedding in place of the mapped state",
        ),
    )
}


def haar_rows(basis_rank: int, width: int, generator: torch.Generator) -> Tensor:
    """`basis_rank` rows of a Haar-random rotation of `width` dimensions.

    The image of an orthonormal set under a Haar rotation is uniform on the Stiefel manifold, so drawing only
    these rows is exact and costs ``width * basis_rank**2`` instead of ``width**3``.

    Source: Mezzadri 2007, arXiv math-ph/0609050 (QR with the signs of R's diagonal).

    Returns:
        (basis_rank, width) float64 with orthonormal rows, on the CPU.
    """
    gauss = torch.randn(width, basis_rank, dtype=torch.float64, generator=generator)
    q, r = torch.linalg.qr(gauss)
    return (q * torch.sign(torch.diagonal(r))).T


def haar_rotated(X: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """The rows of `X` (n, d) under a Haar-random rotation into `width` dimensions.

    Unequal widths take a random semi-orthogonal matrix: a rotation of max(d, width) dimensions between
    zero-padding and truncation.

    Returns:
        (n, width) float64. Inner products are kept when ``width >= d``.
    """
    n, d = X.shape
    full = max(d, width)
    if n < d:
        r = torch.linalg.qr(X.double().T, mode="r").R
        return (r.T @ haar_rows(min(n, d), full, generator).to(X.device))[:, :width]
    return X.double() @ haar_rows(d, full, generator).to(X.device)[:, :width]


def permutations(labels: Tensor | None, n: int, n_draws: int, generator: torch.Generator) -> Tensor:
    """Row permutations (n_draws, n); with `labels` (n,), rows move only among rows of their own label."""
    draws = torch.stack([torch.randperm(n, generator=generator) for _ in range(n_draws)])
    if labels is None:
        return draws
    home = torch.argsort(labels, stable=True)
    within = torch.empty_like(draws)
    for i, draw in enumerate(draws):
        within[i, home] = draw[torch.argsort(labels[draw], stable=True)]
    return within


class Trainer(Protocol):
    """Fits a map to more than states; see `bridge.training`."""

    def fit(self, map: Map, source: Normalize, target: Normalize, X: Tensor, Y: Tensor, orders: Tensor) -> list[Map]:
        """One fitted map for each order (p, n) of Y's rows."""


class Carrier:
    """Carries held-out source states into the target's space under the fitted map and every control.

    All branches share the normalisation: centring and scale are fitted on the fit rows alone, and every
    branch is returned to the target's own scale and mean, so none is favoured by an offset.

    Args:
        map: an unfitted map; copies of it are fitted.
        normalize: an unfitted normalisation; copies of it are fitted on each side.
        X_fit: source states (n, d_source) of the fit rows.
        Y_fit: target states (n, d_target) of the same rows.
        relations: (n,) integer label of each fit row, for `shuffled_within`.
        n_draws: draws of each random control.
        seed: seeds one generator per control, so that a control's draws do not depend on the others.
        trainer: trains what is fitted, the same in every branch with a fit; None leaves it as fitted on states.
    """

    def __init__(
        self,
        map: Map,
        normalize: Normalize,
        X_fit: Tensor,
        Y_fit: Tensor,
        relations: Tensor,
        n_draws: int,
        seed: int,
        trainer: Trainer | None = None,
    ) -> None:
        self.map = map
        self.trainer = trainer
        self.normalize = normalize
        self.X_fit, self.Y_fit = X_fit.double(), Y_fit.double()
        # Rows that are alone in their relation could not move; they are permuted among themselves.
        alone = torch.bincount(relations)[relations] == 1
        self.relations = torch.where(alone, relations.max() + 1, relations)
        self.n_draws = n_draws
        self.seed = seed
        self.source_ = copy.deepcopy(normalize).fit(self.X_fit)
        self.target_ = copy.deepcopy(normalize).fit(self.Y_fit)
        (self.map_,) = self.fits(torch.arange(len(self.X_fit))[None])

    def carry(self, control: str, X: Tensor, Y: Tensor) -> Tensor:
        """The states that `control` puts into the target in place of its own.

        Args:
            control: a name in `CONTROLS`.
            X: source states (m, d_source).
            Y: the target's own states (m, d_target) of the same rows; only the ceilings look at them.

        Returns:
            (n_draws or 1, m, d_target) float64 in the target's own scale and mean.
        """
        X, Y = X.double(), Y.double()
        generator = torch.Generator().manual_seed(self.seed * len(CONTROLS) + list(CONTROLS).index(control))
        if control == "mean":
            return self.Y_fit.mean(0).expand(1, len(X), -1)
        if control == "same_model":
            ceiling = Carrier(
                self.map, self.normalize, self.Y_fit, self.Y_fit, self.relations, 1, self.seed, self.trainer
            )
            return ceiling.carry("fitted", Y, Y)
        if control == "planted":
            rotated = haar_rotated(torch.cat([self.Y_fit, Y]), Y.shape[1], generator)
            n = len(self.Y_fit)
            # It tests everything around the map, so a map that can undo no rotation leaves it to one that can.
            undo = self.map if self.map.can_rotate else Orthogonal()
            planted = Carrier(undo, self.normalize, rotated[:n], self.Y_fit, self.relations, 1, self.seed)
            return planted.carry("fitted", rotated[n:], Y)
        Z = self.source_.transform(X)
        return self.target_.inverse(self._mapped(control, Z, generator), self.source_.row_scale(X))

    def _mapped(self, control: str, Z: Tensor, generator: torch.Generator) -> Tensor:
        d_target = self.Y_fit.shape[1]
        if control == "fitted":
            return self.map_.transform(Z)[None]
        if control == "identity":
            padded = Z.new_zeros(len(Z), d_target)
            width = min(Z.shape[1], d_target)
            padded[:, :width] = Z[:, :width]
            return padded[None]
        if control == "random":
            return torch.stack([haar_rotated(Z, d_target, generator) for _ in range(self.n_draws)])
        labels = self.relations if control == "shuffled_within" else None
        moved = permutations(labels, len(self.X_fit), self.n_draws, generator).to(Z.device)
        if self.trainer is not None:
            return torch.stack([m.transform(Z) for m in self.fits(moved)])
        return self.map.transform_permuted(
            self.source_.transform(self.X_fit), self.target_.transform(self.Y_fit), moved, Z
        )

    def fits(self, orders: Tensor) -> list[Map]:
        """A fitted map, trained where there is a trainer, for each order (p, n) of the target's rows."""
        if self.trainer is not None:
            return self.trainer.fit(self.map, self.source_, self.target_, self.X_fit, self.Y_fit, orders)
        X, Y = self.source_.transform(self.X_fit), self.target_.transform(self.Y_fit)
        return [copy.deepcopy(self.map).fit(X, Y[order.to(Y.device)]) for order in orders]

    def through(self, map: Map, X: Tensor) -> Tensor:
        """Source states X (m, d_source) through one of the `fits`: (m, d_target) in the target's own scale and mean."""
        return self.target_.inverse(map.transform(self.source_.transform(X)), self.source_.row_scale(X))
