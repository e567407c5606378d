"""Axes: the coordinates of the points of a task; and the parts of the items that a task scores apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Axis:
    """One coordinate of a point: a number, a name, or a pair such as source and target layer.

    Attributes:
        name: key in a point's `axes`.
        title: under a plot.
        heading: over a column.
        noun: one of its places, in a sentence.
        keys: config keys that set it; none where the points of one record differ in it.
        log: whether plots have a logarithmic scale.
        searched: whether the best place along it is searched for; at most one axis of a task is.
    """

    name: str
    title: str
    heading: str = ""
    noun: str = ""
    keys: tuple[str, ...] = ()
    log: bool = False
    searched: bool = False

    @property
    def word(self) -> str:
        """Its name over a column."""
        return self.heading or self.name

    @property
    def one(self) -> str:
        """The singular of its places, for a sentence."""
        return self.noun or self.word.replace("_", " ")

    @property
    def many(self) -> str:
        """The plural of its places, for a sentence; a word that ends in s stays as it is."""
        return self.one if self.one.endswith("s") else f"{self.one}s"

    def value(self, axes: Mapping[str, Any]) -> Any:
        """The place of a point, as something that sorts."""
        place = axes[self.name]
        return tuple(place) if isinstance(place, list) else place

    def label(self, axes: Mapping[str, Any]) -> str:
        """The place of a point, as in every table.

        Example:
            >>> Axis("layer", "layer").label({"layer": [2, 3]}), Axis("n_fit", "rows").label({"n_fit": 60})
            ('2→3', '60')
        """
        place = self.value(axes)
        return "→".join(map(str, place)) if isinstance(place, tuple) else str(place)


@dataclass(frozen=True)
class PartOfItems:
    """Some of the items of a point, scored apart.

    Attributes:
        name: in records, exports, tables and plots, before the noun of the task's items.
        what: a short description of its items.
        tested: whether verdicts are given on it.
    """

    name: str
    what: str = ""
    tested: bool = False
