"""What a cell is computed from: its rows come from the right items, layers and models, and its scores from its own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from declared import point
from untrained import FAST, SMALL

import bridge.tasks.translate.cell
from bridge.config import compose_config
from bridge.data.items import Item
from bridge.data.rosetta import RosettaSet
from bridge.data.splitting import Split, split
from bridge.records.record import Record
from bridge.run import run
from bridge.session import Session
from bridge.tasks.translate.fit_facts import state_summary
from bridge.tasks.translate.rows import CellRows, cell_rows

LAYERS = {"source": 1, "target": 3, "n_source": 4, "n_target": 4}


@pytest.fixture(scope="module")
def session(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    outputs = tmp_path_factory.mktemp("rows")
    (outputs / "artefacts").symlink_to(untrained)
    return Session(outputs, "cpu", 64)


@pytest.fixture(scope="module")
def cell(session: Session) -> Callable[..., Record]:
    def compute(*overrides: str) -> Record:
        return run(compose_config(*SMALL, f"paths.outputs={session.outputs}", *overrides), session)

    return compute


def rows_of(session: Session, *overrides: str) -> tuple[CellRows, Split]:
    config = compose_config(*SMALL, f"paths.outputs={session.outputs}", *overrides)
    session.inputs(config)
    rosetta = session.rosetta(config)
    parts = split(rosetta.items, "item", 30, 0.4, None, 0)
    return cell_rows(config, session, rosetta, parts, LAYERS, 1), parts


def test_each_side_has_the_states_of_its_own_model_at_its_own_layer(session: Session) -> None:
    rows, parts = rows_of(session)
    config = compose_config(*SMALL)
    rosetta = session.rosetta(config)
    X = session.states(config.pair.source, rosetta.contexts_source, 1)
    Y = session.states(config.pair.target, rosetta.contexts_target, 3)
    assert torch.equal(rows.fit.X, X[parts.fit])
    assert torch.equal(rows.fit.Y, Y[parts.fit])
    assert torch.equal(rows.evaluation.X[:, -1], X[parts.eval])
    assert torch.equal(rows.evaluation.Y[:, -1], Y[parts.eval])
    assert torch.equal(rows.every[0], X)
    assert torch.equal(rows.every[1], Y)
    assert rows.fit.source == tuple(rosetta.contexts_source[i] for i in parts.fit.tolist())
    assert rows.evaluation.target == tuple(rosetta.contexts_target[i] for i in parts.eval.tolist())


def test_a_cell_of_two_different_layers_takes_each_side_at_its_own(cell: Callable[..., Record]) -> None:
    data = cell("layer.source=1", "layer.target=3", "injection=late_layer").data
    assert (data["layers"]["source"], data["layers"]["target"]) == (1, 3)
    # at another layer either side's states would not be what the model computes there
    assert data["gates"]["states"]["passed"]
    assert data["gates"]["drift"]["passed"]


def test_aligned_rows_are_those_of_fit_items_alone(session: Session) -> None:
    rows, parts = rows_of(session, "layer.position=aligned")
    rosetta = session.rosetta(compose_config(*SMALL))
    held = [rosetta.contexts_source[i] for i in parts.eval.tolist()]
    assert len(rows.fit) > 3 * len(parts.fit)
    assert set(rows.fit.groups.tolist()).isdisjoint(rows.evaluation.groups.tolist())
    fitted = {rosetta.contexts_source[i] for i in parts.fit.tolist()}
    # each row was read up to a place in the prompt of an item that is fitted on
    assert all(any(context[: len(text)] == text for context in fitted) for text in rows.fit.source)
    assert not set(rows.fit.source) & {context for context in held if context not in fitted}


def test_aligned_rows_pass_the_gates_that_read_their_texts(cell: Callable[..., Record]) -> None:
    gates = cell("layer.position=aligned", "layer=2", "injection=late_layer", "control.names=[fitted]").data["gates"]
    assert gates["states"]["passed"]
    assert gates["drift"]["passed"]


@pytest.fixture
def two_words(session: Session, tmp_path: Path) -> list[str]:
    """Overrides for items of which every other one has an answer of two words; the first words are few."""
    items = session.items(compose_config(*SMALL).dataset)[:80]
    ends = sorted({item.answer for item in items})
    rows = [
        {"prompt": item.prompt, "answer": item.answer if i % 2 else f"{item.answer} {ends[i % len(ends)]}"}
        for i, item in enumerate(items)
    ]
    (tmp_path / "items.json").write_text(json.dumps(rows))
    return [*FAST, f"paths.outputs={session.outputs}", "dataset=json", f"dataset.path={tmp_path / 'items.json'}"]


def test_the_items_are_another_set_where_other_answers_are_asked_for(session: Session, two_words: list[str]) -> None:
    config = compose_config(*two_words)
    session.inputs(config)
    one = session.rosetta(config)
    both = session.rosetta(compose_config(*two_words, "dataset.answers=any"))
    assert len(one.items) == 40
    assert len(both.items) == 80
    assert session.rosetta(config) is one


def test_explained_variance_is_about_the_mean_of_the_fit_rows() -> None:
    g = torch.Generator().manual_seed(0)
    Y = torch.randn(50, 4, generator=g, dtype=torch.float64) + 3.0
    fitted_mean = torch.zeros(4, dtype=torch.float64)
    # the mean of the fit rows explains nothing, whatever the mean of the eval rows
    scores, _ = state_summary(fitted_mean.expand(1, 50, 4), Y, fitted_mean)
    assert scores["explained_variance"]["mean"] == pytest.approx(0.0)
    eval_mean, _ = state_summary(Y.mean(0).expand(1, 50, 4), Y, fitted_mean)
    assert eval_mean["explained_variance"]["mean"] > 0.8


def test_the_mean_of_a_cell_explains_nothing_of_its_states(cell: Callable[..., Record]) -> None:
    data = cell("layer=2", "injection=late_layer", "control.names=[fitted,mean]").data
    assert point(data)["scores"]["mean"]["explained_variance"]["mean"] == pytest.approx(0.0, abs=1e-9)


def test_agreement_is_with_what_the_source_says_and_not_with_the_gold(cell: Callable[..., Record]) -> None:
    data = cell("layer=2", "injection=late_layer").data
    # a source that has learnt nothing agrees with itself, and is seldom right
    assert point(data)["scores"]["native_source"]["agreement"]["mean"] == 1.0
    assert point(data)["scores"]["native_source"]["top1"]["mean"] < 0.9


def test_an_answer_is_known_by_its_first_token_and_as_a_whole(
    session: Session, two_words: list[str], monkeypatch
) -> None:
    """Score by token and by answer: where an answer has several tokens its first may be fitted and the whole new."""
    made = {}
    parts = bridge.tasks.translate.cell._parts

    def noted(config, rosetta, chosen, answers):
        made.update(parts(config, rosetta, chosen, answers), rosetta=rosetta, chosen=chosen)
        return {name: made[name] for name in ("all", "new", "known")}

    monkeypatch.setattr(bridge.tasks.translate.cell, "_parts", noted)
    words = ["dataset.answers=any", "injection=late_layer", "layer=2", "dataset.size=20", "dataset.split.by=answer"]
    found = run(compose_config(*two_words, *words, "control.names=[fitted]"), session)
    rosetta, chosen, new, known = made["rosetta"], made["chosen"], made["new"], made["known"]
    tokens = {int(rosetta.gold_target[i]) for i in chosen.fit.tolist()}
    by_token = [int(rosetta.gold_target[i]) in tokens for i in chosen.eval.tolist()]
    token, whole = ("items", "token"), ("items", "whole")
    assert known.masks[token].tolist() == by_token
    assert new.masks[token].tolist() == [not is_known for is_known in by_token]
    # split by answer: no whole answer is known, and the first tokens of many are
    assert new.masks[whole].all()
    assert not known.masks[whole].any()
    assert 0 < sum(by_token) < len(by_token)
    items = found.items().to_pydict()
    assert items["known_token"][: len(by_token)] == by_token
    assert items["new_token"][: len(by_token)] == [not is_known for is_known in by_token]
    assert not any(items["known_whole"])
    assert all(items["new_whole"])
    assert set(items["point"]) == {0}


def six_facts() -> tuple[RosettaSet, Split]:
    """Two answers, three subjects and two relations, of which the last four items are evaluated on."""
    about = [("a", "r", "x"), ("b", "r", "y"), ("a", "r", "x"), ("a", "s", "x"), ("a", "r", "z"), ("b", "s", "y")]
    items = [Item(f"{i}", answer, relation, subject) for i, (answer, relation, subject) in enumerate(about)]
    gold, contexts = torch.tensor([int(item.answer == "b") for item in items]), [(i,) for i in range(6)]
    rosetta = RosettaSet(items, gold, gold, {}, [[g] for g in gold.tolist()], [[]] * 6, contexts, contexts)
    fit, held = torch.tensor([0, 1]), torch.tensor([2, 3, 4, 5])
    return rosetta, Split(fit, held, fit)


@pytest.mark.parametrize(
    ("unit", "numbers"),
    [("answer", [0, 0, 0, 1]), ("subject", [0, 0, 2, 1]), ("fact", [0, 3, 2, 4]), ("item", [2, 3, 4, 5])],
)
@pytest.mark.parametrize("by", ["item", "subject"])
def test_units_of_inference_are_those_asked_for_however_items_are_split(unit: str, numbers: list[int], by: str) -> None:
    config = compose_config(*FAST, f"dataset.unit={unit}", f"dataset.split.by={by}")
    for part in bridge.tasks.translate.cell._parts(config, *six_facts(), set()).values():
        assert part.units["items"].tolist() == numbers


def test_the_commonest_answer_is_that_of_the_items_evaluated_on() -> None:
    assert bridge.tasks.translate.cell._chance(*six_facts(), 5)["commonest_top1"] == 3 / 4
