"""A fitted score beside its controls, and what may be concluded from them."""

from pathlib import Path

import pytest
from synthetic_records import RATES, write_cell, write_failed

from bridge.comparison import comparisons, injection_label
from bridge.controls import CONTROLS

NEGATIVES = ("random", "shuffled", "shuffled_within", "identity", "mean")


def test_cells_that_differ_in_their_controls_alone_are_joined(tmp_path: Path) -> None:
    whole = comparisons([write_cell(tmp_path / "whole")])[0]
    parts = [write_cell(tmp_path / "parts", controls=(name,)) for name in CONTROLS]
    (joined,) = comparisons(parts)
    assert joined.records[0].data["run_id"] in {p.data["run_id"] for p in parts}
    assert len(joined.records) == len(CONTROLS)
    assert list(joined.scores) == list(whole.scores)
    for name in joined.scores:
        assert joined.mean(name) == whole.mean(name), name
        assert joined.scores_by_answer["seen"]["scores"][name] == whole.scores_by_answer["seen"]["scores"][name]
        if name != "fitted":
            for metric, found in whole.contrasts[name].items():
                assert joined.contrasts[name][metric]["difference"] == pytest.approx(found["difference"])
                assert joined.contrasts[name][metric].get("p_draws") == found.get("p_draws")
    assert joined.missing == ()
    assert joined.verdict() == whole.verdict() == "above every negative control"


def test_contrasts_between_cells_are_the_same_however_many_are_read_together(tmp_path: Path) -> None:
    parts = [write_cell(tmp_path, layers=(i, 4), controls=(name,)) for i in range(20) for name in ("fitted", "random")]
    together = comparisons(parts)
    for i, c in enumerate(together):
        (alone,) = comparisons(parts[2 * i : 2 * i + 2])
        assert list(alone.contrasts) == list(c.contrasts) == ["random", "native_source", "native_target"]
        for name, by_metric in alone.contrasts.items():
            assert by_metric.keys() == c.contrasts[name].keys()
            for metric, found in by_metric.items():
                assert found == pytest.approx(c.contrasts[name][metric], rel=1e-12)
                assert {"difference", "low", "high", "p"} <= found.keys()


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"map__name": "ridge"}, {"dataset__size": 7}, {"control__n_draws": 3}, {"injection": {"name": "x"}}],
    ids=str,
)
def test_cells_that_differ_in_anything_else_are_not(tmp_path: Path, change: dict[str, object]) -> None:
    n = {"n": change.pop("dataset__size")} if "dataset__size" in change else {}
    found = [write_cell(tmp_path, controls=("fitted",)), write_cell(tmp_path, controls=("random",), **n, **change)]  # type: ignore[arg-type]
    assert len(comparisons(found)) == 2


@pytest.mark.parametrize("where", ["tracker__name", "paths__outputs", "device", "batch_size", "recompute"])
def test_what_changes_no_result_parts_no_comparison(tmp_path: Path, where: str) -> None:
    found = [write_cell(tmp_path, controls=("fitted",)), write_cell(tmp_path, controls=("random",), **{where: "other"})]
    assert len(comparisons(found)) == 1


def test_failed_cells_are_left_out_and_the_rest_is_in_order(tmp_path: Path) -> None:
    made = [
        write_cell(tmp_path, layers=(10, 12)),
        write_cell(tmp_path, layers=(2, 4), n=200),
        write_failed(tmp_path, "no", "Traceback"),
        write_cell(tmp_path, layers=(2, 4), n=60),
        write_cell(tmp_path, layers=(3, 3), injection={"name": "late_layer", "context": "same"}),
    ]
    assert [c.label for c in comparisons(made)] == [
        "layer 3→3, late_layer (same prompt), n=100",
        "layer 2→4, lm_head, n=60",
        "layer 2→4, lm_head, n=200",
        "layer 10→12, lm_head, n=100",
    ]


def test_a_same_prompt_injection_is_named_as_what_leaks() -> None:
    assert injection_label({"injection": {"name": "late_layer", "context": "same"}}) == "late_layer (same prompt)"
    assert injection_label({"injection": {"name": "late_layer", "context": "neutral"}}) == "late_layer"
    assert injection_label({"injection": {"name": "lm_head"}}) == "lm_head"


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        ({}, "above every negative control"),
        ({"failed_gate": "same_model"}, "dead: the target's own states reach only 14% of its native score this way"),
        (
            {"failed_gate": "same_model", "rates": {"native_target": 0.0}},
            "dead: the target itself gets none of these items right",
        ),
        ({"failed_gate": "decode"}, "invalid: gate decode failed"),
        ({"failed_gate": "planted"}, "invalid: gate planted failed"),
        ({"controls": ("random", "same_model")}, "no fitted score here; run control=fitted"),
        (
            {"controls": ("fitted",)},
            "open: no score yet for random, shuffled, shuffled_within, identity, mean",
        ),
        ({"controls": ("fitted", "random", "shuffled", "identity", "mean")}, "open: no score yet for shuffled_within"),
        ({"rates": {"shuffled_within": 0.7}}, "not above shuffled_within"),
        ({"rates": {"identity": 0.8, "mean": 0.7}}, "not above identity, mean"),
        ({"rates": dict.fromkeys(("fitted", *NEGATIVES), 0.0)}, f"not above {', '.join(NEGATIVES)}"),
        ({"controls": ("fitted", *NEGATIVES)}, "above every negative control"),
    ],
    ids=str,
)
def test_the_verdict_says_what_may_be_concluded(tmp_path: Path, made: dict[str, object], verdict: str) -> None:
    (compared,) = comparisons([write_cell(tmp_path, **made)])  # type: ignore[arg-type]
    assert compared.verdict() == verdict
    assert compared.valid == ("failed_gate" not in made)


def test_beating_the_mean_of_many_draws_is_not_enough(tmp_path: Path) -> None:
    found = write_cell(tmp_path)
    found.data["contrasts"]["shuffled"]["top1"]["p_draws"] = 0.3
    assert found.data["contrasts"]["shuffled"]["top1"]["p"] < 0.05
    assert comparisons([found])[0].verdict() == "not above shuffled"


def test_a_failed_gate_of_any_cell_makes_the_comparison_invalid(tmp_path: Path) -> None:
    good = write_cell(tmp_path, controls=("fitted", "random", "shuffled"))
    bad = write_cell(tmp_path, controls=("shuffled_within", "identity", "mean"), failed_gate="pairing")
    for order in ([good, bad], [bad, good]):
        (compared,) = comparisons(order)
        assert not compared.valid
        assert compared.verdict() == "invalid: gate pairing failed"


def test_the_mean_of_what_was_not_scored_is_none(tmp_path: Path) -> None:
    (compared,) = comparisons([write_cell(tmp_path, controls=("fitted",))])
    assert compared.mean("random") is None
    assert compared.mean("fitted", "nothing") is None
    assert compared.mean("fitted") == pytest.approx(RATES["fitted"], abs=0.2)
