"""Metrics: each declared once, with its name, unit, range and direction."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes:
        name: in records and exports.
        title: over a panel or an axis, with its unit.
        short: in a sentence or a narrow heading; the name where empty.
        unit: of its values; empty for a plain number.
        higher_is_better: which way is better.
        low: least value there can be; None where there is none.
        high: largest value there can be; None where there is none.
        heads: whether it heads tables, curves and verdicts; one metric of a task does.
        panel: whether it has panels of its own in a report.
        tabled: whether a report's table of all scores has it.
        binary: whether an item's score is 0 or 1.
        share: whether an item's score is a share in [0, 1] and 0 for a miss, so that rare hits need exact intervals.
        items: the table of its per-item scores; None where it has none.
        mask: the name of the table's mask that assigns items to parts; empty if the table has only one.
        share_of: the name of the metric that is divided by the reference's score; empty for a metric of its own.
        heading: over its column in the table of one cell; empty where it has none.
    """

    name: str
    title: str
    short: str = ""
    unit: str = ""
    higher_is_better: bool = True
    low: float | None = None
    high: float | None = None
    heads: bool = False
    panel: bool = False
    tabled: bool = False
    binary: bool = False
    share: bool = False
    items: str | None = "items"
    mask: str = ""
    share_of: str | None = None
    heading: str = ""

    @property
    def word(self) -> str:
        """Its name in a sentence."""
        return self.short or self.name

    @property
    def has_share(self) -> bool:
        """Whether rare hits have exact intervals."""
        return self.share or self.binary

    @property
    def is_unit(self) -> bool:
        """Whether it lies between 0 and 1."""
        return (self.low, self.high) == (0.0, 1.0)
