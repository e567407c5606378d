"""Dyck-3 strings as items."""

from typing import Literal

import numpy as np

from bridge.data.dyck import HELD_OUT, MAX_LENGTH, generate, held_out, label
from bridge.data.items import Item
from bridge.data.sources import Source
from bridge.errors import DataError

# How often as many strings as wanted are written until enough of them are different.
N_TRIES = 20


class DyckStrings(Source):
    """Strings of brackets without an answer; see `bridge.data.dyck`. Their relation says whether they are valid.

    Args:
        n_strings: how many, each different.
        min_length: the least number of brackets.
        max_length: the largest number of brackets.
        nesting: "trained" for strings as in training, "held_out" for strings that all nest brackets as no training
            string does.
        strings_seed: another seed gives other strings.

    Example:
        >>> [(item.prompt, item.relation) for item in DyckStrings(2, max_length=4).load()]
        [('] ]', 'invalid'), ('{ [ ] }', 'valid')]
    """

    def __init__(
        self,
        n_strings: int = 1200,
        min_length: int = 2,
        max_length: int = 24,
        nesting: Literal["trained", "held_out"] = "trained",
        strings_seed: int = 0,
    ) -> None:
        self.n_strings = n_strings
        self.min_length = min_length
        self.max_length = max_length
        self.nesting = nesting
        self.strings_seed = strings_seed

    def load(self) -> list[Item]:
        """One item per string."""
        lengths = self.min_length, self.max_length
        if not (2 <= self.min_length <= self.max_length <= MAX_LENGTH and self.max_length >= 2):
            raise DataError(
                f"got strings of {self.min_length} to {self.max_length} brackets; wanted 2 <= min_length <= max_length "
                f"<= {MAX_LENGTH}: change dataset.min_length or dataset.max_length"
            )
        if self.n_strings < 1:
            raise DataError(f"got n_strings={self.n_strings}; wanted at least 1: change dataset.n_strings")
        if self.nesting == "held_out" and self.max_length < 2 * len(HELD_OUT):
            raise DataError(
                f"got max_length={self.max_length}; wanted at least {2 * len(HELD_OUT)}, the shortest string with a "
                "nesting that is held out: raise dataset.max_length"
            )
        rng = np.random.default_rng([self.strings_seed, 9])
        write = generate if self.nesting == "trained" else held_out
        known: dict[str, Item] = {}
        for _ in range(N_TRIES):
            some = write(self.n_strings, rng, lengths)
            ends = label(some).validity[np.arange(len(some)), some.lengths - 1]
            for text, valid in zip(some.texts(), ends.tolist(), strict=True):
                known.setdefault(text, Item(text, relation="valid" if valid else "invalid"))
            if len(known) >= self.n_strings:
                return list(known.values())[: self.n_strings]
        raise DataError(
            f"got {len(known)} different strings of {self.min_length} to {self.max_length} brackets; wanted "
            f"{self.n_strings}: lower dataset.n_strings or raise dataset.max_length"
        )

    def describe(self) -> str:
        """For example ``1200 strings of 2 to 24 brackets``."""
        return f"{self.n_strings} strings of {self.min_length} to {self.max_length} brackets"
