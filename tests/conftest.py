import os
import signal
from pathlib import Path

import pytest
import torch
from untrained import UNTRAINED

# A shell's background job ignores Ctrl-C and hands that on to the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
torch.set_num_threads(1)

# --doctest-modules would import every conftest.py under the one name "conftest" and refuse the second
collect_ignore_glob = ["*conftest.py"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models of pair=tiny, trained once for all workers."""
    return models_of(tmp_path_factory, "trained")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models of pair=tiny with `UNTRAINED`; tests may put more of their kind into it."""
    return models_of(tmp_path_factory, "untrained", *UNTRAINED)


def models_of(tmp_path_factory: pytest.TempPathFactory, name: str, *overrides: str) -> Path:
    from bridge.config import compose_config
    from bridge.session import Session

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name
    Session(shared, "cpu", 64).locate(compose_config(*overrides).pair)
    return shared / "models"


@pytest.fixture
def outputs(tmp_path: Path, trained: Path) -> Path:
    """An outputs folder of its own that holds the trained models."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "models").symlink_to(trained)
    return folder


@pytest.fixture
def bare_outputs(tmp_path: Path, untrained: Path) -> Path:
    """An outputs folder of its own that holds the models that have learnt nothing."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "models").symlink_to(untrained)
    return folder
