"""Every control and reference, and what it rules out or is."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["estimate", "negative", "baseline", "mark", "ceiling", "reference"]


@dataclass(frozen=True)
class Control:
    """A branch that is scored beside the others.

    `kind`: the estimate itself, a negative control that it must beat, a baseline (a simpler explanation of its score),
    a mark to read it against that is not tested, a ceiling that it cannot pass, or a reference that involves no map.
    `drawn`: made of random draws, whose range is reported.
    """

    name: str
    kind: Kind
    drawn: bool
    rules_out: str

    @property
    def ranked(self) -> bool:
        """Whether the fitted map would be one more of its draws, if it carried nothing."""
        return self.drawn and self.kind == "negative"


def _by_name(*controls: Control) -> dict[str, Control]:
    return {c.name: c for c in controls}


# Those a user can choose by `control.names`. The order is that of every table and plot.
CONTROLS: dict[str, Control] = _by_name(
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
    Control(
        "lookup",
        "baseline",
        False,
        "that a table of known answers would do: the target's mean state of the answer of the nearest fit rows",
    ),
    Control(
        "bag_of_words",
        "baseline",
        False,
        "that the words of the prompt would do, without a model that read them: counts of its tokens in place of the "
        "source's states, fitted alike",
    ),
    Control(
        "clustered",
        "mark",
        True,
        "that knowing which items share an answer would do: random states, one for each answer, in place of the "
        "source's, fitted alike. It is told the answers, so it is a mark to read a score against, not one to beat",
    ),
    Control(
        "same_model", "ceiling", False, "that the map is too small: the target's own states, same fit, same injection"
    ),
    Control(
        "planted",
        "ceiling",
        False,
        "that the pipeline is broken: the target's own states under a known Haar rotation, which the fit must undo",
    ),
)
# Scored in every cell, whatever was chosen.
REFERENCES: dict[str, Control] = _by_name(
    Control("own_state", "reference", False, "the target's own state put in without a map: is the injection alive?"),
    Control("native_source", "reference", False, "the source itself on the same items"),
    Control("native_target", "reference", False, "the target itself on the same items"),
    Control(
        "gold_embedding",
        "ceiling",
        False,
        "that a soft prefix can say nothing: the gold answer's own embedding in place of the mapped state",
    ),
)
KINDS: dict[str, Control] = {**CONTROLS, **REFERENCES}
NEGATIVES = tuple(c.name for c in CONTROLS.values() if c.kind == "negative")
BASELINES = tuple(c.name for c in CONTROLS.values() if c.kind == "baseline")
