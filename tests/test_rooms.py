"""Only a task's own room knows the task: nobody else says its name, or imports it."""

import ast
from pathlib import Path

import pytest

from bridge.controls.names import CONTROLS
from bridge.tasks import registry

ROOT = Path(__file__).parents[1]
TASKS = registry.own()
# Folders of measures have the name of the task that shows them.
MEASURES = ("bridge.sae", "bridge.similarity")


def homes(path: Path) -> bool:
    """Whether a file belongs to one task: its folder, or its schema."""
    parts = path.relative_to(ROOT / "bridge").parts
    return (parts[:1] == ("tasks",) and parts[1] in TASKS) or (parts[:1] == ("schema",) and path.stem in TASKS)


FILES = [p for p in sorted((ROOT / "bridge").rglob("*.py")) if not homes(p)]


def named(source: str) -> list[str]:
    """Tasks that the source of a module names as a text, imports, or asks for as an attribute."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in TASKS:
            found.append(f"line {node.lineno}: {node.value!r}")
        if isinstance(node, ast.ImportFrom | ast.Import):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [f"{modules[0]}.{a.name}" if modules else a.name for a in node.names]
            found += [
                f"line {node.lineno}: {m}" for m in modules if m.startswith(tuple(f"bridge.tasks.{t}" for t in TASKS))
            ]
        if isinstance(node, ast.FunctionDef | ast.Name | ast.Attribute):
            name = (
                node.name if isinstance(node, ast.FunctionDef) else node.id if isinstance(node, ast.Name) else node.attr
            )
            if name in {f"is_{task}" for task in TASKS}:
                found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_outside_a_tasks_room_names_the_task(path: Path) -> None:
    assert named(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ['if config["task"]["name"] == "translate": pass', "from bridge.tasks.similarity import matrices",
     "import bridge.tasks.translate.cell", "from bridge.tasks import translate", "def is_similarity(data): ..."],
)  # fmt: skip
def test_each_way_of_naming_a_task_is_seen(source: str) -> None:
    assert len(named(source)) >= 1


# What shows results takes the names of conditions and metrics from the task.
SHOWN = [
    p for room in ("results", "show", "report", "tracking", "sweep") for p in (ROOT / "bridge" / room).rglob("*.py")
]
SHOWN += [ROOT / "bridge" / name for name in ("export.py", "application.py", "run.py", "cli.py")]
DECLARED = {
    name
    for task in map(registry.get, TASKS)
    for names in (task.conditions, task.by_name, [a.name for a in task.axes], [p.name for p in task.parts])
    for name in names
} | set(CONTROLS)  # fmt: skip
# Words that are conditions or axes of a task and plain words as well.
PLAIN = {"mean", "random", "layer", "n_rows", "inputs"}


@pytest.mark.parametrize("path", sorted(SHOWN), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_shows_results_names_no_condition_metric_axis_or_part(path: Path) -> None:
    texts = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
    assert [text for text in texts if isinstance(text, str) and text in DECLARED - PLAIN] == []


def test_every_file_says_something_and_none_is_long() -> None:
    lengths = sorted(
        len(p.read_text().splitlines()) for p in (ROOT / "bridge").rglob("*.py") if p.name != "__init__.py"
    )
    assert lengths[-1] <= 300
    assert lengths[len(lengths) // 2] <= 130


def test_the_top_of_the_package_holds_what_tells_its_room() -> None:
    gone = {"family", "grids", "ladder", "looks", "comparison", "matrix_tables", "cells", "tables", "plots"}
    assert not gone & {p.stem for p in (ROOT / "bridge").iterdir()}
