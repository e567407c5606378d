"""The grid that is disturbed in every way, as a user's own sweep file, and what it gives when left alone."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from commands import Shell, held, leftovers, scores
from filelock import FileLock
from untrained import SMALL

NAME = "disturbed"
AXES = {"layer": "1,2", "injection": "lm_head,late_layer,soft_prefix", "seed": "0,1"}
N_CELLS = 2 * 3 * 2
FILE = f"""\
defaults: [config, override hydra/launcher: slurm, _self_]
sweep: {{name: {NAME}}}
hydra:
  launcher: {{mem_gb: 1, cpus_per_task: 1, timeout_min: 20}}
  sweeper: {{params: {{layer: "'1','2'", injection: "{AXES["injection"]}", seed: "{AXES["seed"]}"}}}}
"""


class Disturbed:
    """The sweep on one outputs folder.

    Args:
        bridge: runs the commands.
        base: a folder that all test processes share.
    """

    def __init__(self, bridge: Shell, base: Path) -> None:
        self.bridge = bridge
        # Where `bridge sweep` looks first.
        folder = bridge.outputs.parent / "sweeps"
        folder.mkdir()
        (folder / f"{NAME}.yaml").write_text(FILE)
        self.expected = _undisturbed(bridge, base / "expected")

    def words(self, *more: str) -> list[str]:
        """The command that runs the sweep."""
        return ["sweep", NAME, *SMALL, *(f"hydra.launcher.{word}" for word in more)]

    def held(self, first: int) -> AbstractContextManager[None]:
        """Hold all cells but `first` of them."""
        return held(self.bridge.outputs, sorted(self.expected)[first:])

    def n_done(self) -> int:
        """How many cells are done, without starting a process."""
        return self.bridge.n_done()

    def assert_all_listed(self, **wanted: int) -> None:
        """Every cell is done or listed as failed or missing; none is said to run."""
        found = self.bridge.states(NAME)
        assert found.total() == N_CELLS
        assert found["running"] == 0, found
        assert {name: found[name] for name in wanted} == wanted

    def assert_completed(self) -> None:
        """A second command does what is left, and the scores are those of an undisturbed run."""
        said = self.bridge.here(*self.words("gpus=1"))
        assert said.code == 0, said.err
        self.assert_whole()

    def assert_whole(self) -> None:
        """Every cell is done, nothing is half-written, the scores are those of an undisturbed run."""
        self.assert_all_listed(done=N_CELLS)
        assert leftovers(self.bridge) == []
        found = scores(self.bridge)
        assert len(found) == len(self.expected) == N_CELLS
        assert found == self.expected


def _undisturbed(bridge: Shell, folder: Path) -> dict[str, Any]:
    """The scores of the grid when nothing happens to it; computed once for all test processes."""
    # Loads torch, which those who only ask whether there is a SLURM can do without.
    import undisturbed

    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "whole").exists():
            folder.mkdir(exist_ok=True)
            (folder / "artefacts").unlink(missing_ok=True)
            (folder / "artefacts").symlink_to((bridge.outputs / "artefacts").resolve())
            undisturbed.compute(folder, SMALL, [f"{name}={values}" for name, values in AXES.items()])
            (folder / "whole").touch()
    return scores(Shell(folder))
