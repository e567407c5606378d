"""Dyck-3 strings: balanced brackets of three kinds, to a bounded depth, and what a reader of a prefix can know of it.

A valid string is written by a machine with a stack: it opens a bracket with probability `p_open` where it may, and
otherwise closes the innermost one. An invalid string is a valid one with one bracket replaced by another, which always
breaks it. Three things can be known after every token, and are its labels:

- *bracket*: the closing bracket that fits the innermost open one,
- *depth*: how many brackets are open, 0 to 8,
- *validity*: whether everything so far, and at the end the whole string, is balanced; once lost it stays lost.

The first two have no label once validity is lost, and *bracket* has none where nothing is open.

Source: Yao et al. (2021), "Self-attention networks can process bounded hierarchical languages", arXiv:2105.11115, for
the bounded language; the settings are those of arXiv:2605.24577.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

PAD, BOS, EOS = 0, 1, 2
OPENING, CLOSING = (3, 4, 5), (6, 7, 8)
TOKENS = ("<pad>", "<s>", "</s>", "(", "[", "{", ")", "]", "}")
N_KINDS, MAX_DEPTH = 3, 8
# The longest string, and its length with begin and end.
MAX_LENGTH, CONTEXT = 62, 64
LONG = (50, 60)
# Kinds nested directly in each other, outermost first, that training strings never have.
HELD_OUT = (0, 1, 2)
NO_LABEL = -100


@dataclass(frozen=True)
class Strings:
    """Strings as token ids (n, T) with begin, end and padding, and the number of tokens of each (n,)."""

    ids: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self) -> list[str]:
        """Each string as it is written, a space between brackets.

        Example:
            >>> Strings(np.array([[1, 3, 4, 7, 6, 2]]), np.array([6])).texts()
            ['( [ ] )']
        """
        rows = (row[1 : n - 1] for row, n in zip(self.ids, self.lengths, strict=True))
        return [" ".join(TOKENS[token] for token in row) for row in rows]


@dataclass(frozen=True)
class Labels:
    """What is known after every token, each (n, T); `NO_LABEL` where nothing is.

    Attributes:
        bracket: the token that closes the innermost open bracket.
        depth: 0 to 8.
        validity: 1 or 0.
    """

    bracket: Ints
    depth: Ints
    validity: Ints


def generate(
    n: int,
    rng: np.random.Generator,
    lengths: tuple[int, int] = (2, MAX_LENGTH),
    p_valid: float = 0.5,
    p_open: float = 0.55,
    avoid_held_out: bool = True,
    other_kind: bool = False,
) -> Strings:
    """Random strings, half of them valid.

    Args:
        n: how many.
        rng: the source of randomness.
        lengths: the least and the largest number of brackets; lengths are even and equally frequent.
        p_valid: the share of valid strings.
        p_open: the probability to open a bracket where both opening and closing are allowed.
        avoid_held_out: never nest brackets as in `HELD_OUT`, as no training string does.
        other_kind: break strings by the kind of a bracket alone, never by its direction, so that nothing but one pair
            of brackets tells of it.

    Raises:
        ValueError: no even length lies in the range, or a probability is not one.

    Example:
        >>> generate(3, np.random.default_rng(1), (2, 6), p_valid=1.0).texts()
        ['{ [ ] }', '{ { } }', '[ ] [ { } ]']
    """
    low, high = lengths[0] + lengths[0] % 2, lengths[1] - lengths[1] % 2
    if not (2 <= low <= high and 0 <= p_valid <= 1 and 0 <= p_open <= 1):
        raise ValueError(
            f"lengths={lengths}, p_valid={p_valid}, p_open={p_open}; wanted an even length of at least 2 in the range, "
            "and probabilities from 0 to 1: change them"
        )
    wanted = 2 * rng.integers(low // 2, high // 2, n, endpoint=True)
    kinds, opens = _balanced(wanted, rng, p_open, avoid_held_out)
    ids = np.where(opens, OPENING[0] + kinds, CLOSING[0] + kinds)
    broken = np.flatnonzero(rng.random(n) >= p_valid)
    at = rng.integers(0, wanted[broken])
    valid = ids.copy()
    old = ids[broken, at] - OPENING[0]
    if other_kind:
        new = old // N_KINDS * N_KINDS + (old + rng.integers(1, N_KINDS, len(broken))) % N_KINDS
    else:
        # One of the five other brackets.
        new = (old + rng.integers(1, 2 * N_KINDS, len(broken))) % (2 * N_KINDS)
    ids[broken, at] = OPENING[0] + new
    if avoid_held_out:
        # A new bracket can make such a nest of its neighbours. The last one is then closed by another kind instead.
        nests = broken[nests_held_out(_strings(ids[broken], wanted[broken], high))]
        last = valid[nests, wanted[nests] - 1] - CLOSING[0]
        ids[nests] = valid[nests]
        ids[nests, wanted[nests] - 1] = CLOSING[0] + (last + rng.integers(1, N_KINDS, len(nests))) % N_KINDS
    return _strings(ids, wanted, high)


def _strings(brackets: Ints, wanted: Ints, longest: int) -> Strings:
    """Strings of brackets (n, T), of which the first `wanted` count, with begin, end and padding."""
    whole = np.full((len(brackets), longest + 2), PAD, dtype=np.int64)
    whole[:, 0] = BOS
    inside = np.arange(brackets.shape[1]) < wanted[:, None]
    whole[:, 1 : 1 + brackets.shape[1]][inside] = brackets[inside]
    whole[np.arange(len(brackets)), wanted + 1] = EOS
    return Strings(whole, wanted + 2)


def _balanced(wanted: Ints, rng: np.random.Generator, p_open: float, avoid_held_out: bool) -> tuple[Ints, Flags]:
    """Kinds and directions (n, longest) of the brackets of valid strings of these lengths, written token by token."""
    n, rows = len(wanted), np.arange(len(wanted))
    stack, depth = np.zeros((n, MAX_DEPTH), dtype=np.int64), np.zeros(n, dtype=np.int64)
    kinds, opens = np.zeros((n, wanted.max()), dtype=np.int64), np.zeros((n, wanted.max()), dtype=bool)
    for t in range(wanted.max()):
        left = wanted - t
        may_open = (depth < MAX_DEPTH) & (depth < left)
        opening = may_open & ((rng.random(n) < p_open) | (depth == 0))
        kind = rng.integers(0, N_KINDS, n)
        if avoid_held_out:
            outer, inner = stack[rows, depth - 2], stack[rows, depth - 1]
            forbidden = (depth >= 2) & (outer == HELD_OUT[0]) & (inner == HELD_OUT[1]) & (kind == HELD_OUT[2])
            kind = np.where(forbidden, (kind + rng.integers(1, N_KINDS, n)) % N_KINDS, kind)
        writing = left > 0
        opening, closing = opening & writing, ~opening & writing
        stack[rows[opening], depth[opening]] = kind[opening]
        kinds[:, t] = np.where(opening, kind, stack[rows, depth - 1])
        opens[:, t] = opening
        depth = depth + opening - closing
    return kinds, opens


def label(strings: Strings) -> Labels:
    """What is known after every token of each string.

    Example:
        >>> label(Strings(np.array([[1, 3, 4, 7, 6, 2]]), np.array([6]))).depth.tolist()
        [[0, 1, 2, 1, 0, 0]]
    """
    ids = strings.ids
    n, rows = len(ids), np.arange(len(ids))
    stack, depth, valid = np.zeros((n, MAX_DEPTH), dtype=np.int64), np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
    known = Labels(*(np.full(ids.shape, NO_LABEL, dtype=np.int64) for _ in range(3)))
    for t in range(ids.shape[1]):
        token = ids[:, t]
        opening = (token >= OPENING[0]) & (token <= OPENING[-1])
        closing = (token >= CLOSING[0]) & (token <= CLOSING[-1])
        fits = np.where(opening, depth < MAX_DEPTH, True)
        fits &= np.where(closing, (depth > 0) & (stack[rows, depth - 1] == token - CLOSING[0]), True)
        fits &= np.where(token == EOS, depth == 0, True)
        valid &= fits
        pushed, popped = opening & valid, closing & valid
        stack[rows[pushed], depth[pushed]] = token[pushed] - OPENING[0]
        depth = depth + pushed - popped
        there = token != PAD
        known.validity[there, t] = valid[there]
        known.depth[there & valid, t] = depth[there & valid]
        nested = there & valid & (depth > 0)
        known.bracket[nested, t] = CLOSING[0] + stack[nested, depth[nested] - 1]
    return known


def nests_held_out(strings: Strings) -> Flags:
    """Whether each string nests brackets as in `HELD_OUT` while it is valid, (n,)."""
    ids, known = strings.ids, label(strings)
    path = np.zeros((len(ids), MAX_DEPTH + 1), dtype=np.int64)
    nested = np.zeros(len(ids), dtype=bool)
    for t in range(1, ids.shape[1]):
        deep = known.depth[:, t]
        opened = (deep > known.depth[:, t - 1]) & (deep > 0)
        path[opened, deep[opened]] = ids[opened, t] - OPENING[0]
        three = np.flatnonzero(opened & (deep >= 3))
        last = np.stack([path[three, deep[three] - back] for back in (2, 1, 0)], axis=1)
        nested[three] |= (last == HELD_OUT).all(axis=1)
    return nested


def held_out(n: int, rng: np.random.Generator, lengths: tuple[int, int] = (6, MAX_LENGTH)) -> Strings:
    """Strings that nest brackets as no training string does: the compositional test set."""
    parts: list[Strings] = []
    while sum(map(len, parts)) < n:
        some = generate(4 * n, rng, lengths, avoid_held_out=False)
        kept = nests_held_out(some)
        parts.append(Strings(some.ids[kept], some.lengths[kept]))
    return Strings(np.concatenate([p.ids for p in parts])[:n], np.concatenate([p.lengths for p in parts])[:n])
