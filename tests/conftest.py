import gc
import hashlib
import os
import shutil
import signal
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from rotated import READERS
from untrained import UNTRAINED

ROOT = Path(__file__).parents[1]
# A shell's background job ignores Ctrl-C and hands that on to the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
torch.set_num_threads(1)

# Modules that take a quarter of a minute or more, the longest first; the tests on SLURM, of which one runs at a time,
# count as one.
LONG = (
    "slurm",
    "test_run.py",
    "sweep/test_command.py",
    "test_cli.py",
    "tracking/test_stream.py",
    "tasks/translate/test_ladder_cells.py",
    "tracking/test_sender.py",
    "test_chaos.py",
    "test_config.py",
    "tasks/translate/test_trial.py",
    "models/test_zoo.py",
    "tasks/similarity/test_similarity_cell.py",
)

# Other modules whose tests start processes, train models or compose whole grids; make test-quick leaves them out.
STARTING = (
    "maps/test_map_registry.py",
    "models/test_zoo.py",
    "shell/test_shell.py",
    "sweep/test_grid.py",
    "sweep/test_order.py",
    "sweep/test_worker.py",
    "test_additions.py",
    "test_cli.py",
    "test_config.py",
    "test_light.py",
    "test_readme.py",
    "test_third_task.py",
    "test_wheel.py",
    "tracking/test_client.py",
    "tracking/test_dashboard.py",
    "tracking/test_overview.py",
    "tracking/test_sender.py",
    "tracking/test_single.py",
    "tracking/test_stream.py",
    "tracking/test_third_tracker.py",
)

# --doctest-modules would import every conftest.py under the one name "conftest" and refuse the second
# a task of another package must not be on the path of all tests
collect_ignore_glob = ["*conftest.py", "third_task/*"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the modules out, the long ones first: xdist gives each of its processes an equal part of the list."""
    n_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    modules: dict[Path, list[pytest.Item]] = {ROOT / "tests" / name: [] for name in LONG}
    for item in items:
        on_slurm = item.path.parent.name == "slurm"
        modules.setdefault(item.path.parent if on_slurm else item.path, []).append(item)
    dealt = [list(modules.values())[i::n_processes] for i in range(n_processes)]
    items[:] = [item for hand in dealt for module in hand for item in module]
    starting = {ROOT / "tests" / name for name in STARTING}
    for item in items:
        if item.path in starting or {"trained", "untrained", "readers"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("long")


def pytest_collection_finish() -> None:
    """What is loaded by now stays; the collector need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefacts that hold the models of pair=tiny."""
    return models_of(tmp_path_factory, "trained")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefacts that hold the models of pair=tiny with `UNTRAINED`; tests may put more into them."""
    return models_of(tmp_path_factory, "untrained", *UNTRAINED)


@pytest.fixture(scope="session")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefacts that hold the models of pair=dyck3 with `READERS`, also as they were at step 0."""
    return models_of(tmp_path_factory, "readers", *READERS)


def models_of(tmp_path_factory: pytest.TempPathFactory, name: str, *overrides: str) -> Path:
    """Models that all test processes share: a copy of those of the last run, unless what decides them has changed."""
    from bridge.config import compose_config
    from bridge.session import Session

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name
    kept = ROOT / ".pytest_cache" / "bridge" / f"{name}-{recipe(overrides)}"
    Session(kept, "cpu", 64).locate(compose_config(*overrides).pair)
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            shutil.copytree(kept, shared)
    return shared / "artefacts"


def recipe(overrides: tuple[str, ...]) -> str:
    """A hash of what decides the weights: code, facts, libraries, overrides."""
    files = [
        (ROOT / "bridge" / name).read_text()
        for name in (
            *("models/zoo.py", "models/recipe.py", "data/facts.py", "data/facts.json"),
            *("models/cohort.py", "models/dyck.py", "data/dyck.py"),
        )
    ]
    versions = [version(name) for name in ("torch", "transformers", "tokenizers")]
    return hashlib.sha256(repr((files, versions, overrides)).encode()).hexdigest()[:16]


@pytest.fixture
def outputs(tmp_path: Path, trained: Path) -> Path:
    """An outputs folder of its own that holds the trained models."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "artefacts").symlink_to(trained)
    return folder


@pytest.fixture
def reader_outputs(tmp_path: Path, readers: Path) -> Path:
    """An outputs folder of its own that holds the readers of Dyck-3 strings."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "artefacts").symlink_to(readers)
    return folder


@pytest.fixture
def bare_outputs(tmp_path: Path, untrained: Path) -> Path:
    """An outputs folder of its own that holds the models that have learnt nothing."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "artefacts").symlink_to(untrained)
    return folder
