"""The reasons why a cell of task=translate is dead or invalid."""

from collections.abc import Mapping
from typing import Any


def gate_verdict(gates: Mapping[str, Mapping[str, Any]], native_top1: float | None) -> str | None:
    """The reason in words; None if every gate passed, or if the name of the failed gate is enough."""
    failed = [name for name, gate in gates.items() if not gate["passed"]]
    if not failed:
        return None
    if "known" in failed:
        if native_top1 == 0:
            return "dead: the target itself gets none of these items right"
        gate = gates["known"]
        return (
            f"dead: the target itself is right on {gate['value']:.0%} of the items, and the commonest answer on "
            f"{gate['threshold']:.0%}"
        )
    if "alive" in failed:
        value = gates["alive"]["value"]
        if value < gates["alive"]["threshold"]:
            return f"dead: the target's own states, put in without a map, reach only {value:.0%} of its native score"
        return f"invalid: the target's own states, put in without a map, reach {value:.0%} of its native score"
    if failed == ["pairing"]:
        gate = gates["pairing"]
        hardest = "permuted rows" if max(gate["p"], key=gate["p"].get) == "free" else "rows permuted inside relations"
        return (
            f"invalid: no evidence in {gate['n']} items that the rows of both models belong together "
            f"(p = {gate['value']:.2g} among {hardest}, wanted {gate['threshold']:.3g} at most); see whether "
            "the file's rows are in step, or give more items"
        )
    return None
