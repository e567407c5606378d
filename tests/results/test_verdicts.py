"""What may be concluded, in every combination, and from which p."""

from typing import Any

import pytest
from declared import BASELINES, KINDS, METRICS, NEGATIVES

from bridge.results.verdicts import Finding, finding, gate_verdict, is_beaten, p_of, units_note, wanted
from bridge.tasks.translate import verdicts

ENOUGH = {"n": 100, "n_units": 50}


def lead(difference: float = 0.3, p: float | None = 0.001, **more: float) -> dict[str, Any]:
    return {"difference": difference, "low": difference - 0.1, "high": difference + 0.1, "p": p, **more}


def beaten(contrast: dict[str, Any], metric: str = "top1") -> bool:
    return is_beaten(contrast, METRICS[metric])


def said_of(some: dict[str, Any], sizes: dict[str, int], absent: dict[str, str], metric: str = "top1") -> Finding:
    return finding(some, sizes, absent, KINDS, METRICS[metric])


def contrasts(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"top1": changes.get(name, lead())} for name in (*NEGATIVES, *BASELINES, "clustered", "same_model")}


@pytest.mark.parametrize(
    ("contrast", "p"),
    [
        (lead(p=0.01), 0.01),
        (lead(p=0.01, p_draws=0.2), 0.2),
        (lead(p=0.3, p_draws=0.2), 0.3),
        (lead(p=0.01, p_holm=0.04), 0.04),
        (lead(p=0.4, p_holm=0.04, p_exact=0.001), 0.04),
        (lead(p=0.01, p_draws=0.05, p_draws_family=0.3), 0.3),
        (lead(p=0.01, p_holm=0.04, p_draws=0.9, p_draws_family=0.03), 0.04),
        (lead(p=None), None),
        (lead(p=None, p_draws=0.05), None),
    ],
)
def test_a_verdict_goes_by_the_larger_p_corrected_where_it_was(contrast: dict[str, Any], p: float | None) -> None:
    assert p_of(contrast) == p


def test_above_is_a_positive_difference_and_p_at_most_five_in_a_hundred() -> None:
    assert beaten(lead(p=0.05, p_draws=0.05))
    assert not beaten(lead(p=0.0501))
    assert not beaten(lead(p=0.001, p_draws=1 / 19))
    assert not beaten(lead(difference=0.0))
    assert not beaten(lead(p=None))
    # No verdict beside an interval that holds zero.
    assert not beaten(lead(p=0.03) | {"low": -0.01})
    assert not beaten(lead(p=0.01) | {"low": 0.0})
    # The lower, the better.
    assert not beaten(lead(p=0.01), "kl_nats")
    assert beaten(lead(difference=-0.2, p=0.01), "kl_nats")


@pytest.mark.parametrize("name", [*NEGATIVES, *BASELINES])
def test_a_control_that_is_significantly_above_the_fitted_map_is_not_beaten(name: str) -> None:
    above = lead(-0.4, p=0.0001, p_holm=0.001, p_draws=0.05, p_draws_family=0.05)
    said = said_of(contrasts(**{name: above}), ENOUGH, {})
    assert said.unbeaten == ((name,) if name in NEGATIVES else ())
    assert said.baselines == {baseline: name != baseline for baseline in BASELINES}
    assert f"not above {name}" in str(said)


@pytest.mark.parametrize(
    ("said", "text", "is_above"),
    [
        (Finding(9, 8), "above every negative control", True),
        (Finding(9, 8, baselines={"lookup": True}), "above every negative control, and above lookup", True),
        (Finding(9, 8, baselines={"lookup": False}), "above every negative control, but not above lookup", True),
        (
            Finding(9, 8, baselines={"lookup": True, "bag_of_words": False}),
            "above every negative control, and above lookup, but not above bag_of_words",
            True,
        ),
        (
            Finding(9, 8, baselines={"lookup": False, "bag_of_words": False}),
            "above every negative control, but not above lookup or bag_of_words",
            True,
        ),
        (
            Finding(9, 8, unbeaten=("mean",), baselines={"lookup": True, "bag_of_words": False}),
            "not above mean, and not above bag_of_words, but above lookup",
            False,
        ),
        (Finding(9, 8, unbeaten=("mean",)), "not above mean", False),
        (
            Finding(9, 8, unbeaten=("mean", "random"), baselines={"lookup": True}),
            "not above mean, random, but above lookup",
            False,
        ),
        (Finding(9, 8, unbeaten=("mean",), baselines={"lookup": False}), "not above mean, and not above lookup", False),
        (
            Finding(9, 8, missing=("mean", "random"), baselines={"lookup": True}),
            "open: no score yet for mean, random",
            False,
        ),
        (Finding(9, 8, missing=("mean",), unbeaten=("random",)), "open: no score yet for mean", False),
        (Finding(9, 6), "above every negative control", True),
        (Finding(9, 5), "no test, only 5 units", False),
        (Finding(9, 1, baselines={"lookup": False}, unbeaten=NEGATIVES), "no test, only 1 unit", False),
        (Finding(0, 0, missing=NEGATIVES), "none", False),
    ],
    ids=str,
)
def test_what_is_said_of_some_items_in_every_combination(said: Finding, text: str, is_above: bool) -> None:
    assert str(said) == text
    assert said.is_above == is_above


def test_a_control_that_was_not_scored_is_missing_unless_it_cannot_mean_anything() -> None:
    some = {k: v for k, v in contrasts().items() if k not in ("shuffled_within", *BASELINES)}
    assert said_of(some, ENOUGH, {}).missing == ("shuffled_within",)
    said = said_of(some, ENOUGH, {"shuffled_within": "no labels"})
    assert (said.missing, said.unbeaten, said.baselines) == ((), (), {})
    assert said_of(contrasts(), ENOUGH, {}, metric="mrr").missing == NEGATIVES
    assert said_of({}, {"n": 4, "n_units": 3}, {}) == Finding(4, 3, missing=NEGATIVES)


def gates(**failed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    every: dict[str, dict[str, Any]] = {
        name: {"passed": True, "value": 0.0, "threshold": 0.05}
        for name in ("states", "drift", "pairing", "known", "alive", "planted")
    }
    return every | {name: {"passed": False, **gate} for name, gate in failed.items()}


@pytest.mark.parametrize(
    ("failed", "native", "text"),
    [
        ({}, 0.9, None),
        ({"states": {}}, 0.9, "invalid: gate states failed"),
        ({"drift": {}, "pairing": {}}, 0.9, "invalid: gate drift, pairing failed"),
        (
            {"pairing": {"value": 0.124, "threshold": 0.005, "n": 20, "p": {"free": 0.124}}},
            0.9,
            "invalid: no evidence in 20 items that the rows of both models belong together "
            "(p = 0.12 among permuted rows, wanted 0.005 at most); "
            "see whether the file's rows are in step, or give more items",
        ),
        (
            {"pairing": {"value": 0.3, "threshold": 0.005, "n": 20, "p": {"free": 0.002, "within": 0.3}}},
            0.9,
            "invalid: no evidence in 20 items that the rows of both models belong together "
            "(p = 0.3 among rows permuted inside relations, wanted 0.005 at most); "
            "see whether the file's rows are in step, or give more items",
        ),
        (
            {"known": {"value": 0.05, "threshold": 0.925}, "states": {}},
            0.05,
            "dead: the target itself is right on 5% of the items, and the commonest answer on 92%",
        ),
        (
            {"known": {"value": 0.0, "threshold": 0.02}, "alive": {"value": 0.0, "threshold": 0.8, "most": 1.25}},
            0.0,
            "dead: the target itself gets none of these items right",
        ),
        (
            {"alive": {"value": 0.14, "threshold": 0.8, "most": 1.25}, "pairing": {}},
            0.9,
            "dead: the target's own states, put in without a map, reach only 14% of its native score",
        ),
        (
            {"alive": {"value": 1.73, "threshold": 0.8, "most": 1.25}},
            0.5,
            "invalid: the target's own states, put in without a map, reach 173% of its native score",
        ),
    ],
    ids=str,
)
def test_a_failed_gate_is_said_before_all_else(
    failed: dict[str, dict[str, Any]], native: float, text: str | None
) -> None:
    some = gates(**failed)
    assert (verdicts.gate_verdict(some, native) or gate_verdict(some)) == text


def test_few_units_are_said_with_what_follows_from_them() -> None:
    assert units_note({"n_units": 20, "n_effective": 40.0, "unit": "answer"}) is None
    wide = "items of one unit depend on each other, so intervals are wide"
    assert units_note({"n_units": 19, "n_effective": 40.0, "unit": "answer"}) == f"only 19 units (answer): {wide}"
    assert units_note({"n_units": 6, "n_effective": 40.0, "unit": "fact"}) == f"only 6 units (fact): {wide}"
    assert (
        units_note({"n_units": 1, "n_effective": 40.0, "unit": "fact"})
        == f"only 1 unit (fact): {wide}, and no p is given below 6 units"
    )
    unequal = units_note({"n_units": 40, "n_effective": 1.94, "unit": "answer"})
    assert unequal is not None
    assert unequal.startswith("40 units (answer) of very unequal size, worth 1.9 of equal size: intervals are rough")
    assert wanted({"threshold": 0.3, "above": True}) == "> 0.3"


@pytest.mark.parametrize(("metric", "above"), [("top1", True), ("top10", True), ("logprob_nats", None)])
def test_only_shares_say_whether_a_map_is_above_the_baselines(metric: str, above: bool | None) -> None:
    some = {name: {metric: lead()} for name in (*NEGATIVES, *BASELINES)}
    baselines = said_of(some, ENOUGH, {}, metric).baselines
    assert baselines == ({} if above is None else dict.fromkeys(("lookup", "bag_of_words"), above))
