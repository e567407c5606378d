"""One SLURM per test process, and the way to run `bridge` on it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import INSTALL, Cluster, missing_programs
from commands import Shell
from grid import Disturbed

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster of this test process's own; its daemons end with this process, however it ends."""
    if missing := missing_programs():
        text = f"SLURM is not installed (no {', '.join(missing)}): {INSTALL}"
        if os.environ.get("BRIDGE_REQUIRE_SLURM") == "1":
            pytest.fail(text)
        pytest.skip(text)
    folder = tmp_path_factory.mktemp("slurm")
    with subprocess.Popen(
        [sys.executable, str(HERE / "cluster.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "READY\n", (folder / "daemons.log").read_text()
        yield Cluster(folder)
        keeper.stdin.close()
        assert keeper.wait(180) == 0


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with an empty queue, and empty again afterwards."""
    cluster.cancel_all()
    yield cluster
    cluster.cancel_all()


@pytest.fixture
def bridge(slurm: Cluster, bare_outputs: Path) -> Shell:
    """Runs `bridge` where SLURM is, on an outputs folder that holds the models that have learnt nothing."""
    return Shell(bare_outputs, slurm.environment)


@pytest.fixture
def disturbed(bridge: Shell, tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    """The grid of 18 cells that things happen to."""
    base = tmp_path_factory.getbasetemp()
    return Disturbed(bridge, base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base)
