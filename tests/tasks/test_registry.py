"""Tasks by name: those beside the registry, those that packages bring, and what of a config each one uses."""

from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.tasks import registry
from bridge.tasks.base import GROUPS, Task

HERE = Path(__file__).parents[1] / "third_task"


def test_the_tasks_of_bridge_are_its_folders() -> None:
    assert registry.own() == ("rotation", "sae", "similarity", "translate")
    for name in registry.own():
        task = registry.get(name)
        assert task.name == name
        assert task.config().name == name
        assert registry.get(name) is task


def test_an_installed_package_brings_a_task_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"^task=coins is unknown; wanted one of rotation, sae, similarity, translate: "
    ):
        registry.get("coins")
    monkeypatch.syspath_prepend(str(HERE))
    registry._installed.cache_clear()
    try:
        coins = registry.get("coins")
        assert (coins.name, coins.searched.name) == ("coins", "bias")
        assert registry.names() == ["coins", "rotation", "sae", "similarity", "translate"]
        assert registry.get("coins") is coins
        assert registry.task_of({"config": {"task": {"name": "coins"}}}) is coins
        with pytest.raises(
            ConfigError, match=r"^task=coin is unknown; wanted one of coins, rotation, sae, similarity, translate: "
        ):
            registry.get("coin")
    finally:
        registry._installed.cache_clear()


def test_a_task_of_bridge_is_not_replaced_by_one_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_installed", lambda: {"translate": None})
    assert registry.get("translate").name == "translate"


class Some(Task):
    """Uses a group, one key of another, and nothing else."""

    name = "some"
    uses = ("dataset", "layer.position")


CONFIG = {
    "dataset": {"name": "facts", "size": 7},
    "layer": {"source": 1, "target": 2, "position": "last"},
    "map": {"name": "ridge"},
    "task": {"name": "some", "k": 3},
    "seed": 4,
    "device": "cpu",
}


def test_what_a_task_uses_of_a_config_is_its_groups_its_own_options_and_the_seed() -> None:
    assert Some().used(CONFIG) == {
        "dataset": {"name": "facts", "size": 7},
        "layer": {"position": "last"},
        "task": {"name": "some", "k": 3},
        "seed": 4,
    }
    # What the config does not hold is left out.
    assert "position" not in Some().used(CONFIG | {"layer": {"source": 1}})["layer"]
    assert Task().used(CONFIG).keys() == {"task", "seed"}


@pytest.mark.parametrize(
    ("key", "ignored"),
    [
        *(("dataset", False), ("dataset.size", False), ("layer", False), ("layer.position", False)),
        *(("layer.source", True), ("map", True), ("map.penalty", True), ("pair", True), ("control.names", True)),
        *(("task", False), ("task.k", False), ("seed", False), ("device", False), ("hydra/launcher", False)),
    ],
)
def test_a_key_has_no_effect_where_it_is_of_a_group_that_the_task_leaves_unused(key: str, ignored: bool) -> None:
    assert Some().ignores(key) is ignored


def test_a_task_that_uses_every_group_ignores_nothing() -> None:
    translate = registry.get("translate")
    assert set(translate.uses) == set(GROUPS)
    assert not any(translate.ignores(key) for key in (*GROUPS, "layer.source", "injection.k", "normalize.scale"))
    assert {key for key in GROUPS if registry.get("similarity").ignores(key)} == {
        "injection", "control", "map", "normalize",
    }  # fmt: skip
