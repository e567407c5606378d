"""Verdicts: whether the estimate is above the negative controls, and above the baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.results.conditions import Conditions
from bridge.results.metrics import Metric
from bridge.statistics.levels import ALPHA, FEW_UNITS, LEAST_UNITS

ABOVE = "above every negative control"


def p_of(contrast: Mapping[str, Any]) -> float | None:
    """The p of a verdict: the larger of the contrast's p and its rank among draws, both corrected.

    None where there are too few units for any p.
    """
    p = contrast.get("p_holm", contrast.get("p_searched", contrast["p"]))
    return None if p is None else max(p, contrast.get("p_draws_family", contrast.get("p_draws", 0.0)))


def is_beaten(contrast: Mapping[str, Any], metric: Metric) -> bool:
    """Whether the estimate is better than a condition: p at most 0.05, and an interval on its side of zero.

    Where few units differ, the interval is stricter than p, and a verdict must not contradict the interval beside it. A
    contrast without an interval is judged by the sign of its difference.
    """
    p = p_of(contrast)
    low, high = contrast["low"], contrast["high"]
    if low is None or high is None:
        low = high = contrast["difference"]
    if low is None:
        return False
    least = low if metric.higher_is_better else -high
    return bool(least > 0 and p is not None and p <= ALPHA)


@dataclass(frozen=True)
class Finding:
    """The finding on some of the eval items.

    Attributes:
        n: items.
        n_units: units.
        missing: negative controls that were not scored.
        unbeaten: negative controls that the fitted map is not above.
        baselines: baseline that was scored -> whether the fitted map is above it.
    """

    n: int
    n_units: int
    missing: tuple[str, ...] = ()
    unbeaten: tuple[str, ...] = ()
    baselines: Mapping[str, bool] = field(default_factory=dict)

    @property
    def is_tested(self) -> bool:
        """Whether there are enough units for any test."""
        return self.n_units >= LEAST_UNITS

    @property
    def is_above(self) -> bool:
        """Whether the fitted map is above every negative control."""
        return self.is_tested and not self.missing and not self.unbeaten

    def __str__(self) -> str:
        if self.n == 0:
            return "none"
        if not self.is_tested:
            return f"no test, only {counted(self.n_units, 'unit')}"
        if self.missing:
            return f"open: no score yet for {', '.join(self.missing)}"
        verdict = ABOVE if not self.unbeaten else f"not above {', '.join(self.unbeaten)}"
        was_above = not self.unbeaten
        for is_above in (True, False) if was_above else (False, True):
            if names := [name for name, above in self.baselines.items() if above == is_above]:
                joint = "and" if is_above == was_above else "but"
                text = f"above {' and '.join(names)}" if is_above else f"not above {' or '.join(names)}"
                verdict += f", {joint} {text}"
                was_above = is_above
        return verdict


def finding(
    contrasts: Mapping[str, Any],
    sizes: Mapping[str, int],
    absent: Mapping[str, str],
    conditions: Conditions[Any],
    metric: Metric,
) -> Finding:
    """The finding from the contrasts of one part of the items.

    Args:
        contrasts: condition -> metric -> {difference, p, ...}.
        sizes: n and n_units of the part.
        absent: conditions that were left out with a reason; they count neither as missing nor as beaten.
        conditions: those of the task.
        metric: which score.
    """
    scored = {name: contrasts[name][metric.name] for name in contrasts if metric.name in contrasts[name]}
    return Finding(
        n=sizes["n"],
        n_units=sizes["n_units"],
        missing=tuple(n for n in conditions.negatives if n not in scored and n not in absent),
        unbeaten=tuple(n for n in conditions.negatives if n in scored and not is_beaten(scored[n], metric)),
        # A baseline that is confidently wrong has so low a log-probability that anything is above it.
        baselines={n: is_beaten(scored[n], metric) for n in conditions.baselines if n in scored and metric.is_unit},
    )


def gate_verdict(gates: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The reason why a cell is invalid; None if every gate passed."""
    failed = [name for name, gate in gates.items() if not gate["passed"]]
    return f"invalid: gate {', '.join(failed)} failed" if failed else None


def wanted(gate: dict[str, Any]) -> str:
    """The condition that a gate puts on its value, in signs.

    Example:
        >>> wanted({"threshold": 0.05}), wanted({"threshold": 0.7, "most": 1.43})
        ('<= 0.05', '0.7 to 1.43')
    """
    if "most" in gate:
        return f"{gate['threshold']:.3g} to {gate['most']:.3g}"
    return f"{'>' if gate.get('above') else '<='} {gate['threshold']:.3g}"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "unit"), counted(6, "unit")
        ('1 unit', '6 units')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def units_note(point: Mapping[str, Any]) -> str | None:
    """A warning where a record's units are few, or a few of them hold most items; None otherwise.

    Args:
        point: of the record; `n_units`, `n_effective` (`bridge.statistics.units.effective_units`) and `unit` are read.
    """
    n_units, unit = point["n_units"], point["unit"]
    if n_units >= FEW_UNITS:
        if point["n_effective"] >= FEW_UNITS:
            return None
        return (
            f"{n_units} units ({unit}) of very unequal size, worth {point['n_effective']:.1f} of equal size: intervals "
            "are rough, and may be too narrow where large units differ from small ones"
        )
    few = f"only {counted(n_units, 'unit')} ({unit}): items of one unit depend on each other, so intervals are wide"
    return few if n_units >= LEAST_UNITS else f"{few}, and no p is given below {LEAST_UNITS} units"


def joined(parts: Sequence[str]) -> str:
    """Parts of a verdict in one line."""
    return "; ".join(part for part in parts if part)
