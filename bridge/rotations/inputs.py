"""A baseline without the source's states: what the tokens that were read say linearly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.rotations.states import Side

# The commonest tokens have features of their own, all others share one; so have the first positions.
N_TOKENS, N_POSITIONS = 128, 64
# Of ridge, relative to the mean square of a feature.
PENALTY = 1e-6


@dataclass(frozen=True)
class InputFeatures:
    """Simple features of what a model has read at a token.

    They are: the token; the one before it; how often each token has come so far, as a number and as a share of all; and
    the position. Two models that were never trained already have states that are nearly linear in them, so a rotation
    between states shows what training did only where it explains more.

    Attributes:
        vocabulary: (V,) ids of the tokens with features of their own.
    """

    vocabulary: Tensor

    @classmethod
    def of(cls, side: Side) -> "InputFeatures":
        """Features for the commonest tokens of some strings."""
        ids, counts = side.token.unique(return_counts=True)
        return cls(ids[counts.argsort(descending=True, stable=True)[:N_TOKENS]].sort().values)

    def __call__(self, side: Side) -> Tensor:
        """The features (m, f) of every token, float64.

        Args:
            side: tokens in the order of their strings.
        """
        where = torch.searchsorted(self.vocabulary, side.token).clamp_max(len(self.vocabulary) - 1)
        known = self.vocabulary[where] == side.token
        index = torch.where(known, where, len(self.vocabulary))
        one = torch.nn.functional.one_hot(index, len(self.vocabulary) + 1).double()
        lengths = torch.bincount(side.string)
        first = lengths.cumsum(0) - lengths
        position = torch.arange(len(one)) - first[side.string]
        before = torch.zeros_like(one)
        before[1:] = one[:-1]
        before[position == 0] = 0
        total = one.cumsum(0)
        so_far = total - (total - one)[first][side.string]
        place = torch.nn.functional.one_hot(position.clamp_max(N_POSITIONS - 1), N_POSITIONS).double()
        return torch.cat([one, before, so_far, so_far / (position[:, None] + 1), place], dim=1)


def predict(fit: Tensor, Y: Tensor, held: Tensor) -> Tensor:
    """Centered states (m, d) that ridge regression predicts from features.

    Args:
        fit: (n, f) features of the rows to fit on.
        Y: (n, d) centered states of these rows.
        held: (m, f) features of the rows to predict.
    """
    mean = fit.mean(0)
    F, new = fit - mean, held - mean
    gram = F.T @ F
    gram.diagonal().add_(PENALTY * gram.diagonal().mean())
    return new @ torch.linalg.solve(gram, F.T @ Y)
