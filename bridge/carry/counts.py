"""Token counts of a prompt in place of states: a bag-of-words baseline."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from bridge.maps.solvers import thin_svd


class TokenCounts:
    """Counts how often each token of the fit rows stands in a text, in any order.

    The counts are as wide as the source's states, so that the same map can be fitted: where there are more tokens than
    that, the leading directions of the fit rows' counts are kept; where there are fewer, zeros fill up. Tokens that no
    fit row has are not counted.

    Source: Deerwester et al. (1990), "Indexing by latent semantic analysis",
    doi:10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9.

    Args:
        texts: tokens of every fit row.
        width: of the source's states.

    Example:
        >>> TokenCounts([(5, 7, 7), (5, 9)], width=4).states([(9, 5, 9, 8)]).tolist()
        [[1.0, 0.0, 2.0, 0.0]]
    """

    def __init__(self, texts: Sequence[tuple[int, ...]], width: int) -> None:
        self.width = width
        self.vocabulary = torch.tensor(sorted({token for text in texts for token in text}), dtype=torch.long)
        self._fitted = self._counts(texts)
        self._mean = self._fitted.mean(0)

    def tells_apart(self, texts: Sequence[tuple[int, ...]]) -> bool:
        """Whether any two of the texts have different counts."""
        known = set(self.vocabulary.tolist())
        return len({tuple(sorted(token for token in text if token in known)) for text in texts}) > 1

    @cached_property
    def _directions(self) -> Tensor | None:
        """The leading directions (V, width) of the fit rows' counts, computed when states are first asked for."""
        if len(self.vocabulary) <= self.width:
            return None
        return thin_svd(self._fitted - self._mean)[2][:, : self.width]

    def states(self, texts: Sequence[tuple[int, ...]]) -> Tensor:
        """(m, width) float64: the counts of texts, or their centered projection."""
        counts = self._counts(texts)
        if self._directions is not None:
            counts = (counts - self._mean) @ self._directions
        return torch.nn.functional.pad(counts, (0, self.width - counts.shape[1]))

    def _counts(self, texts: Sequence[tuple[int, ...]]) -> Tensor:
        """How often each token of the vocabulary stands in each text: (m, V) float64."""
        rows = torch.tensor([i for i, text in enumerate(texts) for _ in text], dtype=torch.long)
        tokens = torch.tensor([token for text in texts for token in text], dtype=torch.long)
        at = torch.searchsorted(self.vocabulary, tokens).clamp_(max=len(self.vocabulary) - 1)
        known = self.vocabulary[at] == tokens
        counts = torch.zeros(len(texts), len(self.vocabulary), dtype=torch.float64)
        return counts.index_put_((rows[known], at[known]), torch.ones(int(known.sum()), dtype=torch.float64), True)
