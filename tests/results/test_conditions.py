"""Conditions, metrics, axes: what a task declares, in the order and with the looks that all tables and plots share."""

import pytest
from declared import KINDS, METRICS, TASK

from bridge.controls.names import CONTROLS
from bridge.results.axes import Axis, PartOfItems
from bridge.results.conditions import COLORS, MARKERS, Condition, Conditions, Look
from bridge.results.metrics import Metric
from bridge.tasks.base import Task

SOME = Conditions(
    [
        Condition("own", "reference", always=True),
        Condition("top", "ceiling"),
        Condition("table", "baseline"),
        Condition("late", "negative", drawn=True, order=2),
        Condition("early", "negative", order=1),
        Condition("told", "mark", drawn=True),
        Condition("estimate", "estimate"),
    ]
)


def test_conditions_stand_by_kind_and_then_by_their_own_order() -> None:
    assert list(SOME) == ["estimate", "early", "late", "table", "told", "top", "own"]
    assert SOME.estimate == "estimate"
    assert (SOME.negatives, SOME.baselines) == (("early", "late"), ("table",))
    assert SOME.of_kind("ceiling", "reference") == ("top", "own")
    assert SOME.chosen == ("estimate", "early", "late", "table", "told", "top")
    assert SOME.always == ("own",)
    assert SOME.ordered(["own", "late", "own", "estimate", "unknown"]) == ["estimate", "late", "own"]
    assert (len(SOME), SOME["top"].kind, "nothing" in SOME) == (7, "ceiling", False)


def test_the_estimate_is_tested_against_negatives_and_baselines_and_ranked_among_draws_of_negatives_alone() -> None:
    assert [name for name, c in SOME.items() if c.tested] == ["early", "late", "table"]
    assert [name for name, c in SOME.items() if c.ranked] == ["late"]
    assert [name for name, c in SOME.items() if c.faint] == ["top", "own"]


def test_a_task_has_one_estimate() -> None:
    for every in ([Condition("a"), Condition("b")], [Condition("a", "estimate"), Condition("b", "estimate")]):
        with pytest.raises(ValueError, match="values to unpack"):
            _ = Conditions(every).estimate


def test_a_condition_that_names_no_look_takes_the_next_free_one_and_no_two_look_alike() -> None:
    looks = [SOME.look(name) for name in SOME]
    assert [(look.color, look.marker) for look in looks] == list(zip(COLORS, MARKERS, strict=True))[:7]
    assert [bool(look.dash) for look in looks] == [False] * 5 + [True] * 2
    assert [name for name in SOME if SOME.look(name).width > 2] == ["estimate"]
    own = Look("#123456", "+")
    assert Conditions([Condition("estimate", "estimate"), Condition("a", look=own)]).look("a") is own
    many = Conditions([Condition("estimate", "estimate"), *(Condition(f"c{i}", order=i) for i in range(12))])
    assert many.look("c11").color == COLORS[2]


def test_the_conditions_of_translate_are_every_control_and_what_is_always_scored() -> None:
    assert list(KINDS) == [
        *("fitted", "random", "shuffled", "shuffled_within", "identity", "mean", "lookup", "bag_of_words"),
        *("clustered", "same_model", "planted", "gold_embedding", "own_state", "native_source", "native_target"),
    ]
    assert KINDS.chosen == tuple(CONTROLS)
    assert KINDS.always == ("gold_embedding", "own_state", "native_source", "native_target")
    assert [name for name, c in KINDS.items() if c.ranked] == ["random", "shuffled", "shuffled_within"]
    looks = [KINDS.look(name) for name in KINDS]
    assert len({(look.color, look.marker) for look in looks}) == len(looks)
    assert len({look.color for look in looks}) == len(looks)


def test_a_metric_says_how_it_is_called_and_what_its_values_can_be() -> None:
    plain = Metric("drift", "drift of the documents")
    assert (plain.word, plain.has_share, plain.is_unit) == ("drift", False, False)
    hit = Metric("hit", "hits", "hit rate", low=0.0, high=1.0, binary=True)
    assert (hit.word, hit.has_share, hit.is_unit) == ("hit rate", True, True)
    assert Metric("f1", "F1", share=True).has_share
    assert not Metric("mrr", "MRR", low=0.0, high=1.0).has_share
    assert not Metric("gain", "gain", low=0.0, high=2.0).is_unit


def test_the_metrics_of_translate_have_one_head_and_say_which_way_is_better() -> None:
    assert TASK.head.name == "top1"
    assert {name for name, m in METRICS.items() if not m.higher_is_better} == {"kl_nats", "relative_error"}
    assert {name for name, m in METRICS.items() if m.has_share} == {
        "top1", "top5", "top10", "agreement", "token_f1", "exact_match",
    }  # fmt: skip
    assert {name: m.share_of for name, m in METRICS.items() if m.share_of} == {
        "fraction_of_native": "top1", "fraction_of_native_f1": "token_f1",
    }  # fmt: skip
    # Neither shares nor states have scores by item.
    assert {name for name, m in METRICS.items() if m.items is None} == {
        *("fraction_of_native", "fraction_of_native_f1", "explained_variance", "relative_error", "cosine"),
    }
    whole = ("answer_logprob_nats", "token_f1", "exact_match")
    assert all(m.mask == ("whole" if name in whole else "token") for name, m in METRICS.items() if m.items)


def test_places_on_an_axis_sort_and_are_written_as_in_every_table() -> None:
    layer = Axis("layer", "layer, source → target")
    assert layer.value({"layer": [10, 2]}) == (10, 2)
    assert layer.label({"layer": [10, 2]}) == "10→2"
    assert sorted([[10, 2], [9, 3]], key=lambda place: layer.value({"layer": place})) == [[9, 3], [10, 2]]
    assert (layer.word, Axis("n_fit", "rows", "n").word) == ("layer", "n")
    assert Axis("site", "site").label({"site": "mlp"}) == "mlp"


def test_what_a_task_derives_from_its_axes_and_parts() -> None:
    class Some(Task):
        axes = (Axis("dose", "dose"), Axis("step", "step", keys=("task.step",), searched=True))
        parts = (PartOfItems("hard", tested=True), PartOfItems("easy"))

    some = Some()
    assert (some.searched or Axis("", "")).name == "step"
    assert some.part_names == ("hard", "all")
    assert some.free == ("task.step", "control.names")
    assert Task().searched is None
    assert Task().part_names == ("all",)
