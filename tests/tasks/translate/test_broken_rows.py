"""The rows of a real cell, broken twenty times at random in each of many ways: the gates that look at states see it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from untrained import SMALL

from bridge.carry.rows import Rows
from bridge.config import compose_config
from bridge.data.splitting import split
from bridge.session import Session
from bridge.tasks.translate.gates import pairing_gate, state_gates
from bridge.tasks.translate.native import Side
from bridge.tasks.translate.rows import CellRows, cell_rows

TIMES = 20
LAYERS = {"source": 2, "target": 3, "n_source": 4, "n_target": 4}


@dataclass
class Cell:
    """The rows of one cell, each side's final states, and states of both models at every layer."""

    session: Session
    config: Any
    rows: CellRows
    native: dict[str, Side]
    parts: Any
    states: dict[str, list[Tensor]]

    def gates(self, rows: CellRows | None = None, native: dict[str, Side] | None = None, seed: int = 0) -> Any:
        rows, limits = rows or self.rows, self.config.task.gates
        sides = [
            (self.session.checker(getattr(self.config.pair, side)), LAYERS[side], side) for side in ("source", "target")
        ]
        return state_gates(sides, rows.fit, rows.evaluation, native or self.native, "last", seed, limits)


@pytest.fixture(scope="module")
def cell(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Cell:
    outputs = tmp_path_factory.mktemp("broken")
    (outputs / "artefacts").symlink_to(untrained)
    config = compose_config(*SMALL[:-1], f"paths.outputs={outputs}")
    session = Session(outputs, "cpu", 64)
    session.locate(config.pair)
    rosetta = session.rosetta(config)
    parts = split(rosetta.items, "item", 60, 0.4, 60, 0)
    rows = cell_rows(config, session, rosetta, parts, LAYERS, 1)
    native, states = {}, {}
    for side in ("source", "target"):
        model = getattr(config.pair, side)
        contexts = rosetta.contexts_source if side == "source" else rosetta.contexts_target
        states[side] = [session.states(model, contexts, layer) for layer in range(5)]
        own, final = [contexts[i] for i in parts.eval.tolist()], states[side][4][parts.eval]
        native[side] = Side(session.model(model), own, rosetta.gold_source[parts.eval], final)
    return Cell(session, config, rows, native, parts, states)


def test_sound_rows_are_let_through_whatever_the_seed(cell: Cell) -> None:
    for seed in range(5):
        gates = {**cell.gates(seed=seed), "pairing": pairing_gate(cell.rows.every, 0.005, seed)}
        assert all(gate["passed"] for gate in gates.values()), gates


def both(change: Callable[[Tensor], Tensor], rows: Rows, side: str) -> Rows:
    """Rows whose states of one side are changed, and whose texts are not."""
    return replace(rows, X=change(rows.X)) if side == "source" else replace(rows, Y=change(rows.Y))


def rolled(cell: Cell, states: Tensor, at: int, g: torch.Generator) -> Tensor:
    return states.roll((1, 2, 20, 301)[at % 4], 0)


def permuted(cell: Cell, states: Tensor, at: int, g: torch.Generator) -> Tensor:
    return states[torch.randperm(len(states), generator=g)]


def a_third_replaced(cell: Cell, states: Tensor, at: int, g: torch.Generator) -> Tensor:
    some = torch.randperm(len(states), generator=g)[: len(states) // 3]
    changed = states.clone()
    changed[some] = states[some.roll(1)]
    return changed


def noise_of_one_percent(cell: Cell, states: Tensor, at: int, g: torch.Generator) -> Tensor:
    noise = torch.randn(states.shape, generator=g).to(states)
    return states + 0.01 * states.norm(dim=-1, keepdim=True) * noise / noise.norm(dim=-1, keepdim=True)


def norm_doubled(cell: Cell, states: Tensor, at: int, g: torch.Generator) -> Tensor:
    return 2 * states


def one_feature_lost(cell: Cell, states: Tensor, at: int, g: torch.Generator) -> Tensor:
    changed = states.clone()
    changed[..., int(torch.randint(states.shape[-1], (), generator=g))] = 0
    return changed


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    "fault", [rolled, permuted, a_third_replaced, noise_of_one_percent, norm_doubled, one_feature_lost]
)
def test_states_that_are_not_those_of_their_texts_are_caught(cell: Cell, fault: Any, side: str) -> None:
    for at in range(TIMES):
        g = torch.Generator().manual_seed(at)
        where = {"fit": cell.rows.fit, "evaluation": cell.rows.evaluation}
        # of the fit, of the evaluation, or of both
        broken = [("fit", "evaluation"), ("fit",), ("evaluation",)][at % 3]
        for part in broken:
            where[part] = both(partial(fault, cell, at=at, g=g), where[part], side)
        gates = cell.gates(replace(cell.rows, **where), seed=at)
        assert not gates["drift"]["passed"]
        # a few rows are replayed, and a third of them may all be sound
        assert fault is a_third_replaced or not gates["states"]["passed"]


@pytest.mark.parametrize("side", ["source", "target"])
def test_states_of_another_layer_and_of_the_other_model_are_caught(cell: Cell, side: str) -> None:
    other = "target" if side == "source" else "source"
    wrong = [cell.states[side][layer] for layer in range(5) if layer != LAYERS[side]]
    wrong.append(cell.states[other][LAYERS[side]])
    for at, states in enumerate(wrong):
        rows = replace(
            cell.rows,
            fit=both(lambda _, s=states: s[cell.parts.fit], cell.rows.fit, side),
            evaluation=both(lambda _, s=states: s[cell.parts.eval][:, None], cell.rows.evaluation, side),
        )
        gates = cell.gates(rows, seed=at)
        assert not gates["states"]["passed"], at
        assert not gates["drift"]["passed"], at


def test_rows_whose_texts_moved_along_with_them_are_caught_by_pairing(cell: Cell) -> None:
    """States are those of their texts on either side, and only the two sides are out of step."""
    X, Y, relations = cell.rows.every
    for at in range(TIMES):
        fault = (rolled, permuted)[at % 2]
        moved = fault(cell, X, at, torch.Generator().manual_seed(at))
        assert not pairing_gate((moved, Y, relations), 0.005, at)["passed"], at


@pytest.mark.parametrize("side", ["source", "target"])
def test_final_states_that_are_wrong_from_some_item_on_are_caught(cell: Cell, side: str) -> None:
    """They decide what the models themselves are said to answer, whatever the cell's own layers."""
    for at in range(TIMES):
        own = cell.native[side]
        wrong = own.final_states.clone()
        wrong[16 + at :] = own.final_states[16 + at :].roll(1, 0)
        gates = cell.gates(native={**cell.native, side: replace(own, final_states=wrong)}, seed=at)
        assert not gates["drift"]["passed"], at


def test_stale_states_of_weights_that_have_changed_are_caught(cell: Cell) -> None:
    for side in ("source", "target"):
        lm = cell.session.model(getattr(cell.config.pair, side))
        head = lm.anatomy.blocks[0].mlp.down_proj.weight
        cell.session._checkers.clear()
        with torch.no_grad():
            head.mul_(1.01)
            try:
                gates = cell.gates()
            finally:
                head.div_(1.01)
        cell.session._checkers.clear()
        assert not gates["drift"]["passed"]
    assert all(gate["passed"] for gate in cell.gates().values())
