"""One SLURM for all test processes, and the way to run `bridge` on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import INSTALL, Cluster, missing_programs, shared
from commands import Shell
from filelock import FileLock
from grid import Disturbed


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The one running cluster of all test processes; its daemons end with the last of these, however they end."""
    if missing := missing_programs():
        text = f"SLURM is not installed (no {', '.join(missing)}): {INSTALL}"
        if os.environ.get("BRIDGE_REQUIRE_SLURM") == "1":
            pytest.fail(text)
        pytest.skip(text)
    with shared(shared_folder(tmp_path_factory)) as made:
        yield made


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with an empty queue, empty again afterwards, and no other test process on it."""
    with FileLock(cluster.folder / "test.lock"):
        cluster.cancel_all()
        yield cluster
        cluster.cancel_all()


@pytest.fixture
def bridge(slurm: Cluster, bare_outputs: Path) -> Shell:
    """Runs `bridge` where SLURM is, on an outputs folder that holds the models that have learnt nothing."""
    return Shell(bare_outputs, slurm.environment)


@pytest.fixture
def disturbed(bridge: Shell, tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    """The grid of 12 cells that things happen to."""
    return Disturbed(bridge, shared_folder(tmp_path_factory))
