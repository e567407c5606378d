"""A report of a task that has neither models nor layers: two axes in one record, one of names, no parts of the items."""

import re
from pathlib import Path
from typing import Any

import pytest

from bridge.records import record
from bridge.records.record import read_all
from bridge.report.document import render
from bridge.results.axes import Axis
from bridge.results.conditions import Condition, Conditions
from bridge.results.curves import grids
from bridge.results.joining import comparisons
from bridge.results.metrics import Metric
from bridge.show import plots
from bridge.show.places import positions
from bridge.tasks import registry
from bridge.tasks.base import Task

DOSES, SITES = (1, 10, 100), ("early", "late")
DOSE = Axis("dose", "dose", noun="dose", log=True, searched=True)
SITE = Axis("site", "where it enters", noun="site")


class Toy(Task):
    name = "toy"
    question = "Does more of it do more?"
    uses = ("control",)
    metrics = (
        Metric("effect", "effect (nats)", "effect", "nats", heads=True, items=None),
        Metric("cost", "cost (nats)", "cost", "nats", False, panel=True, items=None),
    )
    conditions = Conditions(
        [
            Condition("steered", "estimate", "a direction that was found"),
            Condition("turned", "negative", "that any direction would do", drawn=True),
        ]
    )
    axes = (SITE, DOSE)
    gates = {"norm": "the direction has unit length"}  # noqa: RUF012


TOY = Toy()


class Point:
    @staticmethod
    def load() -> Task:
        return TOY


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_installed", lambda: {"toy": Point})


def effect(site: str, dose: int) -> float:
    return (12.25 if site == "late" else 0.5) * (1 + DOSES.index(dose))


def write_toy(outputs: Path, seed: int = 0, valid: bool = True) -> None:
    """One record with a point for each site and dose; only the late ones are above the drawn directions."""
    points = []
    for site in SITES:
        for dose in DOSES:
            mean, p = effect(site, dose), 0.001 if site == "late" else 0.4
            scores = {
                "steered": {"effect": {"mean": mean, "low": None, "high": None},
                            "cost": {"mean": 0.25, "low": None, "high": None}},
                "turned": {"effect": {"mean": 0.25, "low": -1.0, "high": 1.0, "n_draws": 99}},
            }  # fmt: skip
            contrast = {"difference": mean - 0.25, "low": None, "high": None, "p": p}
            points.append({
                "axes": {"site": site, "dose": dose}, "n": 40, "n_units": 40, "n_effective": 40.0, "unit": "prompt",
                "scores": scores, "contrasts": {"turned": {"effect": contrast}}, "parts": {},
            })  # fmt: skip
    config = {"task": {"name": "toy"}, "control": {"names": ["steered", "turned"], "n_draws": 99}, "seed": seed}
    data: dict[str, Any] = {
        "status": "done", "points": points, "absent": {}, "warnings": [], "inputs": {}, "valid": valid,
        "gates": {"norm": {"passed": valid, "value": 0.5, "threshold": 1.0}}, "config": config,
        "versions": {"bridge": "0.1.0"}, "commit": "0123456789", "dirty": False, "wall_s": 1.0,
    }  # fmt: skip
    record.write(outputs, registry.run_id(config), data, "", {}, "")


def sections(page: str) -> dict[str, str]:
    parts = page.split('<section id="')
    return {"": parts[0]} | {part.split('"')[0]: part for part in parts[1:]}


def test_every_section_is_made_from_the_declaration_of_the_task(tmp_path: Path) -> None:
    write_toy(tmp_path)
    page = render(read_all(tmp_path))
    assert re.findall(r'<section id="([\w-]+)">', page) == [
        "conditions", "best", "map", "plane", "over-dose", "over-site", "leads", "scores", "gates", "run",
    ]  # fmt: skip
    shown = sections(page)
    assert "Does more of it do more?" in shown[""]
    assert "1 cell finished (6 points), 1 valid" in shown[""]
    assert "Best of 6 valid points, so chosen after looking: site=late, dose 100." in shown[""]
    assert "effect: steered 36.75 against 0.25 [−1.00, 1.00] for turned" in shown[""]
    assert "Above every negative control in 3 of 6 valid points" in shown[""]
    assert "At the last site that has at least three quarters of the doses." in shown["over-dose"]
    # What no control was scored by is not shown.
    assert "cost" not in shown["over-dose"] + shown["scores"]
    assert shown["gates"].count("<td") == 6  # one row for the record, whatever its points
    for word in ("layer", "top-1", "fitted", "injection", "answers"):
        assert word not in re.sub(r"(?s)<style>.*?</style>", "", page).replace("share an answer", ""), word


def test_a_map_over_two_axes_has_the_score_in_each_field_bold_above_the_controls(tmp_path: Path) -> None:
    write_toy(tmp_path)
    own, hardest = re.findall(r"<figure.*?</figure>", sections(render(read_all(tmp_path)))["plane"], flags=re.DOTALL)
    texts = re.findall(r"<text[^>]*>([\d.]+)</text>", own)
    assert sorted(t for t in texts if "." in t) == sorted([".50", "1.00", "1.50", "12.25", "24.50", "36.75"])
    bold = re.findall(r'<text style="[^"]*(?:bold|700)[^"]*"[^>]*>([\d.]+)</text>', own)
    assert sorted(bold) == ["12.25", "24.50", "36.75"]
    assert re.findall(r"<text[^>]*>(\.\d\d)</text>", hardest) == [".25"] * 6
    assert all(f">{place}</text>" in own for place in (*SITES, *DOSES))


def test_where_a_gate_failed_no_number_stands_in_the_map(tmp_path: Path) -> None:
    write_toy(tmp_path, valid=False)
    own = sections(render(read_all(tmp_path)))["plane"].split("</figure>")[0]
    assert own.count(">×</text>") == 6
    assert ">36.75</text>" not in own


def test_numbers_stand_by_their_logarithm_and_names_side_by_side(tmp_path: Path) -> None:
    write_toy(tmp_path)
    (grid,) = grids(comparisons(read_all(tmp_path)))
    along = grid.along(DOSE)
    assert [c.axes for c in along] == [{"site": "late", "dose": dose} for dose in DOSES]
    assert positions(along, DOSE) == ([0.0, 1.0, 2.0], ["1", "10", "100"], "dose (log scale)")
    assert positions(grid.along(SITE), SITE) == ([0.0, 1.0], ["early", "late"], "where it enters")
    drawn = plots.curves(along, TOY.head, DOSE)
    assert "dose (log scale)" in drawn
    # The drawn control has a range, the estimate has no interval.
    assert drawn.count("fill-opacity") == 1


def test_two_tasks_stand_under_their_names(tmp_path: Path) -> None:
    from synthetic_records import write_cell

    write_toy(tmp_path)
    write_cell(tmp_path)
    page = render(read_all(tmp_path))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.index("<h2>task=toy</h2>") < page.index('<section id="toy-best">')
    assert page.index('<section id="toy-scores">') < page.index("<h2>task=translate</h2>")
    assert "1 cell of task=toy finished (6 points)" in page
    assert "1 cell of task=translate finished, 1 valid" in page
    links = re.findall(r'<a href="#([\w-]+)">', page[: page.index("</nav>")])
    assert links == re.findall(r'<section id="([\w-]+)">', page)
