"""Rates over many simulations, with their intervals and the bands that they must lie in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.statistics.shares import share_interval

Kind = Literal["type1", "coverage", "family"]
NOMINAL: dict[Kind, float] = {"type1": 0.05, "coverage": 0.95, "family": 0.05}
# A family of dependent or discrete tests may well reject less often than nominal.
BANDS: dict[Kind, tuple[float, float]] = {"type1": (0.03, 0.07), "coverage": (0.92, 0.97), "family": (0.0, 0.07)}


@dataclass
class Rate:
    """How often something happened.

    Attributes:
        kind: type1 and family count rejections, coverage counts intervals with the truth inside.
        is_gated: whether the rate has to lie in the band of its kind; what is shown for contrast has not.
        has_floor: whether it must not be below that band; for what is exact, and so conservative.
        hits: how often it happened.
        n: simulations.
    """

    kind: Kind
    is_gated: bool = True
    has_floor: bool = False
    hits: int = 0
    n: int = 0

    @property
    def measured(self) -> float:
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the rate."""
        return share_interval(self.measured, self.n)

    @property
    def is_off(self) -> bool:
        """Whether the rate must lie in its band and does not."""
        low, high = BANDS[self.kind]
        return (self.is_gated and not low <= self.measured <= high) or (self.has_floor and self.measured < low)


class Rates:
    """Rates by name, counted simulation by simulation."""

    def __init__(self) -> None:
        self.by_name: dict[str, Rate] = {}

    def count(self, kind: Kind, name: str, hit: bool, is_gated: bool = True, has_floor: bool = False) -> None:
        rate = self.by_name.setdefault(name, Rate(kind, is_gated, has_floor))
        rate.hits += int(hit)
        rate.n += 1

    def covers(
        self, name: str, shown: Mapping[str, float], truth: float, is_gated: bool = True, has_floor: bool = False
    ) -> None:
        """Count whether a shown interval {low, high} holds the truth."""
        # The bounds of a score that never varies are its mean, to rounding.
        is_inside = shown["low"] - 1e-9 <= truth <= shown["high"] + 1e-9
        self.count("coverage", name, is_inside, is_gated, has_floor)

    def as_json(self) -> dict[str, dict[str, float | str]]:
        """name -> {kind, nominal, measured, low, high, n} of the gated rates."""
        return {
            name: {
                "kind": rate.kind,
                "nominal": NOMINAL[rate.kind],
                "measured": rate.measured,
                "low": rate.interval[0],
                "high": rate.interval[1],
                "n": rate.n,
            }
            for name, rate in self.by_name.items()
            if rate.is_gated
        }
