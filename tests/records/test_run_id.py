"""The run id changes with everything that can change a result."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.config import compose_config, to_plain
from bridge.errors import ConfigError
from bridge.records import record
from bridge.tasks.registry import run_id

EXCEPTIONS = ("tracker", "paths", "device", "batch_size", "recompute", "report", "sweep", "direction")
# What changes no result of a task beside these.
UNUSED = {
    "translate": (),
    "similarity": ("layer.source", "layer.target", "injection", "control", "map", "normalize"),
}


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
    unused = (*EXCEPTIONS, *UNUSED[plain["task"]["name"]])
    assert record.NOT_IN_RUN_ID == EXCEPTIONS
    assert plain.keys() >= set(EXCEPTIONS)
    same = run_id(plain)
    keys = dict(leaves(plain))
    assert len(keys) > 60
    for key, value in keys.items():
        changed = json.loads(json.dumps(plain))
        *path, last = key.split(".")
        node = changed
        for part in path:
            node = node[part]
        node[last] = [*value, "another"] if isinstance(value, list) else f"not {value}"
        if key == "task.name":
            with pytest.raises(ConfigError, match=f"^task=not {value} is unknown; wanted one of rotation, sae, "):
                run_id(changed)
        elif any(f"{key}.".startswith(f"{name}.") for name in unused):
            assert run_id(changed) == same, key
        else:
            assert run_id(changed) != same, key


def test_a_map_an_injection_and_a_layer_change_no_run_id_of_a_task_that_maps_nothing() -> None:
    words = ("layer=2", "injection=late_layer", "map=ridge", "control=random", "normalize=l2")
    ids = [run_id(to_plain(compose_config("task=similarity", *more))) for more in ((), words)]
    assert ids[0] == ids[1]
    assert run_id(to_plain(compose_config("task=similarity", "layer.position=mean"))) != ids[0]
