"""Imports point one way, low to high (the order is the design's)."""

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A task's declaration and the registry import no task, so they stand low; only what stands above knows their rooms.
TIERS = (
    ("errors", "permutations", "seeds", "svd"),
    ("records",),
    ("normalize", "maps", "metrics", "sae", "similarity", "statistics"),
    ("results", "tasks.base", "tasks.registry"),
    ("data", "models", "activations"),
    ("controls", "carry", "injection", "training"),
    ("schema", "composer", "building", "config", "session"),
    ("show", "rotations"),
    ("tasks",),
    ("run", "tracking", "sweep", "report", "export"),
    ("shell", "application", "cli", "__main__"),
)
RANK = {room: rank for rank, tier in enumerate(TIERS) for room in tier}
CORE = ("normalize", "maps", "metrics", "sae", "similarity", "statistics")
FILES = sorted((ROOT / "bridge").rglob("*.py"))


def room_of(path: Path) -> str:
    return room_in(path.relative_to(ROOT / "bridge").with_suffix("").parts)


def room_in(parts: Sequence[str]) -> str:
    """The room of a module below bridge."""
    two = ".".join(parts[:2])
    return two if two in RANK else parts[0]


def imported(path: Path) -> set[str]:
    """What a module imports when it runs; what only annotations name is not counted."""
    tree = ast.parse(path.read_text())
    annotated = {
        inner for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }  # fmt: skip
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
        if node in annotated:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_of_the_package_has_a_place_in_the_order() -> None:
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert rooms <= RANK.keys()
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_from_its_own_tier_or_below(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "bridge" and len(parts) > 1 and parts[1] in RANK:
            assert RANK[room_in(parts[1:])] <= RANK[room], f"{room} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) in CORE], ids=lambda p: p.name)
def test_the_numerical_core_knows_neither_models_nor_configs_nor_trackers(path: Path) -> None:
    heads = {name.split(".")[0] for name in imported(path)}
    assert not heads & {"transformers", "hydra", "omegaconf", "wandb"}
