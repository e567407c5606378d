"""Packed launcher: a few jobs of many cells each on submitit; the launching process may end before they do."""

import ctypes
import io
import json
import os
import re
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError
from bridge.records import record
from bridge.records.manifest import Manifest
from bridge.sweep.order import shares
from bridge.sweep.waiting import earlier_jobs, in_queue, stop, wait
from bridge.sweep.worker import Worker
from bridge.tracking.base import tracker_of

# Parameters of bridge itself; everything else in hydra.launcher is passed to submitit.
OURS = ("cluster", "gpus", "jobs", "wait", "grace_s", "max_num_timeout")
# Parameters that submitit has for every cluster; the others take the cluster's name in front.
SHARED = (
    "name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "stderr_to_stdout",
)  # fmt: skip
LOCAL_JOBS_AT_MOST = 4


def launch(manifest: Manifest, run_ids: Sequence[str], params: dict[str, Any]) -> bool:
    """Submit the cells of `run_ids`, and wait for them unless ``wait=false``.

    Args:
        manifest: of the sweep.
        run_ids: the cells that are to run.
        params: the node `hydra.launcher`, plain.

    Returns:
        Whether the jobs have ended; False after ``wait=false``.

    Raises:
        ConfigError: the cluster is not available, or refuses the jobs.
        KeyboardInterrupt: jobs on this machine have been stopped; those of a cluster go on.
    """
    tracker = tracker_of(manifest.settings)
    if not run_ids:
        tracker.finish(manifest)
        return True
    again = set(_finished(manifest, run_ids))
    if params["cluster"] == "slurm" and (queued := in_queue(earlier_jobs(manifest))):
        rows = ", ".join(sorted({row[0] for row in queued}))
        print(f"jobs of an earlier launch are still there ({rows}); they share the cells with the new ones")
    # Called before anything is submitted, because it raises if the tracker cannot be used.
    tracker.ensure(manifest)
    submitted = submit(manifest, run_ids, params)
    where = manifest.folder / "jobs"
    ids = ", ".join(job.job_id for job in submitted)
    print(f"{len(run_ids)} cells in {len(submitted)} jobs on {params['cluster']} ({ids}); logs in {where}")
    if not params["wait"]:
        print(f"not waiting; bridge status {manifest.name} tells how far it is")
        return False
    try:
        wait(manifest, run_ids, again, submitted, params["cluster"])
    except KeyboardInterrupt:
        if params["cluster"] == "local":
            stop(manifest, submitted)
        else:
            print(f"the jobs go on; bridge status {manifest.name} tells how far they are, scancel {ids} ends them")
        raise
    tracker.finish(manifest)
    return True


def n_jobs(run_ids: Sequence[str], manifest: Manifest, params: dict[str, Any]) -> int:
    """How many jobs the cells are packed into: one for each GPU, or as many as `jobs` says.

    Raises:
        ConfigError: fewer than one.
    """
    wanted = params["gpus"] or params["jobs"]
    for name in ("gpus", "jobs"):
        if params[name] is not None and params[name] < 1:
            raise ConfigError(f"hydra.launcher.{name}={params[name]}; wanted at least 1: change it")
    if wanted is None and params["cluster"] == "local":
        wanted = len(visible_gpus()) or min(os.cpu_count() or 1, LOCAL_JOBS_AT_MOST)
    return len(shares(manifest, run_ids, wanted or 1))


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if not has_driver():
        return []
    import torch

    n = torch.cuda.device_count()
    named = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
    return named[:n] if named else [str(i) for i in range(n)]


def has_driver() -> bool:
    """Whether NVIDIA's driver is here; without it torch sees no GPU, and need not be loaded to say so."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def submit(manifest: Manifest, run_ids: Sequence[str], params: dict[str, Any]) -> list[Any]:
    """Hand one worker for each job to submitit.

    Raises:
        ConfigError: the cluster is not available, or refuses the jobs.
    """
    n, token = n_jobs(run_ids, manifest, params), uuid.uuid4().hex[:8]
    folder = manifest.folder / "jobs"
    outputs = str(manifest.outputs)
    again = _finished(manifest, run_ids)
    workers = [Worker(outputs, manifest.name, token, list(run_ids), again, i, n, params["grace_s"]) for i in range(n)]
    with record.writing(manifest.outputs):
        folder.mkdir(parents=True, exist_ok=True)
    # submitit prints the output of sbatch as well as raising it.
    with refused(params["cluster"]), undisturbed(folder / "started.log"), redirect_stderr(io.StringIO()):
        submitted = (_submit_slurm if params["cluster"] == "slurm" else _submit_local)(folder, workers, params)
    with record.writing(manifest.outputs), (folder / "jobs.jsonl").open("a") as file:
        for job in submitted:
            now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            line = {"launch": token, "job": job.job_id, "cluster": params["cluster"], "submitted": now}
            file.write(json.dumps(line) + "\n")
    return submitted


def _finished(manifest: Manifest, run_ids: Sequence[str]) -> list[str]:
    """The run ids that have a finished record already."""
    heads = {r: record.head(manifest.outputs, r) or {} for r in run_ids}
    return [r for r, head in heads.items() if head.get("status") == "done"]


def _given(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters for submitit: all that are set, without those of bridge itself."""
    return {k: v for k, v in params.items() if k not in OURS and k[0] != "_" and v is not None and v != {}}


def _submit_slurm(folder: Path, workers: list[Worker], params: dict[str, Any]) -> list[Any]:
    """One job array; each task sees one GPU if GPUs are asked for."""
    import submitit

    asked = any(params.get(k) for k in ("gpus_per_node", "gpus_per_task", "gres"))
    given = _given(params) | ({"gpus_per_node": 1} if params["gpus"] and not asked else {})
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=params["max_num_timeout"])
    executor.update_parameters(**{k if k in SHARED else f"slurm_{k}": v for k, v in given.items()})
    with executor.batch():
        return [executor.submit(worker) for worker in workers]


def _submit_local(folder: Path, workers: list[Worker], params: dict[str, Any]) -> list[Any]:
    """One process for each worker, each with a GPU of its own."""
    import submitit

    gpus, jobs = visible_gpus(), []
    if params["gpus"] and params["gpus"] > len(gpus):
        raise ConfigError(
            f"hydra.launcher.gpus={params['gpus']}, but this machine has {len(gpus)}; wanted at most that many: ask "
            "for fewer"
        )
    for i, worker in enumerate(workers):
        given = _given(params)
        if gpus:
            # Set in the job's shell, because submitit takes only numbers and a GPU may be named by its UUID.
            given["setup"] = [*given.get("setup", []), f"export CUDA_VISIBLE_DEVICES={gpus[i % len(gpus)]}"]
        executor = submitit.LocalExecutor(folder, max_num_timeout=params["max_num_timeout"])
        executor.update_parameters(**given)
        jobs.append(executor.submit(worker))
    return jobs


@contextmanager
def refused(cluster: str) -> Iterator[None]:
    """Turn errors of submitit and sbatch into one line."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError(
                "SLURM is not installed here; wanted sbatch on the path: log in to a node that has it, or use "
                "hydra/launcher=local"
            ) from error
        output = getattr(error, "stderr", None) or str(error)
        output = output.decode() if isinstance(output, bytes) else output
        printed = output.splitlines()
        lines = [line.strip() for line in printed if re.search("sbatch|slurm", line)] or printed[-1:]
        message = "; ".join(dict.fromkeys(re.sub(r"^.*?sbatch: (error: )?", "", line) for line in lines))
        raise ConfigError(
            f"{cluster} did not take the jobs: {message}; wanted parameters that it accepts, and nothing was "
            "submitted: change hydra.launcher.*"
        ) from error


@contextmanager
def undisturbed(log: Path) -> Iterator[None]:
    """Start jobs that ignore Ctrl-C and a closed terminal, and that hold no pipe of this process open.

    Args:
        log: file for the output of the process that starts a job.
    """
    before = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGHUP)}
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (0, 1, 2)]
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as file:
        for number, target in ((0, nothing), (1, file), (2, file)):
            os.dup2(target.fileno(), number)
    try:
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        for which, handler in before.items():
            signal.signal(which, handler)
