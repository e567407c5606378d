"""Whether the weights and items of a sweep are still those that its records were computed on."""

import json
import logging
from pathlib import Path
from typing import Any

from bridge.config import from_plain
from bridge.data import facts
from bridge.errors import BridgeError
from bridge.records import record
from bridge.records.manifest import Manifest, held, stamp
from bridge.schema import BridgeConfig, ModelConfig
from bridge.session import Session
from bridge.tasks.registry import get

log = logging.getLogger("bridge")


def changed(manifest: Manifest) -> list[str]:
    """Run ids of finished cells whose models or items have changed, so that they have to be computed again.

    Inputs that cannot be reached from here (a hub, a deleted model) count as unchanged; the cells check again.
    """
    heads = {r: record.head(manifest.outputs, r) or {} for r in manifest.run_ids}
    done = {r: head for r, head in heads.items() if head.get("status") == "done" and "inputs" in head}
    now = {key: inputs for key, (inputs, _) in _sources(manifest, list(done)).items()}
    return [r for r, head in done.items() if now.get(_key(manifest, r), head["inputs"]) != head["inputs"]]


def note(manifest: Manifest) -> None:
    """Note the input files of a finished sweep, so that `bridge sweep` sees quickly that nothing is left to do."""
    heads = [record.head(manifest.outputs, r) or {} for r in manifest.run_ids]
    if any(head.get("status") != "done" for head in heads) or changed(manifest):
        return
    files = [file for _, paths in _sources(manifest, manifest.run_ids).values() for file in paths]
    stamps = {str(file): stamp(file) for file in files}
    with held(manifest.outputs, manifest.name):
        manifest.inputs = {file: was for file, was in stamps.items() if was is not None}
        manifest.write()


def _key(manifest: Manifest, run_id: str) -> str:
    changes = manifest.by_run_id[run_id].changes
    rooms = ("pair", "dataset", "task")
    own = {k: v for k, v in changes.items() if k == "map.path" or (k.split(".")[0] in rooms and k != "dataset.size")}
    return json.dumps(own, sort_keys=True)


def _sources(manifest: Manifest, run_ids: list[str]) -> dict[str, tuple[dict[str, str], list[Path]]]:
    """For each pair and data set: the fingerprints of its inputs now, and their files."""
    settings = manifest.settings
    session = Session(settings["paths"]["outputs"], settings["device"], settings["batch_size"])
    sources = {}
    for key, run_id in {_key(manifest, r): r for r in run_ids}.items():
        config = from_plain(manifest.config(manifest.by_run_id[run_id]))
        needs = get(config.task.name).needs(config)
        models = {side: getattr(config.pair, side) for side in needs.sides}
        if not all(session.is_there(model) for model in models.values()):
            # The weights of such a model follow from the config alone, so it is not trained again to check them.
            continue
        try:
            inputs = session.inputs(config)
        except BridgeError as error:
            log.info("not looked whether inputs have changed: %s", error)
            continue
        sources[key] = inputs, [file for m in models.values() for file in _files(session, m)]
        sources[key][1].extend(_data(config) if needs.items else [])
    return sources


def _files(session: Session, model: ModelConfig) -> list[Path]:
    folder = Path(session.path(model)).expanduser()
    if folder.is_dir():
        return sorted(path.resolve() for path in folder.iterdir() if path.is_file())
    from huggingface_hub.constants import HF_HUB_CACHE

    # The file of the hub's cache that names the commit of a branch.
    refs = Path(HF_HUB_CACHE) / f"models--{model.name.replace('/', '--')}" / "refs"
    return [refs / (model.revision or "main")]


def _data(config: BridgeConfig) -> list[Path]:
    given: Any = getattr(config.dataset, "path", None)
    if given is None:
        return [Path(facts.__file__).with_name("facts.json")]
    path = Path(given).resolve()
    return [path, *sorted(path.glob("*.json"))] if path.is_dir() else [path]
