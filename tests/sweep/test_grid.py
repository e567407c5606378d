"""A grid composed axis by axis is the grid that Hydra composes cell by cell."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from bridge.config import compose_config, conf_dir, from_plain, run_id, to_plain
from bridge.errors import ConfigError
from bridge.schema import register
from bridge.sweep.grid import adhoc_name, expand, make


class Composer:
    """Composes as Hydra does, and counts."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        self.n += 1
        register()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("config", list(overrides))


@pytest.fixture
def composer() -> Composer:
    return Composer()


AXES = {
    "injection": ["lm_head", "late_layer", "soft_prefix", "late_layer_same_prompt"],
    "layer": ["'0'", "final", "'0.5'"],
    "control": ["fitted", "all"],
    "dataset.size": ["10", "null"],
    "pair": ["tiny", "tiny_same"],
    "direction": ["forward", "reverse"],
    "map": ["ridge"],
}


def test_every_combination_is_what_hydra_composes_for_it(composer: Composer) -> None:
    combinations, configs = expand(AXES, composer)
    assert len(combinations) == len(configs) == 4 * 3 * 2 * 2 * 2 * 2
    assert combinations[1][-2] == "direction=reverse"
    assert composer.n == 1 + 3 + 2 + 1 + 1 + 1 + 1 + 3
    for i in range(0, len(combinations), 17):
        whole = compose_config(*combinations[i])
        assert configs[i] == to_plain(whole)
        assert run_id(from_plain(configs[i])) == run_id(whole)


def test_an_interpolation_follows_the_axis_it_points_to(composer: Composer) -> None:
    axes = {"pair": ["tiny", "pythia_70m_seeds"], "injection": ["late_layer", "soft_prefix"], "seed": ["0", "1", "2"]}
    combinations, configs = expand(axes, composer)
    prompts = {(o[0], c["injection"].get("neutral_prompt")) for o, c in zip(combinations, configs, strict=True)}
    assert ("pair=tiny", "Again") in prompts
    assert ("pair=pythia_70m_seeds", "The answer is") in prompts


def test_axes_that_meet_in_one_part_of_the_config_are_composed_cell_by_cell(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Combinations drawn at random are composed whole as well, and might hide that nobody looked.
    monkeypatch.setattr("bridge.sweep.grid.N_CHECKED", 0)

    def both_set_the_seed(overrides: Sequence[str]) -> DictConfig:
        config = composer(overrides)
        config.seed = sum("2" in o for o in overrides)
        return config

    axes = {"layer": ["'1'", "'2'"], "dataset.size": ["10", "20"], "batch_size": ["8", "9"]}
    combinations, configs = expand(axes, both_set_the_seed)
    assert [c["seed"] for c in configs] == [("layer='2'" in o) + ("dataset.size=20" in o) for o in combinations]
    assert composer.n > len(combinations)


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({"seed": ["1", "2", "1"]}, "the grid has the cell seed=1 twice"),
        (
            {"task": ["similarity"], "layer": ["'1'", "'2'"]},
            r"sweeps over layer, which has no effect in task=similarity \(",
        ),
        (
            {"task": ["similarity"], "map": ["ridge", "linear"]},
            "sweeps over map, which has no effect in task=similarity",
        ),
        ({"task": ["translate", "similarity"], "map": ["ridge", "linear"]}, r"grid of its own \(sweep.grids\)$"),
        (
            {"device": ["cpu", "auto"]},
            "one cell twice, as device=cpu and as device=auto; wanted each once: leave one of them out",
        ),
    ],
)
def test_a_cell_that_is_there_twice_is_refused(composer: Composer, axes: dict[str, list[str]], told: str) -> None:
    combinations, configs = expand(axes, composer)
    with pytest.raises(ConfigError, match=told):
        make("x", Path("outputs"), combinations, configs, axes)


def test_a_manifest_gives_every_config_back(composer: Composer, tmp_path: Path) -> None:
    combinations, configs = expand(AXES, composer)
    manifest = make("x", tmp_path, combinations, configs, AXES)
    assert manifest.run_ids == [run_id(from_plain(config)) for config in configs]
    assert all(manifest.config(cell) == config for cell, config in zip(manifest.cells, configs, strict=True))
    assert "map" not in manifest.axes
    assert manifest.label(manifest.cells[0]).startswith("injection=lm_head, layer=0, control=fitted, dataset.size=10")


def test_a_grid_without_a_name_has_that_of_its_cells(composer: Composer) -> None:
    def name(seeds: Sequence[int]) -> str:
        return adhoc_name(to_plain(compose_config(f"seed={seed}")) for seed in seeds)

    names = [name(seeds) for seeds in itertools.permutations((1, 2))]
    assert names[0] == names[1] != name([1])
    assert names[0].startswith("multirun_")


def test_a_layer_that_is_written_otherwise_is_another_cell(tmp_path: Path) -> None:
    configs = [to_plain(compose_config()) for _ in range(2)]
    configs[0]["layer"]["source"], configs[1]["layer"]["source"] = 1, 1.0
    made = make("x", tmp_path, [("layer=1",), ("layer=1.0",)], configs, {"layer": ["1", "1.0"]})
    assert [type(made.config(cell)["layer"]["source"]) for cell in made.cells] == [int, float]


def test_cells_that_come_out_otherwise_than_hydra_composes_them_are_composed_whole(composer: Composer) -> None:
    def only_together(overrides: Sequence[str]) -> DictConfig:
        config = composer(overrides)
        config.batch_size = 7 if overrides[0] != "layer='1'" and overrides[1] != "dataset.size=10" else 8
        return config

    axes = {"layer": ["'1'", "'2'", "'3'", "'4'"], "dataset.size": ["10", "20", "30", "40"]}
    combinations, configs = expand(axes, only_together)
    wanted = [8 if "layer='1'" in o or "dataset.size=10" in o else 7 for o in combinations]
    assert [c["batch_size"] for c in configs] == wanted


def test_options_with_fewer_keys_than_the_first_are_put_together_too(composer: Composer) -> None:
    axes = {"injection": ["soft_prefix", "lm_head", "late_layer"], "seed": ["0", "1", "2", "3", "4"]}
    combinations, configs = expand(axes, composer)
    assert composer.n == 1 + 2 + 4 + 3 < len(combinations)
    assert configs[-1] == to_plain(compose_config("injection=late_layer", "seed=4"))
