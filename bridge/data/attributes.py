"""Invented nouns, each defined by values of attributes: items whose answers share structure.

Facts such as ``France -> Paris`` share nothing but their relation. Their answers cannot be predicted from each other,
so no map can carry an answer that it was not fitted on. A noun here stands for one value of each attribute (a *kondel*
is yellow, tiny, flat ...), so a map that carries the values carries held-out nouns too. Each value has two words
(*yellow* or *golden*), so a map that carries the value, and not the word, also carries nouns that are described in
held-out words.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from bridge.data.facts import relations

# Attribute -> value -> the other word for it.
_OTHER: dict[str, dict[str, str]] = {
    "color": {"red": "crimson", "blue": "azure", "green": "emerald", "yellow": "golden"},
    "size": {"small": "little", "large": "big", "huge": "giant", "tiny": "minute"},
    "shape": {"round": "circular", "square": "boxy", "flat": "level", "long": "lengthy"},
    "surface": {"soft": "fluffy", "hard": "stony", "rough": "coarse", "smooth": "sleek"},
    "weight": {"light": "airy", "heavy": "weighty", "hollow": "empty", "dense": "compact"},
    "warmth": {"cold": "icy", "warm": "mild", "hot": "scorching", "cool": "chilly"},
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in _OTHER.items()}
# Value -> the two words for it.
WORDS: dict[str, tuple[str, str]] = {
    value: (value, other) for pairs in _OTHER.values() for value, other in pairs.items()
}
N_NOUNS = 400
# How many descriptions of each noun are trained on, and how many of them also from noun to values.
N_DESCRIPTIONS, N_MEANINGS = 8, 4
SYLLABLES = 24


@dataclass(frozen=True)
class Noun:
    """An invented word and its value of each attribute, in the order of `ATTRIBUTES`."""

    name: str
    values: tuple[str, ...]

    def value(self, attribute: str) -> str:
        """Its value of one attribute, by the attribute's name."""
        return dict(zip(ATTRIBUTES, self.values, strict=True))[attribute]


@cache
def nouns() -> tuple[Noun, ...]:
    """The invented nouns, always the same ones in the same order; no two have the same values.

    Example:
        >>> len(nouns()), len({noun.values for noun in nouns()}), len(nouns()[0].values)
        (400, 400, 6)
    """
    syllables = _shuffled(map("".join, product("bdfgklmnprstvz", "aeiou", ("", "n", "r", "l"))), "syllables")[
        :SYLLABLES
    ]
    texts = [text for r in relations().values() for words in (*r.facts, r.templates) for text in words]
    taken = set(" ".join(texts).lower().split())
    names = [n for n in _shuffled(map("".join, product(syllables, repeat=2)), "names") if n not in taken]
    values = _shuffled(map(" ".join, product(*ATTRIBUTES.values())), "values")
    return tuple(Noun(name, tuple(v.split())) for name, v in zip(names[:N_NOUNS], values, strict=False))


def held_out_order(noun: Noun) -> tuple[str, ...]:
    """The order of its values in which a noun is asked for, and which no model is trained on."""
    return _orders(noun, 1)[0]


def in_words(values: Sequence[str], why: str) -> tuple[str, ...]:
    """One of the two words of each value, drawn at random; the same values and `why` give the same words.

    Example:
        >>> in_words(("red", "small", "round"), "asked")
        ('red', 'small', 'circular')
    """
    return tuple(_shuffled(WORDS[value], f"{why} {' '.join(values)} {value}")[0] for value in values)


def describe(words: Sequence[str]) -> str:
    """The prompt that asks which noun has these values, in these words.

    Example:
        >>> describe(("red", "small"))
        'A red small thing is a'
    """
    return f"A {' '.join(words)} thing is a"


def attribute_lines() -> list[tuple[str, str]]:
    """(prompt, answer) that the small models are trained on: nouns from values, and values from nouns."""
    lines = []
    for noun in nouns():
        trained = [in_words(order, "trained") for order in _orders(noun, 1 + N_DESCRIPTIONS)[1:]]
        lines += [(describe(order), noun.name) for order in trained]
        lines += [(f"The {noun.name} is", " ".join(order)) for order in trained[:N_MEANINGS]]
    return lines


def _orders(noun: Noun, n: int) -> list[tuple[str, ...]]:
    """`n` different orders of the values of a noun; the first ones are the same for every `n`."""
    orders: dict[tuple[str, ...], None] = {}
    turn = 0
    while len(orders) < n:
        orders[tuple(_shuffled(noun.values, f"{noun.name} {turn}"))] = None
        turn += 1
    return list(orders)


def _shuffled(words: Iterable[str], why: str) -> list[str]:
    """Words in a random order that depends only on them and on `why`, not on the process or on Python's version."""
    return sorted(words, key=lambda word: hashlib.sha256(f"{why}\0{word}".encode()).digest())
