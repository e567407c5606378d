"""What the packed launcher hands to submitit."""

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import submitit

from bridge.records import record
from bridge.records.manifest import Manifest
from bridge.schema.launcher import LocalLauncherConfig, SlurmLauncherConfig
from bridge.sweep import launcher
from bridge.sweep.launcher import submit, visible_gpus
from bridge.sweep.worker import Worker


class Executor:
    """Takes jobs and starts none."""

    made: list["Executor"] = []  # noqa: RUF012

    def __init__(self, folder: Any, **options: Any) -> None:
        self.options, self.params, self.workers = options, {}, []  # type: ignore[var-annotated]
        self.made.append(self)

    def update_parameters(self, **params: Any) -> None:
        self.params = params

    def submit(self, worker: Worker) -> SimpleNamespace:
        self.workers.append(worker)
        return SimpleNamespace(job_id=str(len(self.made)))

    def batch(self) -> Any:
        return pytest.MonkeyPatch.context()


@pytest.fixture(autouse=True)
def executors(monkeypatch: pytest.MonkeyPatch) -> list[Executor]:
    monkeypatch.setattr(Executor, "made", [])
    for name in ("LocalExecutor", "AutoExecutor"):
        monkeypatch.setattr(submitit, name, Executor)
    monkeypatch.setattr(launcher, "visible_gpus", lambda: [])
    return Executor.made


def local(**changes: Any) -> dict[str, Any]:
    return asdict(LocalLauncherConfig()) | changes


def slurm(**changes: Any) -> dict[str, Any]:
    return asdict(SlurmLauncherConfig()) | changes


def test_each_job_begins_with_another_share(manifest: Manifest, executors: list[Executor]) -> None:
    submit(manifest, manifest.run_ids, local(jobs=3, grace_s=7.0))
    workers = [worker for executor in executors for worker in executor.workers]
    assert [(w.own, w.n_jobs, w.grace_s) for w in workers] == [(0, 3, 7.0), (1, 3, 7.0), (2, 3, 7.0)]
    assert all(w.run_ids == manifest.run_ids and w.again == [] and w.name == "s" for w in workers)
    lines = [json.loads(line) for line in (manifest.folder / "jobs" / "jobs.jsonl").read_text().splitlines()]
    assert [line["job"] for line in lines] == ["1", "2", "3"]
    assert {line["launch"] for line in lines} == {w.launch for w in workers}
    assert len({w.launch for w in workers}) == 1


def test_cells_that_are_done_are_told_to_the_workers_as_to_be_computed_again(
    manifest: Manifest, executors: list[Executor]
) -> None:
    for run_id, status in zip(manifest.run_ids, ("failed", "done"), strict=False):
        record.write(manifest.outputs, run_id, {"status": status, "inputs": {}}, "", {}, "")
    submit(manifest, manifest.run_ids, local(jobs=1))
    assert executors[0].workers[0].again == [manifest.run_ids[1]]


def test_what_submitit_does_not_share_is_given_under_the_name_of_the_cluster(
    manifest: Manifest, executors: list[Executor]
) -> None:
    submit(manifest, manifest.run_ids, slurm(jobs=2, partition="short", timeout_min=7, mem_gb=3, max_num_timeout=4))
    (executor,) = executors
    assert executor.options == {"cluster": "slurm", "slurm_max_num_timeout": 4}
    assert executor.params.items() >= {"slurm_partition": "short", "timeout_min": 7, "mem_gb": 3}.items()
    assert None not in executor.params.values()
    assert not {k.removeprefix("slurm_") for k in executor.params} & {"jobs", "gpus", "wait", "grace_s", "cluster"}
    assert len(executor.workers) == 2


def test_each_task_of_a_slurm_array_sees_one_gpu_where_gpus_are_asked_for(
    manifest: Manifest, executors: list[Executor]
) -> None:
    submit(manifest, manifest.run_ids, slurm(gpus=2))
    assert executors[0].params["gpus_per_node"] == 1
    submit(manifest, manifest.run_ids, slurm(gpus=2, gres="gpu:a100:1"))
    assert "gpus_per_node" not in executors[1].params
    assert executors[1].params["slurm_gres"] == "gpu:a100:1"


def test_each_local_job_sees_a_gpu_of_its_own(
    manifest: Manifest, executors: list[Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "visible_gpus", lambda: ["3", "GPU-5"])
    submit(manifest, manifest.run_ids, local(jobs=3))
    told = [executor.params["setup"][-1] for executor in executors]
    assert told == [f"export CUDA_VISIBLE_DEVICES={gpu}" for gpu in ("3", "GPU-5", "3")]


@pytest.mark.parametrize(("named", "wanted"), [("3,5", ["3", "5"]), ("3,5,7", ["3", "5"]), ("", ["0", "1"])])
def test_the_gpus_are_those_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, named: str, wanted: list[str]
) -> None:
    monkeypatch.setattr(launcher, "has_driver", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == wanted
