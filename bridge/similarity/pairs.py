"""Sums over pairs of rows of a source matrix times a permuted target matrix, for many layers at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Pairs of rows of one lookup, to bound its memory.
CHUNK = 2**18


class PairProducts:
    """sum over i < j of A_s[i, j] B_t[p(i), p(j)], for symmetric A_s, B_t (n, n) and a permutation p.

    Only the upper triangles are stored, all layers as columns of one matrix, so that a permutation takes one lookup.

    Args:
        source: S symmetric matrices (n, n).
        target: T symmetric matrices (n, n).
    """

    def __init__(self, source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
        self.n = n = len(source[0])
        i, j = torch.triu_indices(n, n, 1, device=source[0].device)
        self.source, self.target = (torch.stack([M[i, j] for M in side], 1) for side in (source, target))
        self._chunks = [(rows, i[rows], j[rows]) for rows in torch.arange(len(i), device=i.device).split(CHUNK)]

    def __call__(self, permutation: Tensor) -> Tensor:
        """The sums (S, T)."""
        total = self.source.new_zeros(self.source.shape[1], self.target.shape[1])
        for rows, i, j in self._chunks:
            a, b = permutation[i], permutation[j]
            low, high = torch.minimum(a, b), torch.maximum(a, b)
            # Index of the pair (low, high) in the upper triangle, stored row by row.
            at = low * (2 * self.n - low - 1) // 2 + high - low - 1
            total += self.source[rows[0] : rows[-1] + 1].T @ self.target.index_select(0, at)
        return total
