"""The run id changes with everything that can change a result."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.config import compose_config, to_plain
from bridge.records import record

EXCEPTIONS = {"tracker", "paths", "device", "batch_size", "recompute", "report", "sweep", "direction"}


def leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key -> value, of all that is not a dict with something in it."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# Together they have every option of every group that can hold other keys.
CONFIGS = (
    *((), ("experiment=interlingua",), ("task=similarity",), ("dataset=squad", "dataset.path=x"), ("map=lora_target",)),
    *(("injection=soft_prefix", "map=mlp"), ("injection=late_layer", "map=ridge", "normalize=whiten")),
    *(("dataset=json", "dataset.path=x", "map=semi_orthogonal"), ("map=cca",), ("map=relative", "pair=llama3_mistral")),
)


@pytest.mark.parametrize("words", CONFIGS, ids=" ".join)
def test_the_run_id_changes_with_every_key_but_the_exceptions(words: tuple[str, ...]) -> None:
    plain = to_plain(compose_config(*words))
    assert set(record.NOT_IN_RUN_ID) == EXCEPTIONS
    assert plain.keys() >= EXCEPTIONS
    same = record.run_id(plain)
    keys = dict(leaves(plain))
    assert len(keys) > 60
    for key, value in keys.items():
        changed = json.loads(json.dumps(plain))
        *path, last = key.split(".")
        node = changed
        for part in path:
            node = node[part]
        node[last] = [*value, "another"] if isinstance(value, list) else f"not {value}"
        if key.split(".")[0] in EXCEPTIONS:
            assert record.run_id(changed) == same, key
        else:
            assert record.run_id(changed) != same, key
