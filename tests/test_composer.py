"""Cells that `Composer` composes are those that Hydra composes, in value, in type, and in what is refused."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from bridge.composer import Composer
from bridge.config import conf_dir
from bridge.schema import register

COMMAND = ["hydra/launcher=slurm", "hydra.job.name=another"]
GROUPS = ("pair", "injection", "control", "dataset", "map", "normalize", "task", "tracker")


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield Composer(GlobalHydra.instance().config_loader(), "config", COMMAND)


def by_hydra(overrides: Sequence[str]) -> DictConfig:
    return compose("config", [*COMMAND, *overrides])


def options(group: str) -> list[str]:
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def test_every_option_of_every_group_is_composed_as_by_hydra(composer: Composer) -> None:
    choices = [[f"{group}={option}" for option in options(group)] for group in GROUPS]
    rows = [[choice for choice in row if choice] for row in zip_longest(*choices)]
    assert sum(len(row) for row in rows) > 55
    for row in rows:
        ours, theirs = composer(row), by_hydra(row)
        assert ours == theirs
        # Also in order, in type, and in interpolations that are not resolved yet.
        assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=interlingua", "layer='7'"],
        ["experiment=first_look", "map=ridge", "seed=3"],
        ["++seed=4", "dataset.split={by:item,eval_fraction:0.3}"],
        ["hydra/launcher=local", "hydra.verbose=true", "layer=mid"],
        ["device=null_device", "paths.outputs=${now:%Y}"],
    ],
)
def test_overrides_are_applied_as_by_hydra(composer: Composer, overrides: list[str]) -> None:
    assert OmegaConf.to_yaml(composer(overrides)) == OmegaConf.to_yaml(by_hydra(overrides))


@pytest.mark.usefixtures("composer")
def test_a_search_path_of_the_command_line_is_searched(tmp_path: Path) -> None:
    (tmp_path / "map").mkdir()
    (tmp_path / "map/own.yaml").write_text("defaults: [ridge]\npenalty: 0.5\n")
    loader = GlobalHydra.instance().config_loader()
    with pytest.raises(HydraException, match="own"):
        Composer(loader, "config")(["map=own"])
    path = f"hydra.searchpath=[file://{tmp_path}]"
    assert OmegaConf.to_yaml(Composer(loader, "config", [path])(["map=own"])) == OmegaConf.to_yaml(
        compose("config", [path, "map=own"])
    )


@pytest.mark.usefixtures("composer")
def test_a_search_path_of_a_primary_config_of_ones_own_is_searched(tmp_path: Path) -> None:
    (tmp_path / "map").mkdir()
    (tmp_path / "map/own.yaml").write_text("defaults: [ridge]\npenalty: 0.5\n")
    node = OmegaConf.create({"defaults": ["config", {"override map": "own"}, "_self_"],
                             "hydra": {"searchpath": [f"file://{tmp_path}"]}})  # fmt: skip
    ConfigStore.instance().store("config_with_search_path", node)
    config = Composer(GlobalHydra.instance().config_loader(), "config_with_search_path")([])
    assert OmegaConf.to_yaml(config) == OmegaConf.to_yaml(compose("config_with_search_path"))
    assert config.map.penalty == 0.5


def test_a_cell_does_not_change_the_next_one(composer: Composer) -> None:
    before = OmegaConf.to_yaml(composer([]))
    changed = composer(["map=ridge", "dataset.size=7", "control.names=[random]"])
    changed.control.names.append("mean")
    assert OmegaConf.to_yaml(composer([])) == before


@pytest.mark.parametrize("overrides", [["map=no_such"], ["no_such=1"], ["batch_size=many"], ["no/such=1"]])
def test_what_hydra_refuses_is_refused_in_its_words(composer: Composer, overrides: list[str]) -> None:
    with pytest.raises(HydraException) as theirs:
        by_hydra(overrides)
    with pytest.raises(HydraException) as ours:
        composer(overrides)
    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))
