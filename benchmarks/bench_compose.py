"""Composing the cells of a grid against Hydra's own composition: python -m benchmarks compose"""

import time
from collections.abc import Callable

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from bridge.composer import Composer
from bridge.config import conf_dir
from bridge.schema import register

CELLS = [
    [f"map={m}", f"seed={seed}", "layer=mid"] for m in ("ridge", "linear", "orthogonal", "mlp") for seed in range(5)
]
N_REPEATS = 3


def seconds(call: Callable[[], list[DictConfig]]) -> tuple[float, list[DictConfig]]:
    start = time.perf_counter()
    configs = call()
    return time.perf_counter() - start, configs


def bench() -> dict[str, dict[str, float | str]]:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        ours, theirs = [], []
        for _ in range(N_REPEATS):
            took, own = seconds(lambda: list(map(Composer(loader, "config"), CELLS)))
            ours.append(took)
            took, hydras = seconds(lambda: [compose("config", cell) for cell in CELLS])
            theirs.append(took)
    assert [OmegaConf.to_yaml(c) for c in own] == [OmegaConf.to_yaml(c) for c in hydras]
    return {
        "compose": {
            "what": f"{len(CELLS)} cells of a grid, reading the files included, against hydra.compose",
            "unit": "s",
            "ours": min(ours),
            "theirs": min(theirs),
            "ratio": min(theirs) / min(ours),
        }
    }
