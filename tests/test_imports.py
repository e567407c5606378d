"""Imports point one way, low to high (the order is the design's)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TIERS = (
    ("errors", "permutations", "seeds", "svd"),
    ("normalize", "maps", "metrics", "similarity", "statistics"),
    ("data", "models", "activations"),
    ("controls", "injection", "training"),
    ("schema", "config", "records", "session"),
    ("results", "show"),
    ("tasks",),
    ("run", "tracking", "sweep", "report", "export"),
    ("shell", "application", "cli", "__main__"),
)
RANK = {room: rank for rank, tier in enumerate(TIERS) for room in tier}
CORE = ("normalize", "maps", "metrics", "similarity", "statistics")
FILES = sorted((ROOT / "bridge").rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "bridge").with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
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
            assert RANK[parts[1]] <= RANK[room], f"{room} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) in CORE], ids=lambda p: p.name)
def test_the_numerical_core_knows_neither_models_nor_configs_nor_trackers(path: Path) -> None:
    heads = {name.split(".")[0] for name in imported(path)}
    assert not heads & {"transformers", "hydra", "omegaconf", "wandb"}


def test_no_file_is_over_350_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 350}
    assert not long
