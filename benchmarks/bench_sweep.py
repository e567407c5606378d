"""Sweeps: packed jobs against stock launchers, a finished sweep, the cost of W&B: python -m benchmarks sweep"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bridge.config import compose_config
from bridge.records.manifest import read
from bridge.records.record import head
from bridge.session import Session

SWEEPS = Path(__file__).parent / "sweeps"
# For one process per cell: fewer cells of the same grid, in the same proportions.
FEW, MORE = ("seed=0", "layer='3'", "control=fitted,random"), ("seed=0", "layer='3'")
N_ROUNDS = 1


def command_s(*words: str) -> float:
    """Wall seconds of one bridge command, from start to end."""
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_SILENT": "true"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bridge", *words], capture_output=True, text=True, env=os.environ | quiet
    )
    wall_s = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(
            f"bridge {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )
    return wall_s


def swept_s(name: str, outputs: Path, *words: str) -> tuple[float, int]:
    """Wall seconds of a whole sweep, and how many cells it has; all of them are done afterwards."""
    where = [f"paths.outputs={outputs}"]
    wall_s = command_s("--config-dir", str(SWEEPS), "--config-name", name, "-m", *where, *words)
    run_ids = read(outputs, name).run_ids
    assert all((head(outputs, run_id) or {}).get("status") == "done" for run_id in run_ids)
    return wall_s, len(run_ids)


def fresh(root: Path) -> Path:
    """An outputs folder with the trained models and their states in it, and no record."""
    outputs = Path(tempfile.mkdtemp(dir=root))
    for kept in ("artefacts", "activations"):
        (outputs / kept).symlink_to((root / kept).resolve())
    return outputs


def prepare(root: Path) -> None:
    """Train the models of pair=tiny where they are missing, and extract their states, from which every side starts."""
    Session("outputs", "cpu", 64).locate(compose_config().pair)
    (root / "artefacts").symlink_to(Path("outputs/artefacts").resolve())
    command_s(f"paths.outputs={root}", "device=cpu", "control=mean")


def entry(ours: float, theirs: float, unit: str, what: str) -> dict[str, float | str]:
    return {"ours": ours, "theirs": theirs, "ratio": theirs / ours, "unit": unit, "what": what}


def launchers(root: Path) -> dict[str, dict[str, float | str]]:
    """Time the whole grid packed and with `basic`, and for one process per cell the cost of each further cell."""
    packed = [swept_s("fanned_out", fresh(root)) for _ in range(N_ROUNDS)]
    n = packed[0][1]
    ours = min(wall_s for wall_s, _ in packed) / n
    basic, _ = swept_s("fanned_out", fresh(root), "hydra/launcher=basic")
    (few_s, n_few), (more_s, n_more) = (
        swept_s("fanned_out", fresh(root), "hydra/launcher=submitit_local", *words) for words in (FEW, MORE)
    )
    grid = f"grid of {n} cells on pair=tiny with controls fanned out, wall time from command to prompt over cells"
    return {
        "packed_vs_submitit_local": entry(
            ours,
            (more_s - few_s) / (n_more - n_few),
            "s/cell",
            f"{grid}, against one process per cell (stock submitit_local, all cells at once; {n_more} cells of the "
            f"grid against {n_few}, start not counted); aim: ratio >= 50",
        ),
        "packed_vs_basic": entry(
            ours, basic / n, "s/cell", f"{grid}, against Hydra's basic launcher with bridge's session in one process"
        ),
    }


def resume(root: Path) -> dict[str, dict[str, float | str]]:
    """`bridge sweep` on a sweep that is finished."""
    outputs = fresh(root)
    words = ["sweep", "many", "--config-dir", str(SWEEPS), f"paths.outputs={outputs}"]
    first = command_s(*words)
    n = len(read(outputs, "many").cells)
    again = min(command_s(*words) for _ in range(3))
    what = f"bridge sweep on a finished sweep of {n} cells (ours), against the first time (theirs); aim: under 2 s"
    return {"resume_2000": entry(again, first, "s", what)}


def wandb(root: Path) -> dict[str, dict[str, float | str]]:
    """The same sweep with and without W&B, in turns."""
    without, streamed, n = [], [], 0
    for _ in range(N_ROUNDS + 1):
        wall_s, n = swept_s("fanned_out", fresh(root))
        without.append(wall_s)
        streamed.append(swept_s("fanned_out", fresh(root), "tracker=wandb", "tracker.mode=offline")[0])
    share = max(0.0, min(streamed) - min(without)) / min(streamed)
    what = (
        f"sweep of {n} cells, streamed to offline W&B runs (ours), against without (theirs): W&B's share of the wall "
        f"time is {share:.1%}; aim: at most 2 %"
    )
    return {"wandb_share": entry(min(streamed), min(without), "s", what) | {"share": share}}


def bench() -> dict[str, dict[str, float | str]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root)
        return launchers(root) | resume(root) | wandb(root)


if __name__ == "__main__":
    print(json.dumps(bench(), indent=1))
