"""Maps beside each other: what makes a ladder, what it is called, and that no rung stands without its controls."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_records import write_cell

from bridge.records.record import read_all
from bridge.results.joining import comparisons
from bridge.results.ladders import Ladder, hardest, ladders
from bridge.show.ladder_tables import ladder_table


def rung(outputs: Path, map: dict[str, Any], rate: float, *, n: int = 100, **changes: Any) -> None:
    write_cell(outputs, n=n, rates={"fitted": rate}, map=map, **changes)


@pytest.fixture
def one(tmp_path: Path) -> Ladder:
    for n, gain in ((100, 0.0), (500, 0.1)):
        rung(tmp_path, {"name": "mlp", "depth": 1}, 0.7 + gain, n=n)
        rung(tmp_path, {"name": "orthogonal", "completion": "nearest"}, 0.5 + gain, n=n)
        rung(tmp_path, {"name": "lora", "rank": 4}, 0.3 + gain, n=n)
        rung(tmp_path, {"name": "lora", "rank": 8}, 0.2 + gain, n=n)
    (ladder,) = ladders(comparisons(read_all(tmp_path)))
    return ladder


def test_maps_of_one_setting_are_one_ladder_in_the_order_of_the_plan(one: Ladder) -> None:
    assert [r.name for r in one.rungs] == ["orthogonal", "lora rank=4", "lora rank=8", "mlp"]
    assert one.places == [100, 500]
    assert one.title == "lm_head, layer 4→4, all answers"
    assert all([c.axes["n_fit"] for c in r.cells] == [100, 500] for r in one.rungs)
    assert one.rungs[0].at(500) is one.rungs[0].cells[1]
    assert one.rungs[0].at(7) is None


def test_other_layers_pairs_and_seeds_are_other_ladders_and_one_map_is_none(tmp_path: Path) -> None:
    for changes in ({}, {"layers": (2, 2)}, {"seed": 1}, {"pair__name": "other"}):
        for name in ("orthogonal", "linear"):
            rung(tmp_path, {"name": name}, 0.5, **changes)
    rung(tmp_path, {"name": "orthogonal"}, 0.5, injection__name="soft_prefix")
    ladder = ladders(comparisons(read_all(tmp_path)))
    assert [len(one.rungs) for one in ladder] == [2, 2, 2, 2]
    assert len({(one.pair, one.title) for one in ladder}) == 4
    assert any("seed=1" in one.title for one in ladder)


def test_a_ribbon_spans_what_a_control_has_beside_any_of_the_maps(one: Ladder) -> None:
    scores = [c.scores["shuffled_within"]["fraction_of_native"] for c in one.cells if c.axes["n_fit"] == 100]
    low, high = one.envelope("shuffled_within", 100) or (0.0, 0.0)
    assert (low, high) == (min(s["low"] for s in scores), max(s["high"] for s in scores))
    assert low < high
    assert one.envelope("gold_embedding", 100) is None


def test_every_share_on_the_terminal_stands_beside_its_hardest_control(one: Ladder) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ladder_table(one, 120))
    lines = console.export_text().splitlines()
    assert lines[0].startswith("tiny: tiny-llama → tiny-mistral, lm_head, layer 4→4")
    for r in one.rungs:
        (line,) = [line for line in lines if line.startswith(r.name)]
        cells = re.findall(r"(\d+) \[ *(\d+), *(\d+)\] \| +(\d+) +\d+([ ~x]|$)", line)
        assert len(cells) == 2
        for (share, low, high, control, _), c in zip(cells, r.cells, strict=True):
            score = c.scores["fitted"]["fraction_of_native"]
            assert [int(share), int(low), int(high)] == [round(100 * score[k]) for k in ("mean", "low", "high")]
            assert int(control) == round(100 * (hardest(c, one.metric) or ("", {"mean": -1}))[1]["mean"])


def test_an_invalid_cell_and_one_below_its_controls_are_marked(tmp_path: Path) -> None:
    rung(tmp_path, {"name": "orthogonal"}, 0.5, failed_gate="pairing")
    rung(tmp_path, {"name": "lora"}, 0.1)
    (one,) = ladders(comparisons(read_all(tmp_path)))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ladder_table(one, 120))
    text = console.export_text()
    assert re.search(r"orthogonal .*x$", text, re.M)
    assert re.search(r"lora .*~$", text, re.M)


def test_a_ladder_of_new_answers_holds_their_scores_alone(tmp_path: Path) -> None:
    for name in ("orthogonal", "linear"):
        write_cell(tmp_path, map={"name": name}, new_rates={"fitted": 0.1})
        write_cell(tmp_path, map={"name": name}, all_new=True, dataset__name="attributes")
    cells = comparisons(read_all(tmp_path))
    attributes, facts = sorted(ladders(cells, "new"), key=lambda one: one.title)
    assert attributes.title.endswith("dataset=attributes, new answers")
    for one, is_new in ((attributes, True), (facts, False)):
        for c in one.cells:
            assert c.is_all_headline == is_new
            assert c.scores == c.parts["new"]["scores"]
            assert c.sizes.startswith(f"{c.parts['new']['n']} items with new answers, ")
    (every,) = ladders(cells)
    assert every.title == "lm_head, layer 4→4, all answers"
