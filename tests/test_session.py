"""What cells share in one process, and what may not be shared."""

import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from untrained import SMALL

from bridge.config import compose_config
from bridge.errors import DataError
from bridge.injection import LmHead
from bridge.records import record
from bridge.records.record import Record
from bridge.run import run
from bridge.session import Session
from bridge.tasks.translate.trial import Trial

Cell = Callable[..., Record]


@pytest.fixture
def cell(bare_outputs: Path) -> Cell:
    def compute(*overrides: str, session: Session) -> Record:
        return run(compose_config(*SMALL, f"paths.outputs={bare_outputs}", *overrides), session)

    return compute


def test_what_is_kept_is_made_once_and_let_go_before_another_is_made(bare_outputs: Path) -> None:
    class Large:
        pass

    session = Session(bare_outputs, "cpu", 64)
    first = session.cached("setting", "a", Large)
    assert session.cached("setting", "a", Large) is first
    assert session.cached("other", "a", Large) is not first
    gone = weakref.ref(first)
    del first

    def second() -> Large:
        assert gone() is None
        return Large()

    assert isinstance(session.cached("setting", "b", second), Large)


def test_nothing_is_kept_of_what_was_cut_off_in_the_making(bare_outputs: Path) -> None:
    session = Session(bare_outputs, "cpu", 64)

    def cut_off() -> int:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            session.cached("setting", "a", cut_off)
    assert session.cached("setting", "a", lambda: 3) == 3


def test_only_the_last_setting_stays_in_memory(cell: Cell, bare_outputs: Path, monkeypatch) -> None:
    alive: list[weakref.ref[Trial]] = []
    made = Trial.__init__

    def noted(self: Trial, **parts: object) -> None:
        alive.append(weakref.ref(self))
        made(self, **parts)

    monkeypatch.setattr(Trial, "__init__", noted)
    session = Session(bare_outputs, "cpu", 64)
    for layer in (1, 2, 3):
        cell(f"layer={layer}", "control=mean", session=session)
    assert [trial() is None for trial in alive] == [True, True, False]


def test_weights_that_change_under_a_living_session_are_seen(cell: Cell, bare_outputs: Path, tmp_path: Path) -> None:
    session = Session(bare_outputs, "cpu", 64)
    session.locate(compose_config(*SMALL).pair)
    for side, folder in (("source", "tiny-llama"), ("target", "tiny-mistral")):
        config = compose_config(*SMALL).pair
        shutil.copytree(session.path(getattr(config, side)), tmp_path / folder)
    words = ["pair=custom", "pair.source.name=" + str(tmp_path / "tiny-llama")]
    words += ["pair.target.name=" + str(tmp_path / "tiny-mistral"), "pair.neutral_prompt=Again"]

    def custom(session: Session) -> Record:
        plain = [w for w in SMALL if ".zoo." not in w]
        return run(compose_config(*plain, f"paths.outputs={bare_outputs}", *words, "control=random"), session)

    first = custom(session)
    assert custom(session).reused
    weights = tmp_path / "tiny-mistral" / "model.safetensors"
    save_file({name: 1.5 * tensor for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    second = custom(session)
    assert not second.reused
    assert second.data["inputs"]["target"] != first.data["inputs"]["target"]
    assert second.data["points"] != first.data["points"]
    shutil.rmtree(second.folder)
    assert custom(Session(bare_outputs, "cpu", 64)).data["points"] == second.data["points"]


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
def test_a_cell_that_is_cut_off_leaves_nothing_and_its_neighbours_nothing_wrong(
    cell: Cell, bare_outputs: Path, monkeypatch, stop: type[BaseException]
) -> None:
    expected = cell("control=shuffled", session=Session(bare_outputs, "cpu", 64)).data
    shutil.rmtree(bare_outputs / "runs")
    session = Session(bare_outputs, "cpu", 64)
    decode, left = LmHead.logits, 0

    def cut_off(self: LmHead, *arguments: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            raise stop
        return decode(self, *arguments)

    monkeypatch.setattr(LmHead, "logits", cut_off)
    # In what both models say; in the gates; and, what was done by then being kept, in the control itself.
    for n_calls in (2, 3, 2):
        left = n_calls
        with pytest.raises(stop):
            cell("control=shuffled", session=session)
        assert record.read_all(bare_outputs) == []
        assert [p.name for p in (bare_outputs / "runs").iterdir()] == [".locks"]
        free = f"from bridge.records import record; r = record.claimed({str(bare_outputs)!r}, {expected['run_id']!r}, False)"
        subprocess.run(
            [sys.executable, "-c", f"{free}; assert r.__enter__(); r.__exit__(None, None, None)"], check=True
        )
    monkeypatch.undo()
    found = json.loads((cell("control=shuffled", session=session).folder / "record.json").read_text())
    assert found["points"] == expected["points"]
    assert found["gates"] == expected["gates"]


def test_the_way_attention_is_computed_reaches_the_store_and_token_ids_do_as_texts(bare_outputs: Path) -> None:
    session = Session(bare_outputs, "cpu", 64)
    plain = compose_config(*SMALL).pair.source
    eager = replace(plain, attn_implementation="eager")
    session.locate(replace(compose_config(*SMALL).pair, source=plain, target=eager))
    (ids,) = session.model(eager).encode(["Again Paris gives"])
    for model in (plain, eager):
        session.states(model, [tuple(ids)], 1)
    metas = [json.loads(path.read_text()) for path in (bare_outputs / "activations").glob("*-layer1/meta.json")]
    assert sorted(str(meta["attn_implementation"]) for meta in metas) == ["None", "eager"]
    given, written = (session.states(eager, [text], 1) for text in (tuple(ids), "Again Paris gives"))
    assert given.equal(written)


def test_a_setting_that_cannot_be_fails_alone(cell: Cell, bare_outputs: Path) -> None:
    session = Session(bare_outputs, "cpu", 64)
    before = cell("control=mean", session=session)
    for control in ("mean", "random"):
        with pytest.raises(DataError, match="got a data set size of 5000"):
            cell("dataset.size=5000", f"control={control}", session=session)
    again = cell("control=mean", "recompute=true", session=session)
    assert again.data["points"] == before.data["points"]
    assert sorted(r.data["status"] for r in record.read_all(bare_outputs)) == ["done", "failed", "failed"]
