"""What Hydra loads: a sweeper that composes a grid once, and a launcher that packs many cells into a job.

Hydra takes plugins only from this namespace and imports them at every start, so the work is done in `bridge.sweep`.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class GridSweeper(BasicSweeper):
    """Every combination of the axes; leaves a manifest, so that any launcher's sweep can be asked how far it is."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.task_function = task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Plan the grid and hand it to the launcher that is configured."""
        from bridge.sweep.handover import handover_of
        from bridge.sweep.sweeper import sweep

        assert self.config is not None
        assert self.hydra_context is not None
        handover = handover_of(self.task_function)
        return sweep(self.config, self.hydra_context, self.launcher, arguments, self.max_batch_size, handover)


class PackedLauncher(Launcher):
    """Jobs of many cells on submitit; `params` are those of `bridge.schema.launcher`."""

    def __init__(self, **params: Any) -> None:
        self.params = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in params.items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells of another sweeper than `GridSweeper`, which needs no launch by overrides."""
        from bridge.sweep.handover import handover_of
        from bridge.sweep.sweeper import launch_overrides

        handover = handover_of(self.task_function)
        return launch_overrides(self.config, self.hydra_context, self.params, job_overrides, handover)
