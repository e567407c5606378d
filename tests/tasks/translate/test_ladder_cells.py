"""Cells of the ladder: whole answers, all wordings, chance, cycles, and maps trained through the target."""

import math
from pathlib import Path
from typing import Any

import pytest
from declared import point
from untrained import SMALL, make_models

from bridge.config import compose_config, conf_dir
from bridge.errors import BridgeError, ConfigError, FitError
from bridge.maps.adapter import Adapter
from bridge.records.record import Record
from bridge.run import run
from bridge.session import Session

# Two widths that exceed the number of fit rows.
UNEQUAL = ("pair.source.zoo.width=48", "pair.target.zoo.width=64")


@pytest.fixture(scope="module")
def session(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    make_models(untrained, *UNEQUAL)
    outputs = tmp_path_factory.mktemp("ladder")
    (outputs / "artefacts").mkdir()
    (outputs / "artefacts" / "model").symlink_to(untrained / "model")
    return Session(outputs, "cpu", 64)


def cell(session: Session, *overrides: str) -> Record:
    return run(compose_config(*SMALL, f"paths.outputs={session.outputs}", *overrides), session)


LATE = ("injection=late_layer", "layer=2", "dataset.split.eval_size=12", "dataset.size=40")


def test_a_cell_says_what_chance_is_and_what_it_is_worth_to_go_there_and_back(session: Session) -> None:
    data = cell(session, *LATE).data
    chance, cycle = data["chance"], data["fit"]["cycle"]
    n_tokens = session.model(compose_config(*SMALL).pair.target).anatomy.vocab_size
    assert chance["uniform_logprob_nats"] == pytest.approx(-math.log(n_tokens))
    assert chance["uniform_logprob_nats"] < chance["prior_logprob_nats"] < 0
    answers = [row["answer"] for row in cell(session, *LATE).items().to_pylist() if row["control"] == "fitted"]
    assert chance["commonest_top1"] == max(answers.count(answer) for answer in answers) / len(answers)
    # A rotation comes back whatever the rows were, which only the permuted rows beside it can tell.
    assert cycle["relative_error"] == pytest.approx(cycle["permuted_relative_error"], abs=1e-6)
    linear = cell(session, *LATE, "map=linear").data["fit"]["cycle"]
    assert 0.01 < linear["relative_error"] < linear["permuted_relative_error"]
    assert data["fit"]["n_parameters"] == 32 * 31 // 2


@pytest.mark.parametrize("injection", ["late_layer", "soft_prefix"])
def test_answers_of_several_tokens_are_scored_whole_in_every_branch(session: Session, injection: str) -> None:
    # So small a vocabulary cuts most answers into pieces.
    words = ["dataset.answers=any", f"injection={injection}", "layer=2", "dataset.size=20", "dataset.split.eval_size=8"]
    data = cell(session, *words, "control.names=[fitted,shuffled]").data
    for name in ("fitted", "shuffled", "native_source", "native_target"):
        scores = point(data)["scores"][name]
        assert 0 <= scores["exact_match"]["mean"] <= scores["token_f1"]["mean"] <= 1
        assert scores["answer_logprob_nats"]["mean"] <= scores["logprob_nats"]["mean"] + 1e-6
    assert "token_f1" in point(data)["contrasts"]["shuffled"]
    assert ("gold_embedding" in point(data)["scores"]) == (injection == "soft_prefix")
    rows = cell(session, *words, "control.names=[fitted,shuffled]").items().to_pylist()
    assert all(row["token_f1"] is not None for row in rows)


def test_one_token_answers_have_no_whole_scores(session: Session) -> None:
    assert "token_f1" not in point(cell(session, *LATE).data)["scores"]["fitted"]


def test_every_wording_gives_more_rows_and_no_subject_is_on_both_sides(session: Session) -> None:
    words = ("dataset.wordings=all", "dataset.split.by=subject", "layer=2", "control.names=[fitted,mean]")
    record = cell(session, *words)
    once = cell(session, "layer=2", "control.names=[fitted,mean]")
    assert record.data["coverage"]["loaded"] > 4 * once.data["coverage"]["loaded"]
    evaluated = {row["subject"] for row in record.items().to_pylist()}
    items = session.items(compose_config(*SMALL, *words[:2]).dataset)
    assert 0 < sum(i.subject in evaluated for i in items) < len(items)
    assert point(record.data)["n"] == sum(i.subject in evaluated for i in items)
    with pytest.raises(
        ConfigError, match="dataset.wordings=all asks each fact several times.*give dataset.split.by=sub"
    ):
        compose_config("dataset.wordings=all")


def test_a_map_trained_through_the_target_says_so_and_so_do_its_controls(session: Session, monkeypatch: Any) -> None:
    from bridge.training import ThroughTarget

    trained: list[tuple[str, int]] = []
    own = ThroughTarget.fit

    def fit(self: Any, map: Any, source: Any, target: Any, X: Any, Y: Any, orders: Any) -> Any:
        trained.append(("target" if X is Y else "source", len(orders)))
        return own(self, map, source, target, X, Y, orders)

    monkeypatch.setattr(ThroughTarget, "fit", fit)
    data = cell(session, *LATE, "map=affine_target", "map.training.n_steps=20", "control.n_draws=3").data
    # The fitted map, the words and every draw of random states, the permuted cycles, every draw of both permutations, and the
    # ceiling; planted tests what is around the map.
    alone = [("source", 1)] * (1 + 1 + 3)
    assert sorted(trained) == [*alone, ("source", 2), ("source", 3), ("source", 3), ("target", 1)]
    training = data["fit"]["training"]
    assert training.keys() == {"n_steps", "best_step", "start_loss_nats", "held_loss_nats"}
    assert training["held_loss_nats"] <= training["start_loss_nats"]
    assert data["fit"]["solver"].endswith("then adamw through the target")
    assert data["gates"]["planted"]["passed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["map=orthogonal", "map.training.loss=target"], "Orthogonal cannot be trained through the target"),
        (["map=lora_target", "layer.position=aligned"], "layer.position=aligned gives many rows of one answer"),
        (["map=lora", "map.rank=33"], "rank"),
        (["map=ridge", "map.penalty=-1"], "ridge penalty is -1.0; wanted"),
        (["map=relative", "map.n_anchors=60", "dataset.size=20"], "anchors"),
        (["map=pca_orthogonal", "map.n_components=40"], "n_components"),
        (["map=linear_target", "map.training.lr=0"], "lr is 0.0"),
        (["dataset.answers=any", "injection=lm_head"], "LmHead decodes one token"),
    ],
)
def test_bad_input_gets_one_line(session: Session, words: list[str], message: str) -> None:
    with pytest.raises(BridgeError, match=message) as caught:
        cell(session, *words, "seed=5")
    assert "\n" not in str(caught.value)


OPTIONS = sorted({path.stem for path in (conf_dir() / "map").glob("*.yaml")} - {"saved"})
# What would take longer, or needs more rows than there are.
SMALLER = {"relative": ["map.n_anchors=16"], "mlp": ["map.n_steps=10"]}


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("option", OPTIONS)
def test_every_map_runs_between_models_of_unequal_widths(session: Session, option: str, direction: str) -> None:
    words = [*UNEQUAL, f"map={option}", f"direction={direction}", "map.training.n_steps=10"]
    words.append("control.names=[fitted,mean]")
    record = cell(session, *LATE, *words, *SMALLER.get(option.removesuffix("_target"), []))
    fit = record.data["fit"]
    assert (fit["d_source"], fit["d_target"]) == ((48, 64) if direction == "forward" else (64, 48))
    assert record.data["gates"]["planted"]["passed"]
    assert "training" in fit if option.endswith("_target") else "training" not in fit
    assert point(record.data)["scores"]["fitted"]["relative_error"]["mean"] > 0


def test_every_map_of_the_configuration_is_there() -> None:
    assert len(OPTIONS) == 16


def test_a_cell_leaves_its_map_for_other_programs_where_it_is_asked_to(session: Session) -> None:
    data = cell(session, *LATE, "map=lora_target", "map.training.n_steps=10", "task.save_map=true").data
    adapter = Adapter.load(data["map_folder"], {"source": "tiny-llama", "target": "tiny-mistral", "source_layer": 2})
    assert adapter.map.n_parameters_ == data["fit"]["n_parameters"]
    X = session.states(compose_config(*SMALL).pair.source, ["The capital of France is"], 2)
    assert adapter.transform(X).shape == (1, 32)
    with pytest.raises(FitError, match="was fitted for source=tiny-llama, got source=tiny-mistral"):
        Adapter.load(data["map_folder"], {"source": "tiny-mistral"})
    assert "map_folder" not in cell(session, *LATE).data
