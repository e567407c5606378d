"""The packed launcher on a real SLURM, undisturbed: many cells to a job, one GPU to each job."""

import re

import pytest
from cluster import GPUS_PER_NODE, NODES, Cluster
from grid import N_CELLS, NAME, Disturbed

pytestmark = pytest.mark.slurm


def test_many_cells_in_four_jobs_of_one_gpu_each_give_the_scores_of_one_process(
    slurm: Cluster, disturbed: Disturbed
) -> None:
    bridge = disturbed.bridge
    more = ["comment=nightly", "setup=['export MARK=of_the_setup']", "array_parallelism=4"]
    said = bridge.here(*disturbed.words("gpus=4", *more))
    assert said.code == 0, said.err
    slurm.wait_until_empty()
    jobs = bridge.jobs(NAME)
    ended = {job.id: job for job in slurm.jobs() if job.id in jobs}
    assert [job.state for job in ended.values()] == ["COMPLETED"] * 4
    assert {job.name for job in ended.values()} == {"bridge"}
    # Four jobs at once on two nodes with two GPUs each: every GPU once, and no job sees two.
    places = {(ended[job].node, about["gpus"]) for job, about in jobs.items()}
    assert places == {(node, str(gpu)) for node in NODES for gpu in range(GPUS_PER_NODE)}
    told = slurm.ask("scontrol", "show", "job", next(iter(jobs)).partition("_")[0])
    assert "Comment=nightly" in told
    (script,) = (bridge.outputs / "sweeps" / NAME / "jobs").glob("*_submission.sh")
    assert "export MARK=of_the_setup" in script.read_text()
    assert "#SBATCH --array=0-3%4" in script.read_text()
    finished = re.findall(r" done: (.*) \(\d+\.\d s\)$", bridge.logs(NAME), re.MULTILINE)
    assert len(finished) == len(set(finished)) == N_CELLS
    disturbed.assert_whole()
