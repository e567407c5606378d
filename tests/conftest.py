import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
torch.set_num_threads(1)

# --doctest-modules would import every conftest.py under the one name "conftest" and refuse the second
collect_ignore_glob = ["*conftest.py"]

# Models of the shape of pair=tiny that have learnt nothing: enough where no score is asserted.
UNTRAINED = [f"pair.{side}.zoo.{what}" for side in ("source", "target") for what in ("n_steps=2", "width=32")]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models of pair=tiny, trained once for all workers."""
    from bridge.config import compose_config
    from bridge.session import Session

    base = tmp_path_factory.getbasetemp()
    if "BRIDGE_TRAINED" in os.environ:
        return Path(os.environ["BRIDGE_TRAINED"])
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "trained"
    Session(shared, "cpu", 64).locate(compose_config().pair)
    return shared / "models"


@pytest.fixture()
def outputs(tmp_path: Path, trained: Path) -> Path:
    """An outputs folder of its own that holds the trained models."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "models").symlink_to(trained)
    return folder
