"""The ladder in a report: no rung stands without its controls."""

import re
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import write_cell

from bridge.errors import RecordError
from bridge.records.record import read_all
from bridge.report.document import render
from bridge.results.joining import comparisons
from bridge.results.ladders import Ladder, ladders
from bridge.tasks.translate.ladder_page import write_ladders


def rung(outputs: Path, map: dict[str, Any], rate: float, *, n: int = 100, **changes: Any) -> None:
    write_cell(outputs, n=n, rates={"fitted": rate}, map=map, **changes)


@pytest.fixture
def one(tmp_path: Path) -> Ladder:
    for n, gain in ((100, 0.0), (500, 0.1)):
        rung(tmp_path, {"name": "mlp", "depth": 1}, 0.7 + gain, n=n)
        rung(tmp_path, {"name": "orthogonal", "completion": "nearest"}, 0.5 + gain, n=n)
        rung(tmp_path, {"name": "lora", "rank": 4}, 0.3 + gain, n=n)
        rung(tmp_path, {"name": "lora", "rank": 8}, 0.2 + gain, n=n)
    (found,) = ladders(comparisons(read_all(tmp_path)))
    return found


def test_the_report_draws_the_ladder_with_its_controls_and_marks_what_is_invalid(tmp_path: Path) -> None:
    rung(tmp_path, {"name": "orthogonal"}, 0.5, failed_gate="pairing")
    for n in (100, 500):
        rung(tmp_path, {"name": "mlp_target"}, 0.6, n=n)
    html = render(read_all(tmp_path))
    section = html[html.index('<section id="ladder">') : html.index('<section id="best">')]
    new, plot = re.findall(r"<svg class=\"plot\".*?</svg>", section.partition("<details")[0], re.S)
    assert 0 < section.index("layer 4→4, new answers") < section.index("layer 4→4, all answers")
    assert ">mlp_target</text>" in new
    for name in ("orthogonal", "mlp_target", "shuffled_within", "shuffled", "random", "identity", "mean", "same_model"):
        assert f">{name}</text>" in plot, name
    assert "1 of 3 cells are dead or invalid (hollow)." in section
    assert '<a href="#ladder">ladder</a>' in html
    assert "−7.80" in section  # the uniform guess stands beside the log-probability
    assert render(read_all(tmp_path)) == html


@pytest.mark.parametrize(("name", "start"), [("ladder.svg", b"<?xml"), ("ladder.png", b"\x89PNG")])
def test_a_figure_of_ladders_is_the_same_bytes_twice(tmp_path: Path, one: Ladder, name: str, start: bytes) -> None:
    first = write_ladders([one, one], tmp_path / name).read_bytes()
    assert first.startswith(start)
    assert write_ladders([one, one], tmp_path / name).read_bytes() == first
    with pytest.raises(
        RecordError,
        match="no ladder to draw; wanted cells of at least two maps: run bridge experiment=interlingua first",
    ):
        write_ladders([], tmp_path / name)


def test_a_report_of_one_map_has_no_ladder(tmp_path: Path) -> None:
    rung(tmp_path, {"name": "orthogonal"}, 0.5)
    assert 'id="ladder"' not in render(read_all(tmp_path))
