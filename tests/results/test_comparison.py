"""A fitted score beside its controls, and what may be concluded from them."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
from declared import BASELINES, NEGATIVES, TASK
from synthetic_records import METRICS, N_ITEMS, NO_RELATIONS, RATES, write_cell, write_failed

from bridge.controls.names import CONTROLS
from bridge.records.record import Record
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.statistics.shares import share_interval

ALL_ABOVE = "above every negative control, and above lookup and bag_of_words"
WHOLE_TOO = (*METRICS, "token_f1", "exact_match")


def both(said: str) -> str:
    return f"new answers: {said}; all answers: {said}"


def told(outputs: Path, **made: object) -> str:
    (compared,) = comparisons([write_cell(outputs, **made)])  # type: ignore[arg-type]
    return compared.verdict()


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("n_units", [60, 5, 1])
def test_controls_fanned_out_over_cells_give_what_one_cell_gives(tmp_path: Path, seed: int, n_units: int) -> None:
    made = {"seed": seed, "n_units": n_units, "metrics": WHOLE_TOO}
    whole = comparisons([write_cell(tmp_path / "whole", **made)])[0]
    parts = [write_cell(tmp_path / "parts", controls=(name,), **made) for name in CONTROLS]
    for records in (parts, parts[::-1]):
        (joined,) = comparisons(records)
        assert joined.records[0].data["run_id"] in {p.data["run_id"] for p in parts}
        assert len(joined.records) == len(CONTROLS)
        assert joined.scores == whole.scores
        assert list(joined.scores) == list(whole.scores)
        assert joined.contrasts == whole.contrasts
        assert list(joined.contrasts) == list(whole.contrasts)
        assert joined.parts == whole.parts
        assert joined.missing == ()
        assert joined.verdict() == whole.verdict()
    assert {"p", "difference"} <= whole.contrasts["mean"]["token_f1"].keys()
    assert {"mean", "low", "high"} == whole.scores["mean"]["explained_variance"].keys()


def test_joined_cells_resample_by_their_own_seed(tmp_path: Path) -> None:
    parts = [write_cell(tmp_path, controls=(name,), seed=seed) for seed in (0, 3) for name in ("fitted", "mean")]
    first, second = (c.contrasts["mean"]["top1"] for c in comparisons(parts))
    assert first["difference"] == second["difference"]
    assert (first["low"], first["high"]) != (second["low"], second["high"])


def test_contrasts_between_cells_are_the_same_however_many_are_read_together(tmp_path: Path) -> None:
    parts = [write_cell(tmp_path, layers=(i, 4), controls=(name,)) for i in range(8) for name in ("fitted", "random")]
    together = comparisons(parts)
    for i, c in enumerate(together):
        (alone,) = comparisons(parts[2 * i : 2 * i + 2])
        assert list(alone.contrasts) == list(c.contrasts) == ["random", "own_state", "native_source", "native_target"]
        for name, by_metric in alone.contrasts.items():
            assert by_metric.keys() == c.contrasts[name].keys()
            for metric, contrast in by_metric.items():
                assert contrast == pytest.approx(c.contrasts[name][metric], rel=1e-12)
                assert {"difference", "low", "high", "p"} <= contrast.keys()


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
    assert TASK.setting({"injection": {"name": "late_layer", "context": "same"}}) == "late_layer (same prompt)"
    assert TASK.setting({"injection": {"name": "late_layer", "context": "neutral"}}) == "late_layer"
    assert TASK.setting({"injection": {"name": "lm_head"}}) == "lm_head"


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        ({}, both(ALL_ABOVE)),
        (
            {"failed_gate": "alive"},
            "dead: the target's own states, put in without a map, reach only 14% of its native score",
        ),
        (
            {"failed_gate": "known", "rates": {"native_target": 0.0}},
            "dead: the target itself gets none of these items right",
        ),
        ({"failed_gate": "states"}, "invalid: gate states failed"),
        ({"failed_gate": "planted"}, "invalid: gate planted failed"),
        ({"controls": ("random", "same_model")}, "no fitted score here; run control=fitted"),
        (
            {"controls": ("fitted",)},
            "fitted score not shown, because no negative control was scored beside it; run it with control=all",
        ),
        (
            {"controls": ("fitted", "random", "shuffled", "identity", "mean")},
            both("open: no score yet for shuffled_within"),
        ),
        ({"rates": {"shuffled_within": 0.7}}, both("not above shuffled_within, but above lookup and bag_of_words")),
        (
            {"rates": {"identity": 0.8, "mean": 0.7}},
            both("not above identity, mean, but above lookup and bag_of_words"),
        ),
        (
            {"rates": {"lookup": 0.7}},
            both("above every negative control, and above bag_of_words, but not above lookup"),
        ),
        ({"rates": {"clustered": 0.9}}, both(ALL_ABOVE)),
        (
            {"rates": dict.fromkeys(("fitted", *BASELINES, *NEGATIVES), 0.0)},
            both(f"not above {', '.join(NEGATIVES)}, and not above lookup or bag_of_words"),
        ),
        ({"controls": ("fitted", *NEGATIVES)}, both("above every negative control")),
        (
            {"absent": {"shuffled_within": NO_RELATIONS}},
            f"{both(ALL_ABOVE)}; no shuffled_within: {NO_RELATIONS}",
        ),
    ],
    ids=str,
)
def test_the_verdict_says_what_may_be_concluded(tmp_path: Path, made: dict[str, object], verdict: str) -> None:
    assert told(tmp_path, **made) == verdict


@pytest.mark.parametrize("name", [*NEGATIVES, *BASELINES])
def test_a_control_above_the_fitted_map_is_not_beaten_however_sure_that_is(tmp_path: Path, name: str) -> None:
    made = write_cell(tmp_path, rates={name: 0.98})
    lead = made.data["points"][0]["contrasts"][name]["top1"]
    assert lead["high"] < 0
    assert lead["p"] < 0.05
    (c,) = comparisons([made])
    assert f"not above {name}" in c.verdict().partition("; ")[2]
    assert c.finding().is_above == (name in BASELINES)


def test_new_answers_have_a_verdict_of_their_own_and_it_comes_first(tmp_path: Path) -> None:
    new = {"fitted": 0.02, "lookup": 0.0, "bag_of_words": 0.0, "shuffled_within": 0.0}
    (c,) = comparisons([write_cell(tmp_path, rates={"fitted": 0.9}, new_rates=new)])
    assert c.verdict() == (
        f"new answers: not above {', '.join(NEGATIVES)}, and not above lookup or bag_of_words; all answers: {ALL_ABOVE}"
    )
    assert (c.is_above, c.finding("new").is_above, c.finding("known").is_above) == (True, False, True)
    assert c.finding("new").n == c.parts["new"]["n"] < N_ITEMS
    assert c.parts["new"]["n_units"] + c.parts["known"]["n_units"] == c.point["n_units"]


def test_beating_the_mean_of_many_draws_is_not_enough(tmp_path: Path) -> None:
    made = write_cell(tmp_path)
    for contrasts in (made.data["points"][0]["contrasts"], made.data["points"][0]["parts"]["new"]["contrasts"]):
        assert contrasts["shuffled"]["top1"]["p"] < 0.05
        contrasts["shuffled"]["top1"]["p_draws"] = 0.3
    assert comparisons([made])[0].verdict() == both("not above shuffled, but above lookup and bag_of_words")


@pytest.mark.parametrize(("n_draws", "is_above"), [(18, False), (19, True)])
def test_nineteen_draws_are_enough_and_eighteen_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_draws: int, is_above: bool
) -> None:
    monkeypatch.setattr("synthetic_records.N_DRAWS", n_draws)
    assert (told(tmp_path) == both(ALL_ABOVE)) is is_above


def test_an_absent_control_is_neither_missing_nor_beaten_where_cells_are_joined(tmp_path: Path) -> None:
    absent = {"shuffled_within": NO_RELATIONS}
    parts = [write_cell(tmp_path, controls=(name,), absent=absent) for name in CONTROLS]
    (c,) = comparisons(parts)
    assert (c.missing, c.absent) == ((), absent)
    assert "shuffled_within" not in c.scores
    assert c.verdict() == f"{both(ALL_ABOVE)}; no shuffled_within: {NO_RELATIONS}"


@pytest.mark.parametrize("n_units", [1, 2, 5])
def test_below_six_units_there_are_scores_and_no_verdict(tmp_path: Path, n_units: int) -> None:
    made = [write_cell(tmp_path / "whole", n_units=n_units)]
    parts = [write_cell(tmp_path / "parts", n_units=n_units, controls=(name,)) for name in CONTROLS]
    for records in (made, parts):
        (c,) = comparisons(records)
        assert all(x["top1"]["p"] is None for x in c.contrasts.values())
        assert f"all answers: no test, only {n_units} unit" in c.verdict()
        assert not c.is_above
        (corrected,) = Family([c]).cells
        assert corrected.verdict() == c.verdict()
        assert "p_holm" not in corrected.contrasts["mean"]["top1"]
    new = c.parts["new"]
    assert ("scores" in new) == (new["n_units"] > 1)
    if n_units == 1:
        assert c.verdict().startswith("new answers: none; ")
        assert new == {"n": 0, "n_units": 0}


def test_no_success_at_all_is_shown_with_the_bound_of_its_units(tmp_path: Path) -> None:
    made: Record = write_cell(tmp_path, rates={"identity": 0.0})
    score = made.data["points"][0]["scores"]["identity"]["top1"]
    assert (score["mean"], score["low"]) == (0.0, 0.0)
    assert share_interval(0.0, N_ITEMS)[1] < score["high"] < 0.1


def test_a_failed_gate_of_any_cell_makes_the_comparison_invalid(tmp_path: Path) -> None:
    good = write_cell(tmp_path, controls=("fitted", "random", "shuffled"))
    bad = write_cell(
        tmp_path, controls=("shuffled_within", "identity", "mean", "lookup", "clustered"), failed_gate="pairing"
    )
    for order in ([good, bad], [bad, good]):
        (compared,) = comparisons(order)
        assert not compared.valid
        assert compared.verdict() == (
            "invalid: no evidence in 400 items that the rows of both models belong together "
            "(p = 0.3 among permuted rows, wanted 0.05 at most); see whether the file's rows are in step, or give more items"
        )


def test_the_mean_of_what_was_not_scored_is_none(tmp_path: Path) -> None:
    (compared,) = comparisons([write_cell(tmp_path, controls=("fitted", "mean"))])
    assert compared.mean("random") is None
    assert compared.mean("fitted", "nothing") is None
    assert compared.mean("fitted") == pytest.approx(RATES["fitted"], abs=0.2)


def test_a_comparison_can_be_looked_at_on_a_part_of_its_items(tmp_path: Path) -> None:
    (c,) = comparisons([write_cell(tmp_path, new_rates={"fitted": 0.3})])
    new = c.on("new")
    assert new is not None
    assert (new.part, new.scores, new.contrasts) == (
        "new",
        c.parts["new"]["scores"],
        c.parts["new"]["contrasts"],
    )
    assert new.contrasts["mean"]["top1"]["difference"] < c.contrasts["mean"]["top1"]["difference"]
    assert c.on("all") is c
    (other,) = comparisons([write_cell(tmp_path / "other", all_new=True)])
    assert other.on("known") is None
    assert not c.is_all_headline
    assert other.is_all_headline


def test_where_all_answers_are_new_there_is_one_verdict(tmp_path: Path) -> None:
    # The family of new answers has other members than that of all.
    made = [
        write_cell(tmp_path, all_new=True),
        *(write_cell(tmp_path, seed=i, new_rates={"fitted": 0.0}) for i in (1, 2)),
    ]
    (c,) = [c for c in Family(comparisons(made)).cells if c.is_all_headline]
    assert c.finding("all") == c.finding("new")
    assert c.verdict() == f"all answers are new: {c.finding('new')}"
    worse = {name: {m: x | {"p_holm": 1.0} for m, x in by.items()} for name, by in c.contrasts.items()}
    assert replace(c, contrasts=worse).finding("all").is_above == c.finding("new").is_above is True


def test_cells_of_other_weights_or_items_are_not_compared(tmp_path: Path) -> None:
    ours = write_cell(tmp_path, controls=("fitted",))
    theirs = write_cell(tmp_path, controls=NEGATIVES)
    (joined,) = comparisons([ours, theirs])
    assert joined.is_above
    theirs = replace(theirs, data=copy.deepcopy(theirs.data) | {"inputs": {"source": "other", "items": "other"}})
    apart = comparisons([ours, theirs])
    assert len(apart) == 2
    assert not any(c.has_estimate for c in apart)


def test_the_estimate_is_withheld_by_metric_and_by_part(tmp_path: Path) -> None:
    made = write_cell(tmp_path, controls=("fitted", "random", "lookup"), metrics=("top1", "mrr", "top5"))
    data = copy.deepcopy(made.data)
    (point,) = data["points"]
    del point["scores"]["random"]["mrr"]
    point["scores"]["random"]["top5"]["mean"] = None
    del point["parts"]["new"]["scores"]["random"]
    (c,) = comparisons([replace(made, data=data)])
    assert set(c.scores["fitted"]) == {"top1", "fraction_of_native", "explained_variance"}
    assert all(set(x) <= {"top1"} for x in c.contrasts.values())
    assert "fitted" not in c.scores_of("new")
    assert c.contrasts_of("new") == {}
    assert {"top1", "mrr", "top5"} <= set(c.scores_of("known")["fitted"])
    flat = TASK.flat(data)
    assert [name for name in flat if name.endswith("_new/fitted")] == []
    assert "mrr_known/fitted" in flat
    assert "mrr/fitted" not in flat
    assert "mrr/lookup" in flat
