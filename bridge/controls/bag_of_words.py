"""Baseline: token counts of the prompt in place of a model's states (bag of words)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.errors import FitError
from bridge.results.conditions import Kind, Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class BagOfWords(Control):
    """Counts of the prompt's tokens in place of the source's states; see `bridge.carry.counts`."""

    name: str = "bag_of_words"
    kind: Kind = "baseline"
    rules_out: str = (
        "that the words of the prompt would do, without a model that read them: counts of its tokens in place of the "
        "source's states, fitted alike"
    )
    fits: bool = True
    heading: str = "bag\nof\nwords"
    word: str = "words"
    what: str = "the prompt's tokens, counted"
    look: Look | None = Look("#5a3a22", "p", width=2.0)
    order: int = 2

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The counts, mapped by a map that is fitted on counts.

        Raises:
            FitError: rows without texts.
        """
        if rows.texts is None:
            raise FitError(
                "control bag_of_words has no texts; wanted the tokens that the source read at each row: give texts"
            )
        fit = carrier.fit_rows
        words, new = (carrier.bag_.states(texts).to(rows.X.device) for texts in (fit.source, rows.texts))
        return carrier.like(replace(fit, X=words)).carry("fitted", new, rows.Y)

    def why_absent(self, carrier: "Carrier") -> str | None:
        """Absent where all fit rows have the same counts."""
        if carrier.bag_.tells_apart(carrier.fit_rows.source):
            return None
        return "all fit rows have the same tokens, so there is nothing to tell apart"
