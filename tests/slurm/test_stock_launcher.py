"""Hydra's own SLURM launcher, one job per cell."""

import pytest
import undisturbed
from cluster import Cluster
from commands import Shell, beside, scores
from untrained import SMALL

pytestmark = pytest.mark.slurm

AXES = ["layer=1,2"]
RESOURCES = ["hydra.launcher.gres=gpu:1", "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"]


def test_cells_through_the_stock_slurm_launcher_have_the_records_of_a_run_without_it(
    slurm: Cluster, bridge: Shell
) -> None:
    before = {job.id for job in slurm.jobs()}
    said = bridge.here("-m", *SMALL, *AXES, "hydra/launcher=submitit_slurm", *RESOURCES)
    assert said.code == 0, said.err
    slurm.wait_until_empty()
    assert [job.state for job in slurm.jobs() if job.id not in before] == ["COMPLETED"] * 2
    alone = beside(bridge, "alone")
    undisturbed.compute(alone.outputs, SMALL, AXES)
    assert len(scores(bridge)) == 2
    assert scores(bridge) == scores(alone)
