"""Small records of a task that has neither models nor layers: two doses in one record, two kinds of items."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bridge.records import record
from bridge.records.record import Record
from bridge.results.axes import Axis, PartOfItems
from bridge.results.conditions import Condition, Conditions
from bridge.results.metrics import Metric
from bridge.results.points import PointScores, Result, result_of
from bridge.results.scores import Branch, Part
from bridge.tasks import registry
from bridge.tasks.base import Task

DOSES = (0.5, 1.0)
# Queries come in units of three, documents in units of two; half of the queries are hard.
N_QUERIES, N_DOCUMENTS, N_DRAWS = 60, 40, 20
ALL = ("steered", "shuffled", "prompted", "native")


class Doses(Task):
    """What a vector of some dose changes."""

    name = "doses"
    question = "Does a dose change what is retrieved?"
    uses = ("control",)
    metrics = (
        Metric("recall", "recall (share of queries)", heads=True, low=0.0, high=1.0, binary=True, items="queries",
               mask="hard"),
        Metric("drift", "drift of the documents", "", "nats", False, low=0.0, items="documents"),
        Metric("share", "share of the native recall", items=None, share_of="recall"),
        Metric("norm", "norm of the vector", items=None),
    )  # fmt: skip
    conditions = Conditions(
        [
            Condition("native", "reference", always=True),
            Condition("prompted", "baseline"),
            Condition("shuffled", "negative", drawn=True),
            Condition("steered", "estimate"),
        ]
    )
    axes = (Axis("dose", "dose", searched=True), Axis("n", "documents", keys=("task.n",), log=True))
    parts = (PartOfItems("hard", "that no document answers", tested=True), PartOfItems("easy"))
    reference = "native"
    noun = "queries"


TASK = Doses()


def install(monkeypatch: pytest.MonkeyPatch, task: Task = TASK) -> None:
    """Let the registry know a task as if a package had brought it."""
    point = SimpleNamespace(load=lambda: task)
    monkeypatch.setattr(registry, "_installed", lambda: {task.name: point})
    monkeypatch.setattr(registry, "_loaded", lambda there: there.load())


def point_of(dose: float, asked: list[str] | None = None) -> PointScores:
    """The scores at one dose, with random numbers of its own; `asked` notes what was scored."""
    queries, documents = torch.arange(N_QUERIES) // 3, torch.arange(N_DOCUMENTS) // 2
    every = torch.ones(N_QUERIES, dtype=torch.bool)
    hard = torch.arange(N_QUERIES) < 30
    units = {"queries": queries, "documents": documents}
    whole = torch.ones(N_DOCUMENTS, dtype=torch.bool)
    parts = {
        name: Part(units, {("queries", "hard"): mask, ("documents", ""): whole}, 60, 0)
        for name, mask in (("all", every), ("hard", hard), ("easy", ~hard))
    }

    def scored(name: str) -> Branch:
        if asked is not None:
            asked.append(name)
        g = torch.Generator().manual_seed(ALL.index(name) + int(10 * dose))
        rate = {"steered": 0.3 + 0.5 * dose, "shuffled": 0.1, "prompted": 0.2, "native": 0.9}[name]
        n_draws = N_DRAWS if name == "shuffled" else 1
        recall = (torch.rand(n_draws, N_QUERIES, generator=g) < rate).double()
        drift = torch.rand(n_draws, N_DOCUMENTS, generator=g, dtype=torch.float64)
        scores = {"recall": recall} if name == "native" else {"recall": recall, "drift": drift}
        return Branch(scores, {"norm": {"mean": dose, "low": dose, "high": dose}} if name == "steered" else {})

    return PointScores(TASK, {"dose": dose, "n": N_DOCUMENTS}, parts, "topic", scored)


def about() -> dict[str, dict[str, list[str]]]:
    return {
        "queries": {"query": [f"query {i}" for i in range(N_QUERIES)]},
        "documents": {"text": [f"document {i}" for i in range(N_DOCUMENTS)]},
    }


def result(names: tuple[str, ...] = ALL) -> Result:
    return result_of([point_of(dose) for dose in DOSES], names, [about() for _ in DOSES])


def write_doses(outputs: Path, names: tuple[str, ...] = ALL, **changes: Any) -> Record:
    """Write a finished record that scored `names` at every dose."""
    made = result(names)
    return write_points(outputs, TASK, made.points, made.items, control={"names": list(names)}, **changes)


def write_points(
    outputs: Path, of: Task, points: list[dict[str, Any]], items: Any = None, seed: int = 0, **config: Any
) -> Record:
    """Write a finished record of some points of a task."""
    whole = {"control": {"names": []}, "task": {"name": of.name, "n_resamples": 60}, "seed": seed, **config}
    data = {
        "status": "done", "inputs": {"items": "items"}, "points": points, "gates": {}, "valid": True, "absent": {},
        "warnings": [], "config": whole,
    }  # fmt: skip
    return record.write(outputs, registry.run_id(whole), data, "", items or {}, "")
