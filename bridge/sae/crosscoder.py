"""One set of features for the states of two models: what they share needs no rotation."""

from typing import NamedTuple

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.sae.base import SAE
from bridge.sae.spec import SAESpec
from bridge.sae.training import CHUNK, Scaled, train_group

# Relative decoder norms between which a feature is shared, and beyond which it belongs to one model alone.
SHARED, EXCLUSIVE = (0.3, 0.7), (0.1, 0.9)
# Norm of the encoder at the start. Where both models say the same, only the sum of their encoders is trained, and what
# the start had in their difference stays: it would be noise once one model is read alone.
ENCODER_NORM = 0.1


class Shares(NamedTuple):
    """Shares of the features that fire, 0..1; they sum to less than 1, as some features lie between them."""

    shared: float
    source_only: float
    target_only: float


class Crosscoder:
    """features = activate(x W_enc_x + y W_enc_y + b_enc), and a decoder for each of the two models.

    Both models' states are centered and scaled to a mean norm of sqrt(their width).

    Args:
        joint: an SAE on both models' scaled states side by side; a feature's two decoders together have norm 1.
        scaled: how each model's states were scaled.

    Attributes:
        alive: (m,), which features fire on the rows it was trained on.
        gains: (2, m), by what a feature's pre-activation from one model alone is multiplied, so that it comes nearest
            to the one from both over all rows. 2 where both models add the same, 1 where they are unrelated.
    """

    def __init__(self, joint: SAE, scaled: tuple[Scaled, Scaled]) -> None:
        self.joint, self.scaled = joint, scaled
        self.widths = [s.X.shape[1] for s in scaled]
        products = torch.zeros(2, joint.n_features, dtype=torch.float64)
        squares = torch.zeros_like(products)
        self.alive = torch.zeros(joint.n_features, dtype=torch.bool)
        for parts in zip(*(s.X.split(CHUNK) for s in scaled), strict=True):
            sides = torch.stack([self._part(states, side) for side, states in enumerate(parts)]).double()
            fires = joint.activate((sides.sum(0) + joint.b_enc).float()) > 0
            products += (sides * sides.sum(0)).sum(1)
            squares += sides.square().sum(1)
            self.alive |= fires.any(0)
        self.gains = torch.where(squares > 0, products / squares, 1.0).float()

    def _part(self, states: Tensor, side: int) -> Tensor:
        """(n, m), what one side adds to the pre-activations."""
        if states.shape[-1] != self.widths[side]:
            raise FitError(f"states of width {states.shape[-1]}; wanted {self.widths[side]}: give that model's own")
        centered = self.scaled[side].scaled(states) - self.joint.b_dec.split(self.widths)[side]
        return centered @ self.joint.W_enc.split(self.widths)[side]

    def encode(self, X: Tensor, Y: Tensor) -> Tensor:
        """(n, d_source) and (n, d_target) of the same rows -> (n, m)."""
        return self.joint.activate(self._part(X, 0) + self._part(Y, 1) + self.joint.b_enc)

    def encode_one(self, states: Tensor, side: int) -> Tensor:
        """(n, m), features from the source (side 0) or the target (side 1) alone."""
        return self.joint.activate(self.gains[side] * self._part(states, side) + self.joint.b_enc)

    def decode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(n, m) -> (n, d_source) and (n, d_target), as states are."""
        halves = self.joint.decode(features).split(self.widths, dim=-1)
        source, target = (s.unscaled(half) for s, half in zip(self.scaled, halves, strict=True))
        return source, target

    def across(self, states: Tensor, side: int) -> Tensor:
        """The other model's states from one model's alone: from side 0 (n, d_source) -> (n, d_target)."""
        return self.decode(self.encode_one(states, side))[1 - side]

    @property
    def relative_norms(self) -> Tensor:
        """(m,), |d_target| / (|d_source| + |d_target|) of scaled states: 0 the source's alone, 1 the target's."""
        source, target = (half.norm(dim=1) for half in self.joint.W_dec.split(self.widths, dim=1))
        return target / (source + target)

    def shares(self) -> Shares:
        """How many of the features that fire are shared; dead ones keep a start in which both norms are alike."""
        norms = self.relative_norms[self.alive]
        each = (norms > SHARED[0]) & (norms < SHARED[1]), norms < EXCLUSIVE[0], norms > EXCLUSIVE[1]
        return Shares(*(float(which.double().mean()) for which in each))


def train_crosscoder(X: Tensor, Y: Tensor, spec: SAESpec) -> Crosscoder:
    """A crosscoder on paired states: an SAE on both side by side, with expansion * max(d_source, d_target) features.

    Source: Lindsey (2024, transformer-circuits.pub/2024/crosscoders), with TopK or BatchTopK in place of the L1 penalty
    as in Minder (2025, arXiv 2504.02922), which does not make shared features look exclusive.

    Args:
        X: (n, d_source), states of the source.
        Y: (n, d_target), states of the target on the same rows.
        spec: as for an SAE; `normalize` must be on.

    Raises:
        FitError: another number of rows, or states that an SAE cannot be trained on.
    """
    if len(X) != len(Y):
        raise FitError(f"{len(X)} rows of the source and {len(Y)} of the target; wanted pairs: give the same items")
    scaled = Scaled(X, True), Scaled(Y, True)
    both = torch.cat([s.scaled(s.X) for s in scaled], dim=1)
    joint = train_group(
        [both], [spec], encoder_norm=ENCODER_NORM, n_features=spec.expansion * max(X.shape[1], Y.shape[1])
    )[0]
    return Crosscoder(joint, scaled)
