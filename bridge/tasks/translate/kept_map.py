"""Saved maps: a fitted map is stored among the artefacts, and may be used in another cell."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.config import to_plain
from bridge.data.items import Item
from bridge.errors import DataError
from bridge.maps.adapter import Adapter
from bridge.maps.saved import Saved
from bridge.maps.stored import Scalar
from bridge.records.record import RECORD_VERSION
from bridge.schema import BridgeConfig
from bridge.session import Session

FITTED_ON = "fitted_on.json"
DECIDES = ("map", "normalize", "dataset", "injection", "layer", "pair", "seed")
WEIGHTS = {"source_weights": "source", "target_weights": "target"}


def description(config: BridgeConfig, inputs: dict[str, str], layers: dict[str, int], n_fit: int) -> dict[str, Scalar]:
    """What the map of a cell is fitted for: models, layers and position."""
    pair = config.pair
    return {
        "pair": pair.name,
        "source": pair.source.name,
        "target": pair.target.name,
        "source_weights": inputs["source"],
        "target_weights": inputs["target"],
        "source_layer": layers["source"],
        "target_layer": layers["target"],
        "position": config.layer.position,
        "n_fit": n_fit,
    }


def keep(
    config: BridgeConfig,
    session: Session,
    inputs: dict[str, str],
    adapter: Adapter,
    about: dict[str, Scalar],
    fitted_on: Sequence[Item],
) -> str:
    """Store a fitted map among the artefacts, with what it was fitted for and on, and return where.

    Args:
        config: of the cell.
        session: holds the store.
        inputs: fingerprints of the weights and items of the cell.
        adapter: the map with its normalisations.
        about: what it was fitted for.
        fitted_on: the items of its fit rows.

    Raises:
        StoreError: the store cannot be written.
    """
    plain = to_plain(config)
    made_from = {"version": RECORD_VERSION, "inputs": inputs, **{name: plain[name] for name in DECIDES}}

    def write(folder: Path) -> None:
        adapter.save(folder, about)
        answers = sorted({item.answer.strip() for item in fitted_on})
        content = {"items": sorted({key for item in fitted_on for key in _keys(item)}), "answers": answers}
        (folder / FITTED_ON).write_text(json.dumps(content) + "\n")

    return str(session.artefacts.ensure("map", made_from, write, again=config.recompute))


def put_to_use(map_: Saved, about: dict[str, Scalar], evaluated: Sequence[Item]) -> tuple[list[str], set[str]]:
    """Check that a saved map can be scored on the eval items.

    Args:
        map_: the map.
        about: what a map of this cell would be fitted for.
        evaluated: the eval items.

    Returns: warnings, and the answers that the map was fitted on.

    Raises:
        DataError: some of the eval items were fit rows of the map.
    """
    was = map_.adapter.map.about_
    other = [
        f"{WEIGHTS.get(key, key)}={was[name]}{' with other weights' if key in WEIGHTS else ''}"
        for key in (*WEIGHTS, "source_layer", "target_layer", "position")
        if was.get(key) != about[key] and (name := WEIGHTS.get(key, key)) in was
    ]
    warnings = [f"the map in {map_.path} was fitted for {', '.join(other)}"] if other else []
    try:
        fitted_on: dict[str, Any] = json.loads((Path(map_.path) / FITTED_ON).read_text())
    except FileNotFoundError:
        return [*warnings, f"the map in {map_.path} does not say what it was fitted on: eval items may be in it"], set()
    seen = set(fitted_on["items"])
    n_seen = sum(any(key in seen for key in _keys(item)) for item in evaluated)
    if n_seen:
        raise DataError(
            f"the map in {map_.path} was fitted on {n_seen} of the {len(evaluated)} eval items, so its score would "
            "be in-sample; wanted items that it was not fitted on: give the seed, data set and dataset.split of the "
            "cell that it comes from, or other items"
        )
    return warnings, set(fitted_on["answers"])


def _keys(item: Item) -> list[str]:
    """Hashes that name an item: of its prompt, and of its fact where it has one."""
    names = [item.prompt] + ([f"{item.relation}\0{item.subject}"] if item.relation and item.subject else [])
    return [hashlib.sha256(name.encode()).hexdigest()[:16] for name in names]
