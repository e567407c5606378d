"""Controls that are scored one by one give the numbers that they give together, in any order and in any process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from declared import point
from untrained import FAST, SMALL

import bridge.tasks.translate.cell
import bridge.tasks.translate.trial
from bridge.carry.carrier import Carrier
from bridge.config import compose_config
from bridge.controls.names import CONTROLS
from bridge.records.record import Record
from bridge.run import run
from bridge.session import Session

INJECTIONS = {
    "lm_head": ["layer=2"],
    "late_layer_same_prompt": ["layer=1"],
    "soft_prefix": ["layer=3", "injection.k=2"],
}
Cell = Callable[..., Record]


# Commands one after the other in one process, each with a session of its own.
COMMANDS = """
import json, sys
from bridge.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as stop:
        assert stop.code == 0, stop.code
"""
# Cells are composed once, however often they are computed.
composed = cache(compose_config)


@pytest.fixture
def cell(bare_outputs: Path) -> Cell:
    """Run a cell in a session of its own, or in a given one."""

    def compute(*overrides: str, session: Session | None = None) -> Record:
        config = deepcopy(composed(*SMALL, "recompute=true", *overrides))
        config.paths.outputs = str(bare_outputs)
        return run(config, session or Session(bare_outputs, "cpu", 64))

    return compute


def told(found: Record) -> dict[str, Any]:
    """All that a record says, but for how long it took and how far the checkout was."""
    data = json.loads((found.folder / "record.json").read_text())
    data = {k: v for k, v in data.items() if k not in ("wall_s", "commit", "dirty")}
    return data | {"items": found.items().to_pydict()}


@pytest.mark.parametrize("injection", INJECTIONS)
def test_neighbours_in_one_session_leave_the_records_that_fresh_sessions_leave(
    cell: Cell, bare_outputs: Path, injection: str
) -> None:
    setting = [f"injection={injection}", *INJECTIONS[injection], "control.n_draws=3"]
    names = ["fitted", "random", "shuffled", "mean", "same_model", "all"]
    alone = {name: told(cell(*setting, f"control={name}")) for name in names}
    mixed = [names[i] for i in torch.randperm(len(names), generator=torch.Generator().manual_seed(4)).tolist()]
    for order in (mixed, list(reversed(mixed))):
        session = Session(bare_outputs, "cpu", 64)
        for name in order:
            assert told(cell(*setting, f"control={name}", session=session)) == alone[name], name


def test_a_control_scores_the_same_alone_as_with_all_others(cell: Cell) -> None:
    every = told(cell("injection=late_layer", "layer=2"))
    whole = point(every)
    for name in CONTROLS:
        alone = told(cell("injection=late_layer", "layer=2", f"control={name}"))
        part = point(alone)
        shown = {name, "own_state", "native_source", "native_target"}
        assert part["scores"].keys() == shown
        assert part["scores"] == {n: whole["scores"][n] for n in shown}
        assert "explained_variance" in part["scores"][name]
        for label, answers in whole["parts"].items():
            assert part["parts"][label]["n_units"] == answers["n_units"]
            scores = part["parts"][label].get("scores", {})
            assert scores == {n: answers["scores"][n] for n in shown if "scores" in answers}
        assert part["parts"]["known"]["scores"].keys() == shown
        for same in ("gates", "fit", "layers", "warnings", "coverage", "absent", "chance"):
            assert alone[same] == every[same]
    fitted = told(cell("injection=late_layer", "layer=2", "control.names=[fitted,random]"))
    assert point(fitted)["contrasts"] == {
        n: whole["contrasts"][n] for n in ("random", "own_state", "native_source", "native_target")
    }


def test_a_session_that_saw_other_settings_first_leaves_the_record_of_another_process(
    cell: Cell, bare_outputs: Path
) -> None:
    session = Session(bare_outputs, "cpu", 64)
    settings = [
        [f"layer={layer}", f"injection={injection}", f"control={control}", *more]
        for layer in (3, 1)
        for injection in ("late_layer", "lm_head")
        for more in ([], ["dataset.size=15"], ["seed=1"])
        for control in ("random", "fitted")
    ]
    here = [told(cell(*overrides, session=session)) for overrides in settings]
    chosen = (5, len(settings) - 1)
    words = [[*SMALL, f"paths.outputs={bare_outputs}", "recompute=true", *settings[at]] for at in chosen]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    code = [sys.executable, "-c", COMMANDS, json.dumps(words)]
    subprocess.run(code, check=True, capture_output=True, cwd=bare_outputs, env=environment)
    for at in chosen:
        (folder,) = (p for p in (bare_outputs / "runs").iterdir() if p.name == here[at]["run_id"])
        there = told(Record(folder, {}))
        # How a path was written, and whether there is a terminal, is no result.
        for said in (there, here[at]):
            said.pop("config")
        assert there == here[at]


def test_the_words_of_a_state_are_those_read_before_it(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    carry = Carrier.carry

    def kept(self: Carrier, control: str, *given: Any) -> Any:
        if control == "bag_of_words":
            seen.append((self.fit_rows.source, given[3]))
        return carry(self, control, *given)

    monkeypatch.setattr(Carrier, "carry", kept)
    cell("injection=soft_prefix", "injection.k=3", "control=bag_of_words")
    ((fit, texts),) = seen
    assert len(texts) % 3 == 0
    wholes = texts[2::3]
    assert [text[:-1] for text in wholes] == texts[1::3]
    assert [text[:-2] for text in wholes] == texts[::3]
    # fit rows are at the end of their prompts in the same tokenizer, and no prompt is on both sides
    assert {text[0] for text in wholes} == {text[0] for text in fit}
    assert {text[-1] for text in wholes} <= {text[-1] for text in fit}
    assert not set(wholes) & set(fit)


def test_cells_that_differ_in_their_controls_alone_share_one_fit(cell: Cell, bare_outputs: Path, monkeypatch) -> None:
    fits: list[Carrier] = []
    carried: list[str] = []

    class Counted(Carrier):
        def __init__(self, *arguments: Any) -> None:
            fits.append(self)
            super().__init__(*arguments)

        def carry(self, control: str, *states: Any) -> Any:
            if self in fits:
                carried.append(control)
            return super().carry(control, *states)

    monkeypatch.setattr(bridge.tasks.translate.cell, "Carrier", Counted)
    session = Session(bare_outputs, "cpu", 64)
    for control in (*CONTROLS, "all", "random"):
        cell(f"control={control}", session=session)
    assert len(fits) == 1
    # Once for each control, and the fitted map once more on the rows it was fitted on.
    assert sorted(carried) == sorted([*CONTROLS, "fitted"])
    cell("control=random", "seed=1", session=session)
    cell("control=random", "control.n_draws=3", session=session)
    cell("control=random", "map=ridge", session=session)
    cell("control=random", "task.n_resamples=30", session=session)
    assert len(fits) == 5


def test_scores_do_not_depend_on_how_many_rows_are_decoded_at_once(cell: Cell, monkeypatch) -> None:
    words = ("injection=late_layer_same_prompt", "layer=2", "control.n_draws=5", "dataset.split.eval_size=24")
    whole = told(cell(*words))
    for logits, rows in ((1, 7), (5000, 1), (60000, 1)):
        monkeypatch.setattr(bridge.tasks.translate.trial, "LOGITS_AT_ONCE", logits)
        monkeypatch.setattr(bridge.tasks.translate.trial, "ROWS_AT_LEAST", rows)
        parts = told(cell(*words))
        assert parts["items"].keys() == whole["items"].keys()
        for name, values in parts["items"].items():
            if isinstance(values[0], float):
                assert values == pytest.approx(whole["items"][name], abs=1e-5), name
            else:
                assert values == whole["items"][name], name


def test_the_head_of_a_record_tells_whether_it_is_done(cell: Cell) -> None:
    assert list(told(cell()))[:4] == ["run_id", "record_version", "status", "inputs"]


def test_items_of_every_control_and_draw_stand_in_the_table(cell: Cell) -> None:
    table = told(cell("control=random", *FAST, "control.n_draws=3"))
    rows = list(zip(table["items"]["control"], table["items"]["draw"], table["items"]["item"], strict=True))
    m = point(table)["n"]
    wanted = [("random", draw, item) for draw in range(3) for item in range(m)]
    assert rows == wanted + [(name, 0, i) for name in ("own_state", "native_source", "native_target") for i in range(m)]
