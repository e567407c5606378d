"""Where the cells of a sweep run: Hydra launchers that pack many cells into a job, and the sweeper."""

from dataclasses import dataclass, field
from typing import Any

PLUGINS = "hydra_plugins.bridge_sweep"


@dataclass
class PackedLauncherConfig:
    """Many cells to a job, on submitit."""

    _target_: str = f"{PLUGINS}.PackedLauncher"
    cluster: str = "local"
    # How many GPUs in all: one job for each of them. null: slurm: none; local: all that are there.
    gpus: int | None = None
    # How many jobs where there are no GPUs. null: slurm: one; local: one for each core, at most four.
    jobs: int | None = None
    # false: return after submission; `bridge status NAME` tells how far it is.
    wait: bool = True
    # Seconds that a cell gets to finish after its job was signalled to end.
    grace_s: float = 10.0
    timeout_min: int = 60 * 24 * 7
    signal_delay_s: int = 90
    # A requeued job computes only what is left, so many timeouts are allowed.
    max_num_timeout: int = 100
    stderr_to_stdout: bool = False
    # Shell lines before a job starts.
    setup: list[str] | None = None


@dataclass
class LocalLauncherConfig(PackedLauncherConfig):
    """Jobs on this machine."""


@dataclass
class SlurmLauncherConfig(PackedLauncherConfig):
    """Jobs on a SLURM cluster; every parameter that submitit hands to sbatch passes through."""

    cluster: str = "slurm"
    timeout_min: int = 60 * 12
    name: str = "bridge"
    nodes: int = 1
    tasks_per_node: int = 1
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    gpus_per_node: int | None = None
    gpus_per_task: int | None = None
    cpus_per_task: int | None = None
    cpus_per_gpu: int | None = None
    mem_gb: float | None = None
    mem: str | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    dependency: str | None = None
    mail_type: str | None = None
    mail_user: str | None = None
    time: str | None = None
    comment: str | None = None
    exclusive: bool | None = None
    wckey: str | None = None
    teardown: list[str] | None = None
    use_srun: bool = True
    srun_args: list[str] | None = None
    array_parallelism: int = 256
    # Anything else that sbatch takes: {reservation: friday}
    additional_parameters: dict[str, Any] = field(default_factory=dict)


@dataclass
class GridSweeperConfig:
    """Every combination of the axes, composed once."""

    _target_: str = f"{PLUGINS}.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = None
