"""What cells give when nothing happens to them: one process, one cell after the other, no launcher."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from bridge.config import compose_config, from_plain
from bridge.errors import BridgeError
from bridge.records.manifest import Manifest
from bridge.run import run
from bridge.session import Session


def compute(outputs: Path, words: Iterable[str], axes: Iterable[str]) -> None:
    """Run every combination of the axes, such as "layer=1,2"; a cell that fails leaves its record.

    Args:
        outputs: an outputs folder that holds the models.
        words: overrides that all cells share.
        axes: overrides with several values each.
    """
    session = Session(outputs, "cpu", 64)
    split = [axis.partition("=") for axis in axes]
    for chosen in product(*([f"{key}={value}" for value in values.split(",")] for key, _, values in split)):
        try:
            run(compose_config(*words, *chosen, f"paths.outputs={outputs}"), session)
        except BridgeError:
            continue


def repeat(manifest: Manifest, outputs: Path) -> None:
    """Run the cells of a sweep again, in another outputs folder that holds the same models."""
    session = Session(outputs, "cpu", 64)
    for cell in manifest.cells:
        run(from_plain(manifest.config(cell) | {"paths": {"outputs": str(outputs)}}), session)
