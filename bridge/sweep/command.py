"""``bridge sweep NAME``: run the unfinished cells of a named sweep, or list them (``--dry-run``)."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.errors import ConfigError
from bridge.records.manifest import Manifest, names, read
from bridge.sweep.handover import Handover
from bridge.sweep.sources import BRIDGE, composed_from

DESCRIPTION = """\
Run a named sweep, or what is left of it. NAME is a file NAME.yaml in the folder sweeps (or in --config-dir);
everything after it is an override, swept where it has several values, such as pair=tiny layer=1,2"""


def sweep_verb(arguments: Sequence[str], run: Callable[[Sequence[str], Handover], int]) -> int:
    """Run the cells of a sweep that have no finished record.

    Args:
        arguments: the words after ``bridge sweep``.
        run: the Hydra application, called only if something is left to do.

    Returns:
        0 if every cell is done, or was submitted in jobs that are not waited for.

    Raises:
        ConfigError: there is no sweep of that name.
    """
    parser = argparse.ArgumentParser("bridge sweep", description=DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="a sweep file, without .yaml")
    parser.add_argument("--dry-run", action="store_true", help="say what would be run, and run nothing")
    parser.add_argument(
        "--fail-fast", type=int, metavar="K", help="begin no further cell once K cells failed with the same error"
    )
    parser.add_argument("--config-dir", help="another folder of sweep files")
    chosen, words = parser.parse_known_args(list(arguments))
    folder = _folder(chosen.name, chosen.config_dir)
    key = composed_from([chosen.name, *words], folder)
    if not chosen.dry_run and (finished := _finished(chosen.name, words, key)) is not None:
        n = len(finished.cells)
        print(f"{finished.name}: {n} of {n} cells done, nothing left to do; bridge report {finished.name} shows them")
        return 0
    if chosen.fail_fast is not None:
        words = [*words, f"sweep.fail_fast={chosen.fail_fast}"]
    # A user's sweep may extend one of bridge's, and bridge's sweeps may use a user's options, such as a launcher.
    others = [path.resolve() for path in (Path("sweeps"), own_folder()) if path.is_dir() and path.resolve() != folder]
    more = [f"hydra.searchpath=[{','.join(repr(f'file://{path}') for path in others)}]"] if others else []
    command = ["--config-dir", str(folder), "--config-name", chosen.name, "-m", *words, *more]
    return run(command, Handover(key, chosen.dry_run))


def own_folder() -> Path:
    """The folder of bridge's own sweeps: inside an installed wheel, or at the top of a checkout."""
    inside = BRIDGE / "sweeps"
    return inside if inside.is_dir() else BRIDGE.parent / "sweeps"


def _folder(name: str, given: str | None) -> Path:
    """The folder that holds the sweep file: the one given, ./sweeps, or that of bridge itself."""
    folders = [Path(given)] if given is not None else [Path("sweeps"), own_folder()]
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder.resolve()
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    where = f"{folders[0]}{' and of bridge itself' if given is None else ''}"
    raise ConfigError(
        f"no sweep is called {name!r}; wanted one of those in {where} ({', '.join(known) or 'none'}): "
        f"write {folders[0] / name}.yaml to add it"
    )


def _finished(name: str, words: Sequence[str], key: str) -> Manifest | None:
    """The sweep, if it was composed from the same words and files, every cell is done, and its inputs are unchanged."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    outputs, name = values.get("paths.outputs", "outputs"), values.get("sweep.name", name)
    if name not in names(outputs):
        return None
    manifest = read(outputs, name)
    return manifest if manifest.composed_from == key and manifest.is_finished() else None
