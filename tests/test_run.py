"""The whole way from a config to a record, on the two small models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from declared import NEGATIVES, point
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks.bench_gates import CHEAP, WEAK, settings
from bridge.config import compose_config, to_plain
from bridge.controls.names import CONTROLS
from bridge.errors import DataError
from bridge.records import record
from bridge.records.record import Record
from bridge.results.joining import comparisons
from bridge.run import _to_yaml, run
from bridge.session import Session

# Enough where no random control is asked about.
FEW = ("control.n_draws=2",)

Cell = Callable[..., Record]


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Session:
    """What all tests share that need no outputs folder of their own: models, states, records."""
    outputs = tmp_path_factory.mktemp("common") / "outputs"
    outputs.mkdir()
    (outputs / "artefacts").symlink_to(trained)
    return Session(outputs, "cpu", 64)


@pytest.fixture
def cell(common: Session) -> Cell:
    """A cell, computed for the first test that asks for it and read back for the others."""
    return in_session(common)


@pytest.fixture
def fresh(outputs: Path, common: Session) -> Cell:
    """A cell of an outputs folder of its own; only states are shared."""
    (common.outputs / "activations").mkdir(exist_ok=True)
    (outputs / "activations").symlink_to(common.outputs / "activations")
    return in_session(Session(outputs, "cpu", 64))


def in_session(own: Session) -> Cell:
    def compute(*overrides: str, session: Session = own) -> Record:
        return run(compose_config(f"paths.outputs={own.outputs}", *overrides), session)

    return compute


def top1(found: Record, control: str) -> float:
    return point(found.data)["scores"][control]["top1"]["mean"]


@pytest.mark.parametrize(
    "overrides",
    [[], ["injection=late_layer", "layer=3"], ["injection=late_layer", "layer=2"], ["injection=soft_prefix"]],
    ids=["lm_head", "late_layer-3", "late_layer-2", "soft_prefix"],
)
def test_a_fitted_map_stands_above_every_negative_control_and_below_the_ceiling(
    cell: Cell, overrides: list[str]
) -> None:
    found = cell(*overrides)
    (compared,) = comparisons([found])
    data = found.data
    if "injection=soft_prefix" in overrides:
        # Weaker in a model this small; what shows that it is alive at all is its ceiling.
        assert top1(found, "gold_embedding") > 0.9
    else:
        assert all(gate["passed"] for gate in data["gates"].values()), data["gates"]
        new, every = (compared.finding(part) for part in ("new", "all"))
        assert every.is_above
        assert every.baselines == {"lookup": False, "bag_of_words": True}
        above = "above every negative control, and above bag_of_words, but not above lookup"
        said = f"new answers: {new}; all answers: {above}"
        assert compared.verdict() == said
    for control in NEGATIVES:
        assert top1(found, "fitted") > point(data)["scores"][control]["top1"]["high"] + 0.1
        assert point(data)["contrasts"][control]["top1"]["p"] < 0.01
    assert top1(found, "fitted") < top1(found, "same_model") <= top1(found, "native_target") + 0.02
    assert top1(found, "own_state") >= top1(found, "same_model") - 0.02


def test_the_record_holds_what_a_reader_needs(fresh: Cell, outputs: Path) -> None:
    found = fresh("dataset.size=100")
    data = json.loads((found.folder / "record.json").read_text())
    assert data.keys() >= {
        *("run_id", "record_version", "status", "config", "points", "rank", "gates", "valid"),
        *("versions", "commit", "dirty", "wall_s", "coverage", "fit", "warnings", "absent", "layers", "chance"),
    }
    one = point(data)
    assert one.keys() == {"axes", "n", "n_units", "n_effective", "unit", "scores", "contrasts", "parts"}
    assert one["axes"] == {"layer": [4, 4], "n_fit": 100}
    assert (data["status"], data["rank"], data["record_version"]) == ("done", 99, 6)
    assert one["scores"].keys() >= {*CONTROLS, "own_state", "native_source", "native_target"}
    metrics = {"top1", "top5", "top10", "mrr", "logprob_nats", "agreement"}
    for control, scores in one["scores"].items():
        assert scores.keys() >= metrics, control
        assert all(s["low"] <= s["mean"] <= s["high"] for s in scores.values()), control
    for control in ("random", "shuffled", "shuffled_within"):
        assert one["scores"][control]["top1"]["n_draws"] == 20
    assert one["scores"]["fitted"]["kl_nats"]["mean"] > one["scores"]["native_target"]["kl_nats"]["mean"] == 0.0
    assert one["contrasts"].keys() == one["scores"].keys() - {"fitted"}
    assert data["gates"].keys() == {"states", "drift", "pairing", "known", "alive", "planted"}
    assert any("n=100 fit rows are fewer than d=128" in warning for warning in data["warnings"])
    assert 0 < data["fit"]["eval_variance_outside_span"] < 1
    assert data["fit"]["in_sample"]["explained_variance"] > one["scores"]["fitted"]["explained_variance"]["mean"]
    assert sum(part["n"] for part in one["parts"].values()) == one["n"]

    table = found.items()
    n_rows = (3 * 20 + 5 + 7 + 3) * one["n"]
    assert table.num_rows == n_rows
    rows = table.filter([c == "fitted" for c in table["control"].to_pylist()])
    assert sum(rows["top1"].to_pylist()) / len(rows) == pytest.approx(one["scores"]["fitted"]["top1"]["mean"])
    assert {p.name for p in found.folder.iterdir()} == {"record.json", "items.parquet", "config.yaml", "run.log"}
    assert [r.data["run_id"] for r in record.read_all(outputs)] == [data["run_id"]]


def test_answers_known_from_the_fit_and_new_ones_are_told_apart(cell: Cell) -> None:
    parts = point(cell().data)["parts"]
    known, new = ({n: parts[label]["scores"][n]["top1"]["mean"] for n in CONTROLS} for label in ("known", "new"))
    assert known["fitted"] > new["fitted"] + 0.3
    assert known["clustered"] > 0.5
    # a table, and states that are one for each answer, say nothing of an answer that they do not hold
    assert new["lookup"] < 0.05
    assert new["clustered"] < 0.05


def test_no_answer_is_on_both_sides_when_split_by_answer(cell: Cell) -> None:
    found = cell(*FEW, "dataset.split.by=answer", "dataset.size=300")
    assert point(found.data)["parts"]["known"] == {"n": 0, "n_units": 0}
    assert point(found.data)["parts"]["new"]["n"] == point(found.data)["n"]
    assert not any(found.items()["known_whole"].to_pylist())


def test_a_cell_is_computed_once_and_gives_the_same_numbers_again(fresh: Cell, outputs: Path) -> None:
    words = [*FEW, "dataset.size=60"]
    first = fresh(*words)
    again = fresh(*words)
    assert (first.reused, again.reused) == (False, True)
    assert again.data == json.loads((first.folder / "record.json").read_text())
    anew = fresh(*words, "recompute=true", "batch_size=7", session=Session(outputs, "cpu", 7))
    assert not anew.reused
    assert point(anew.data)["scores"] == point(first.data)["scores"]
    assert point(anew.data)["contrasts"] == point(first.data)["contrasts"]
    assert anew.items() == first.items()


class OutOfStep(Session):
    """Gives the rows of one model in another order: one late at every layer, or mixed before the final layer."""

    def __init__(self, outputs: Path, name: str, finals: bool) -> None:
        super().__init__(outputs, "cpu", 64)
        self.name, self.finals = name, finals

    def states(self, model: Any, texts: Any, layer: int, *arguments: Any, **named: Any) -> Tensor:
        states = super().states(model, texts, layer, *arguments, **named)
        if model.name != self.name:
            return states
        mixed = torch.randperm(len(states), generator=torch.Generator().manual_seed(5))
        return states.roll(1, 0) if self.finals else states[mixed] if layer < 4 else states


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-mistral"])
def test_rows_out_of_step_are_caught_by_a_gate(fresh: Cell, outputs: Path, name: str) -> None:
    one_late = fresh(*FEW, "dataset.size=200", session=OutOfStep(outputs, name, finals=True))
    assert not one_late.data["gates"]["states"]["passed"]
    assert not one_late.data["valid"]
    layer = [*FEW, "layer=3", "injection=late_layer", "dataset.size=200"]
    mixed = fresh(*layer, session=OutOfStep(outputs, name, finals=False))
    assert not mixed.data["gates"]["states"]["passed"]
    assert not mixed.data["gates"]["pairing"]["passed"]


def test_a_map_too_small_to_carry_much_is_not_taken_for_a_dead_way_in(cell: Cell) -> None:
    """``same_model`` is the ceiling of this map; whether the way in is alive is asked of the target's own state."""
    data = cell("map=reduced_rank", "map.rank=8", "injection=late_layer", "layer=3", *FEW).data
    assert (
        point(data)["scores"]["same_model"]["top1"]["mean"]
        < 0.5 * point(data)["scores"]["native_target"]["top1"]["mean"]
    )
    assert data["gates"]["alive"]["passed"]
    assert data["valid"]


def test_no_gate_refuses_a_sound_cell(cell: Cell) -> None:
    """A short form of ``python -m benchmarks gates``."""
    for words in settings(10, seed=1):
        gates = cell(*words, *CHEAP).data["gates"]
        # A soft prefix says little to models this small, and `alive` says so.
        allowed = {"alive"} if f"injection={WEAK}" in words else set()
        assert {name for name, gate in gates.items() if not gate["passed"]} <= allowed, (words, gates)


def test_a_single_shuffled_draw_cannot_pass_for_a_control(cell: Cell) -> None:
    (compared,) = comparisons([cell("control.n_draws=1")])
    assert compared.finding("all").unbeaten == ("random", "shuffled", "shuffled_within")
    assert "all answers: not above random, shuffled, shuffled_within" in compared.verdict()


def test_a_dead_strategy_says_so_itself(cell: Cell) -> None:
    (compared,) = comparisons([cell(*FEW, "injection=soft_prefix", "injection.template='The capital of {state} is'")])
    assert not compared.valid
    assert compared.verdict().startswith("dead: the target's own states, put in without a map, reach only ")


def test_controls_fanned_out_over_cells_join_to_the_scores_of_one_cell(cell: Cell) -> None:
    words = [*FEW, "dataset.size=200"]
    whole = cell(*words)
    parts = [cell(*words, f"control={name}") for name in CONTROLS]
    joined, single = comparisons(parts)[0], comparisons([whole])[0]
    assert len(comparisons(parts)) == 1
    for name in CONTROLS:
        assert joined.mean(name) == single.mean(name), name
        assert joined.mean(name, "logprob_nats") == single.mean(name, "logprob_nats"), name
    assert joined.contrasts.keys() == single.contrasts.keys()
    assert joined.contrasts["shuffled"]["top1"]["difference"] == pytest.approx(
        single.contrasts["shuffled"]["top1"]["difference"]
    )
    (alone,) = comparisons(parts[:1])
    assert set(alone.missing) == CONTROLS.keys() - {"fitted"}
    assert alone.verdict().startswith("fitted score not shown, because no negative control was scored beside it")
    pair = comparisons([parts[0], next(c for c in parts if "mean" in c.data["points"][0]["scores"])])[0]
    assert "all answers: open: no score yet for random, shuffled" in pair.verdict()


def test_the_same_prompt_leaks_and_the_neutral_one_does_not(cell: Cell) -> None:
    neutral = cell(*FEW, "injection=late_layer", "layer=1")
    same = cell(*FEW, "injection=late_layer_same_prompt", "layer=1")
    assert top1(neutral, "mean") < 0.05
    assert top1(same, "mean") > top1(neutral, "mean") + 0.05
    assert top1(same, "same_model") == top1(same, "native_target")


def test_aligned_positions_give_many_rows_of_one_prompt(cell: Cell) -> None:
    found = cell(*FEW, "layer.position=aligned", "dataset.size=50")
    assert point(found.data)["axes"]["n_fit"] == 50
    assert found.data["fit"]["n_rows"] > 200
    mean = cell(*FEW, "layer.position=mean", "dataset.size=50", "injection=late_layer", "layer=2")
    assert mean.data["fit"]["n_rows"] == 50


def test_several_states_can_enter_as_a_soft_prefix(cell: Cell) -> None:
    found = cell(*FEW, "injection=soft_prefix", "injection.k=3", "dataset.size=100")
    assert found.data["status"] == "done"


@pytest.mark.parametrize("map", ["linear", "ridge"])
def test_every_map_goes_the_whole_way(cell: Cell, map: str) -> None:
    found = cell(*FEW, f"map={map}")
    assert found.data["valid"], found.data["gates"]
    assert top1(found, "fitted") > top1(found, "shuffled") + 0.3


@pytest.mark.parametrize("normalize", ["l2", "frobenius", "none"])
def test_every_normalisation_gives_back_the_targets_scale(cell: Cell, normalize: str) -> None:
    found = cell(*FEW, f"normalize={normalize}")
    assert found.data["valid"], found.data["gates"]
    assert top1(found, "same_model") == top1(found, "native_target")
    assert top1(found, "fitted") > 0.4


def test_a_changed_data_file_is_computed_again_under_the_same_config(cell: Cell, tmp_path: Path) -> None:
    from bridge.data.sources import Facts

    path = tmp_path / "items.jsonl"

    def write(n: int) -> None:
        items = Facts().load()[:n]
        path.write_text(
            "".join(json.dumps({"prompt": i.prompt, "answer": i.answer, "relation": i.relation}) + "\n" for i in items)
        )

    overrides = ["dataset=json", f"dataset.path={path}", "control.n_draws=2"]
    write(100)
    first = cell(*overrides)
    write(120)
    second = run(compose_config(f"paths.outputs={first.folder.parents[1]}", *overrides))
    assert first.data["run_id"] == second.data["run_id"]
    assert (first.data["coverage"]["kept"], second.data["coverage"]["kept"]) == (100, 120)


@pytest.fixture(scope="module")
def soft_prefix() -> dict[str, Any]:
    return to_plain(compose_config("injection=soft_prefix", "layer=0.5"))


@pytest.mark.parametrize(
    "template",
    ["1e3 {state}", "yes", "1e3", "007", "null", "", "a: b # c", "{state}\n  - d", "${state}", "é\t'\"", "2020-01-01"],
)
def test_config_yaml_is_read_back_as_what_was_run(soft_prefix: dict[str, Any], template: str) -> None:
    config = soft_prefix | {"injection": soft_prefix["injection"] | {"template": template}}
    again = OmegaConf.create(_to_yaml(config))
    assert OmegaConf.to_container(again, resolve=False) == config


def test_a_failed_cell_leaves_its_traceback_and_is_run_again(fresh: Cell, outputs: Path) -> None:
    with pytest.raises(
        DataError, match=r"got a data set size of 5000; wanted 1 to \d+, as that many of 947 items are left to fit on"
    ):
        fresh("dataset.size=5000")
    (failed,) = record.read_all(outputs)
    assert failed.data["status"] == "failed"
    assert "DataError" in failed.data["traceback"]
    assert failed.data["error"].startswith("got a data set size of 5000")
    assert not (failed.folder / "items.parquet").exists()
    with pytest.raises(DataError):
        fresh("dataset.size=5000")


def test_a_recomputation_that_fails_loses_nothing(fresh: Cell, outputs: Path) -> None:
    class Unreachable(Session):
        def model(self, config: Any) -> Any:
            raise DataError("the model is not reachable today")

    words = [*FEW, "dataset.size=60"]
    first = fresh(*words)
    with pytest.raises(DataError, match="not reachable today"):
        fresh(*words, "recompute=true", session=Unreachable(outputs, "cpu", 64))
    assert record.read_all(outputs)[0].data == json.loads((first.folder / "record.json").read_text())
    assert fresh(*words).reused


def test_models_in_half_precision_pass_the_same_gates(cell: Cell) -> None:
    half = [f"pair.{side}.dtype=bfloat16" for side in ("source", "target")]
    found = cell(*FEW, *half, "layer=3", "injection=late_layer")
    assert found.data["valid"], found.data["gates"]
    assert found.data["gates"]["states"]["threshold"] == 4 * 2**-7
    assert cell(*FEW, "dataset.size=60").data["gates"]["states"]["threshold"] == 1e-4


def test_states_of_the_two_models_are_extracted_once_for_a_grid(outputs: Path) -> None:
    cell = in_session(Session(outputs, "cpu", 64))
    cell(*FEW, "layer=2", "dataset.size=60")
    entries = {p: p.stat().st_mtime_ns for p in (outputs / "activations").rglob("*.safetensors")}
    assert len(entries) == 10
    again = in_session(Session(outputs, "cpu", 64))
    again(*FEW, "layer=3", "dataset.size=100", "injection=late_layer")
    assert {p: p.stat().st_mtime_ns for p in (outputs / "activations").rglob("*.safetensors")} == entries


def test_library_use_needs_no_config() -> None:
    from bridge.maps.orthogonal import Orthogonal

    X = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    assert Orthogonal().fit(X, X).transform(X).shape == (20, 8)


def test_counts_that_are_the_same_for_all_items_are_absent(cell: Cell) -> None:
    found = cell(*FEW, "dataset=attributes_unseen_words", "dataset.size=40", "layer=2")
    assert found.data["absent"]["bag_of_words"] == "no eval item differs from another in words that a fit row has"
    assert "bag_of_words" not in point(found.data)["scores"]
    assert "bag_of_words" in point(cell(*FEW, "dataset=attributes", "dataset.size=40", "layer=2").data)["scores"]
