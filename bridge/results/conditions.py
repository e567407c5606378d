"""Conditions: the estimate, and everything that is scored beside it for comparison."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

Kind = Literal["estimate", "negative", "baseline", "mark", "ceiling", "reference"]
# The order of every table, plot and legend.
KINDS: tuple[Kind, ...] = ("estimate", "negative", "baseline", "mark", "ceiling", "reference")
# A condition that names no look of its own takes the next of these.
COLORS = ("#d55e00", "#8c8c8c", "#56b4e9", "#0072b2", "#cc79a7", "#009e73", "#7f1d4e", "#6a9a12", "#000000", "#a6761d")
MARKERS = "ovsDPXhd^<"


@dataclass(frozen=True)
class Look:
    """How a condition is drawn; markers distinguish conditions without colour.

    Ceilings and references are dashed. Lines that often coincide start their dashes in each other's gaps, so that all
    stay visible.
    """

    color: str
    marker: str
    dash: tuple[float, ...] = ()
    start: float = 0.0
    width: float = 1.4


@dataclass(frozen=True)
class Condition:
    """One of the things that are scored on the same items.

    Attributes:
        name: as in every table.
        kind: the estimate itself; a negative control, which it must beat; a baseline, a simpler explanation of its
            score; a mark, which is shown for comparison and not tested; a ceiling, which it cannot pass; or a
            reference, which involves no map.
        rules_out: a sentence: what it rules out, or what it is.
        what: a short description, as a part of a sentence.
        drawn: whether it is made of random draws, whose range is reported.
        always: whether its task decides when it is scored, and not `control.names`.
        heading: the name over a narrow column; its lines are separated by line breaks.
        word: the name in a narrow field.
        spare: whether a narrow table leaves it out first.
        look: how it is drawn; None for the next free one.
        order: its place among those of its kind.
        comparable: whether its score as a share of the reference's score is meaningful.
    """

    name: str = ""
    kind: Kind = "negative"
    rules_out: str = ""
    drawn: bool = False
    always: bool = False
    heading: str = ""
    word: str = ""
    spare: bool = False
    look: Look | None = None
    order: int = 0
    what: str = ""
    comparable: bool = True

    @property
    def ranked(self) -> bool:
        """Whether the estimate is ranked among its draws: under the null hypothesis it is one more draw."""
        return self.drawn and self.kind == "negative"

    @property
    def tested(self) -> bool:
        """Whether the estimate is tested against it."""
        return self.kind in ("negative", "baseline")

    @property
    def faint(self) -> bool:
        """Whether it is drawn behind the others."""
        return self.kind in ("ceiling", "reference")


C = TypeVar("C", bound=Condition)


@dataclass(frozen=True)
class Conditions(Mapping[str, C], Generic[C]):
    """The conditions of a task, by name, in the order of every table and plot.

    Args:
        every: conditions, one of them the estimate.

    Example:
        >>> some = Conditions([Condition("chance", "negative"), Condition("fitted", "estimate")])
        >>> list(some), some.estimate, some.negatives
        (['fitted', 'chance'], 'fitted', ('chance',))
    """

    every: Iterable[C]
    _by_name: dict[str, C] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.every, key=lambda c: (KINDS.index(c.kind), c.order))
        object.__setattr__(self, "_by_name", {c.name: c for c in ordered})

    def __getitem__(self, name: str) -> C:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def of_kind(self, *kinds: Kind) -> tuple[str, ...]:
        """Names of those of some kinds."""
        return tuple(name for name, c in self.items() if c.kind in kinds)

    @property
    def estimate(self) -> str:
        """The name of the estimate."""
        (name,) = self.of_kind("estimate")
        return name

    @property
    def negatives(self) -> tuple[str, ...]:
        """Names of the negative controls."""
        return self.of_kind("negative")

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines."""
        return self.of_kind("baseline")

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names that `control.names` may hold, where a task uses the group `control`."""
        return tuple(name for name, c in self.items() if not c.always)

    @property
    def always(self) -> tuple[str, ...]:
        """Names of the conditions that are scored whatever `control.names` says."""
        return tuple(name for name, c in self.items() if c.always)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Some names, each once, in order."""
        some = set(names)
        return [name for name in self if name in some]

    def beside_negatives(self, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Scores without those that the estimate has and no negative control has.

        Args:
            scores: condition -> metric -> {mean, ...} of the same items.
        """
        others = {name: by_metric for name, by_metric in scores.items() if name != self.estimate}
        beside = {
            metric for name in self.negatives for metric, score in others.get(name, {}).items()
            if score["mean"] is not None
        }  # fmt: skip
        own = {metric: score for metric, score in scores.get(self.estimate, {}).items() if metric in beside}
        return {name: own if name == self.estimate else scores[name] for name in scores if own or name in others}

    def look(self, name: str) -> Look:
        """How a condition is drawn."""
        own = self[name].look
        if own is not None:
            return own
        place = list(self).index(name) % len(COLORS)
        dash = (5.0, 2.0) if self[name].faint else ()
        return Look(COLORS[place], MARKERS[place], dash, width=2.8 if self[name].kind == "estimate" else 1.4)
