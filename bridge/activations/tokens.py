"""States of every token of many texts: stored in shards of bounded size, and read from disk when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bridge.activations.store import Store
from bridge.errors import DataError
from bridge.models.loading import LoadedModel
from bridge.permutations import permutations

Tokens = tuple[int, ...]
# 0.5 GB of float32 states of width 2,048 at one layer.
SHARD_TOKENS = 2**16


class TokenBatch(NamedTuple):
    """Some tokens: states (b, d), and which text (b,) and which place in it (b,) each is of."""

    states: Tensor
    item: Tensor
    position: Tensor


class TokenStates:
    """The states of all tokens of n texts at one layer, one after the other; shards are memory-mapped.

    Args:
        shards: (n_tokens in the shard, d) each, in order.
        lengths: how many tokens each text has.

    Attributes:
        item: (N,) long, the text of each token.
        position: (N,) long, its place in the text.
        width: d.
    """

    def __init__(self, shards: Sequence[Tensor], lengths: Sequence[int]) -> None:
        counts = torch.tensor(lengths)
        self.shards = list(shards)
        self.item = torch.arange(len(lengths)).repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        self.position = torch.arange(len(self.item)) - starts[self.item]
        self.width = self.shards[0].shape[1]
        self._ends = torch.tensor([len(shard) for shard in self.shards]).cumsum(0)

    def __len__(self) -> int:
        return len(self.item)

    def rows(self, at: Tensor) -> Tensor:
        """The states (b, d) of tokens `at` (b,), in that order; no others are read."""
        shard_of = torch.bucketize(at, self._ends, right=True)
        result = torch.empty(len(at), self.width, dtype=self.shards[0].dtype)
        for shard in shard_of.unique().tolist():
            mine = shard_of == shard
            start = int(self._ends[shard]) - len(self.shards[shard])
            result[mine] = self.shards[shard][at[mine] - start]
        return result

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[TokenBatch]:
        """All tokens once, `size` at a time, with no more than a batch of states in memory.

        Args:
            size: tokens a batch, at least 1; the last may have fewer.
            generator: seeded, of a uniformly random order; None for the order of the texts.
        """
        order = torch.arange(len(self)) if generator is None else permutations(len(self), 1, generator)[0]
        for at in order.split(size):
            yield TokenBatch(self.rows(at), self.item[at], self.position[at])


def token_states(
    store: Store,
    fingerprint: str,
    load: Callable[[], LoadedModel],
    texts: Sequence[Tokens],
    layers: Sequence[float],
    dtype: str = "float32",
    attn_implementation: str | None = None,
    batch_size: int = 64,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[float, TokenStates]:
    """States of every token, special ones included, from the store where they are stored.

    Each shard holds whole texts and is an entry of the store, so that a stored shard is not extracted again, and of a
    damaged store only the damaged shards are.

    Args:
        store: keeps the shards.
        fingerprint: of the model, from `bridge.models.fingerprint`.
        load: loads the model; called only when a shard is missing.
        texts: n texts as token ids.
        layers: each in 0..N, or the depth of another site (`bridge.activations.sites`).
        dtype, attn_implementation, batch_size: as in `Store.states`.
        shard_tokens: tokens of a shard at most, unless one text alone has more.

    Returns:
        {layer: states}.

    Raises:
        DataError: no text, or one without tokens.
        StoreError: the store cannot be written.
    """
    lengths = [len(text) for text in texts]
    if not lengths or min(lengths) == 0:
        what = f"text {lengths.index(0)} has no tokens" if lengths else "no texts"
        raise DataError(f"{what}; wanted texts of at least one token: leave that text out")
    shards: dict[float, list[Tensor]] = {layer: [] for layer in layers}
    for start, stop in _cuts(lengths, shard_tokens):
        some = store.states(
            fingerprint,
            load,
            texts[start:stop],
            layers,
            "all",
            dtype=dtype,
            attn_implementation=attn_implementation,
            batch_size=batch_size,
        )
        for layer, states in some.items():
            shards[layer].append(states)
    return {layer: TokenStates(parts, lengths) for layer, parts in shards.items()}


def _cuts(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Where to cut texts into runs of at most `most` tokens.

    >>> _cuts([3, 3, 9, 1], 6)
    [(0, 2), (2, 3), (3, 4)]
    """
    cuts, start, n = [], 0, 0
    for i, length in enumerate(lengths):
        if i > start and n + length > most:
            cuts.append((start, i))
            start, n = i, 0
        n += length
    return [*cuts, (start, len(lengths))]
