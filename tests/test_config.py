"""Every option of every group composes; what is wrong fails with a text that says so."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf

from bridge.building import build
from bridge.config import (
    compose_config,
    conf_dir,
    from_plain,
    quote_layer,
    resolve_layer,
    run_id,
    to_plain,
    warn_of_draws,
)
from bridge.controls.names import CONTROLS
from bridge.errors import ConfigError
from bridge.injection import LateLayer
from bridge.maps.orthogonal import Orthogonal
from bridge.models.recipe import DyckSpec, spec_of
from bridge.schema import LAYER_FRACTIONS, LAYER_NUMBERS, BridgeConfig, LayerConfig, MapConfig, register

register()
YAML = sorted(p for p in conf_dir().rglob("*.yaml") if p.parent != conf_dir())
# What an option cannot do without.
NEEDS = {
    "pair=custom": ["pair.source.name=a", "pair.target.name=b"],
    "dataset=json": ["dataset.path=x.jsonl"],
    "dataset=squad": ["dataset.path=x.json"],
    "dataset=relations": ["dataset.path=x", "dataset.prompt='{input} gives'"],
    "dataset=huggingface": ["dataset.repository=a/b"],
    "map=saved": ["map.path=x"],
    "pair=text_seeds": ["pair.source.zoo.text=x.txt"],
}


# Before a test types a layer that is not among them.
STORED = [name.removesuffix(".yaml") for name in ConfigStore.instance().list("layer")]


def test_the_options_are_all_there() -> None:
    assert len(YAML) == 74
    assert len(STORED) == len(LAYER_NUMBERS) + len(LAYER_FRACTIONS)
    groups = {p.parent.name for p in YAML}
    assert groups == {
        *("pair", "layer", "injection", "control", "dataset"),
        *("map", "normalize", "task", "tracker", "experiment", "launcher", "sweeper"),
    }


@pytest.mark.parametrize("option", [f"{p.parent.relative_to(conf_dir())}={p.stem}" for p in YAML])
def test_every_option_composes(option: str) -> None:
    assert isinstance(compose_config(option, *NEEDS.get(option, [])), BridgeConfig)


@pytest.fixture(scope="module")
def layers() -> dict[str, LayerConfig]:
    """Every stored option of the group `layer`, composed at once, each in a package of its own."""
    defaults = [{f"layer@option_{i}": name} for i, name in enumerate(STORED)]
    ConfigStore.instance().store("layers", {"defaults": defaults})
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose("layers")
    return {name: OmegaConf.to_object(composed[f"option_{i}"]) for i, name in enumerate(STORED)}


@pytest.mark.parametrize("name", STORED)
def test_every_stored_layer_composes(layers: dict[str, LayerConfig], name: str) -> None:
    assert layers[name] == LayerConfig(source=float(name) if "." in name else int(name))


@pytest.mark.parametrize("layer", [-1, 0, 128, 0.05, 0.25, 0.375])
def test_numbered_and_fractional_layers_are_options(layer: float) -> None:
    assert compose_config(f"layer={layer}").layer.source == layer


def test_layers_that_differ_and_arbitrary_fractions_are_overrides() -> None:
    layer = compose_config("layer.source=3", "layer.target=0.41").layer
    assert (layer.source, layer.target) == (3, 0.41)


def test_only_the_numbers_of_the_layer_group_are_quoted() -> None:
    assert quote_layer("layer=8,0.5,mid,-1") == "layer='8','0.5',mid,'-1'"
    assert [quote_layer(o) for o in ("--help", "seed=1", "layer.source=2", "layer")] == [
        *("--help", "seed=1", "layer.source=2", "layer")
    ]


def test_an_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(HydraException, match=r"Could not override 'dataset.sise'"):
        compose_config("dataset.sise=3")


def test_a_wrong_type_is_refused_with_value_and_key() -> None:
    with pytest.raises(HydraException, match="Error merging override dataset.size=many") as caught:
        compose_config("dataset.size=many")
    assert "Value 'many' of type 'str' could not be converted to Integer" in str(caught.value.__cause__)


def test_a_value_outside_an_enumeration_is_refused_with_the_choices() -> None:
    with pytest.raises(HydraException) as caught:
        compose_config("dataset.split.by=colour")
    assert "Invalid value 'colour', expected one of [item, answer, subject, relation]" in str(caught.value.__cause__)


def test_an_unknown_option_is_refused_with_those_there_are() -> None:
    with pytest.raises(HydraException) as caught:
        compose_config("pair=tinny")
    assert "Could not find 'pair/tinny'" in str(caught.value)
    assert "tiny_same" in str(caught.value)


@pytest.mark.parametrize("target", ["os.system", "bridgeful.Thing"])
def test_a_foreign_target_is_refused(target: str) -> None:
    config = compose_config(f"map._target_={target}")
    with pytest.raises(
        ConfigError, match=rf"_target_={target} lies outside bridge\.; wanted a class of bridge: choose it by"
    ):
        build(config.map)


def test_a_target_that_bridge_has_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"_target_=bridge\.maps\.Nothing is not a class of bridge"):
        build(MapConfig(_target_="bridge.maps.Nothing"))


def test_no_yaml_file_names_a_class() -> None:
    assert not [p for p in [*YAML, conf_dir() / "config.yaml"] if "_target_" in p.read_text()]


@pytest.mark.parametrize("option", ["experiment=dyck_paper", "pair=dyck3", "pair=dyck3_fast", "pair=text_seeds"])
def test_two_seeds_of_one_recipe_differ_in_the_seed_alone(option: str) -> None:
    pair = compose_config(option, *NEEDS.get(option, [])).pair
    source, target = vars(pair.source.zoo), vars(pair.target.zoo)
    assert {field for field in source if source[field] != target[field]} == {"seed"}
    assert spec_of(to_plain(pair.source)["zoo"])
    if option == "pair=dyck3":
        assert spec_of(to_plain(pair.source)["zoo"]) == DyckSpec(seed=100)
    if option == "experiment=dyck_paper":
        assert (source["n_steps"], source["batch_size"], source["max_length"]) == (60_000, 512, 62)


def test_build_makes_the_object_with_its_values() -> None:
    made = build(compose_config("map.completion=none").map)
    assert isinstance(made, Orthogonal)
    assert made.completion == "none"
    late = build(compose_config("injection=late_layer", "injection.context=same", "injection.k=2").injection)
    assert isinstance(late, LateLayer)
    assert (late.k, late.context, late.neutral_prompt) == (2, "same", "Again")


def test_a_missing_value_is_named_with_what_to_type() -> None:
    with pytest.raises(
        ConfigError, match=r"no value for pair\.source\.name, pair\.target\.name; wanted one: add pair\.source"
    ):
        compose_config("pair=custom")
    # The target's text follows the source's.
    with pytest.raises(ConfigError, match=r"^no value for pair\.source\.zoo\.text; wanted one: add pair\.source\.zoo"):
        compose_config("pair=text_seeds")


def test_questions_of_one_article_go_together() -> None:
    assert compose_config("dataset=squad", "dataset.path=x.json").dataset.split.by.value == "subject"
    assert compose_config("dataset=json", "dataset.path=x.json").dataset.split.by.value == "item"


def test_an_unknown_control_and_impossible_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown control rotated; wanted some of fitted, random, shuffled"):
        compose_config("control.names=[fitted,rotated]")
    for n_draws in ("0", "-1", "many"):
        text = f"control.n_draws={n_draws} is no number of draws; wanted auto or at least 1: change it"
        with pytest.raises(ConfigError, match=f"(?i)^{re.escape(text)}$"):
            compose_config(f"control.n_draws={n_draws}")
    with pytest.raises(ConfigError, match="^batch_size=0 is too small; wanted at least 1: change it$"):
        compose_config("batch_size=0")
    for fraction in (0.0, 1.0, 1.5):
        with pytest.raises(
            ConfigError,
            match=rf"dataset\.split\.eval_fraction={fraction} is out of range; wanted a number between 0 and 1",
        ):
            compose_config(f"dataset.split.eval_fraction={fraction}")


def test_auto_is_a_number_of_draws_before_a_run_id_is_made() -> None:
    auto, twenty = compose_config("control.n_draws=auto"), compose_config("control.n_draws=20")
    assert auto == twenty
    assert run_id(auto) == run_id(twenty) != run_id(compose_config("control.n_draws=21"))


def test_draws_that_are_too_few_for_any_verdict_are_said_once_before_the_run(caplog: pytest.LogCaptureFixture) -> None:
    few = [to_plain(compose_config("control.n_draws=18", f"control={name}")) for name in ("random", "shuffled", "mean")]
    others = [to_plain(compose_config("control.n_draws=18", "task=similarity")), to_plain(compose_config())]
    warn_of_draws([*few, *others, to_plain(compose_config("control.n_draws=19"))])
    assert [record.message for record in caplog.records] == [
        "control.n_draws=18: a rank among 18 draws has p of at least 0.05, so nothing can be found above random, "
        "shuffled; give control.n_draws=19 or more, or auto"
    ]


@pytest.mark.parametrize(("layer", "number"), [(0, 0), (4, 4), (-1, 4), (0.5, 2), ("0.25", 1), ("3", 3), ("final", 4)])
def test_a_layer_is_a_number_a_fraction_or_final(layer: float | str, number: int) -> None:
    assert resolve_layer(layer, 4, "m") == number


@pytest.mark.parametrize("layer", [5, -2, 1.5, 4.5])
def test_a_layer_out_of_range_is_refused_with_the_range(layer: float) -> None:
    with pytest.raises(ConfigError, match=rf"layer {layer} is out of range for m; wanted 0\.\.4, as it has 4 blocks"):
        resolve_layer(layer, 4, "m")


def test_a_layer_that_is_a_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="layer 'top' is not a layer; wanted a number from 0 to 4, -1, a fraction"):
        resolve_layer("top", 4, "m")


def test_the_run_id_depends_on_what_changes_results_and_on_nothing_else() -> None:
    same = run_id(compose_config())
    assert same == run_id(
        compose_config(
            "device=cpu", "batch_size=3", "paths.outputs=/x", "tracker=wandb", "recompute=true", "sweep.name=s"
        )
    )
    others = [
        "seed=1",
        "layer=2",
        "dataset.size=5",
        "map=ridge",
        "control=fitted",
        "pair=tiny_same",
        "normalize=l2",
        "dataset.unit=fact",
        "task.gates.pairing=0.01",
    ]
    assert len({same, *(run_id(compose_config(o)) for o in others)}) == len(others) + 1


def test_the_other_direction_is_another_pair() -> None:
    there, back = compose_config(), compose_config("direction=reverse")
    assert (back.pair.source, back.pair.target) == (there.pair.target, there.pair.source)
    assert (back.pair.name, back.direction) == ("tiny_reverse", there.direction)
    assert run_id(back) != run_id(there)
    # What a record holds is the pair as it ran: read back, it is not turned round again.
    assert from_plain(to_plain(back)) == back


def test_the_plain_config_holds_nothing_but_json() -> None:
    plain = to_plain(compose_config())
    assert plain["normalize"]["scale"] == "frobenius"
    assert plain["control"]["n_draws"] == 20
    assert plain["control"]["names"] == list(CONTROLS)


def test_a_folder_of_ones_own_adds_options(tmp_path: Path) -> None:
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "mine.yaml").write_text(
        "defaults:\n  - /schema/pair/pair@_here_\n  - _self_\nname: mine\nsource: {name: a}\ntarget: {name: b}\n"
    )
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["pair=mine", f"hydra.searchpath=[file://{tmp_path}]"])
    assert config.pair.source.name == "a"


@pytest.mark.parametrize(("fraction", "number"), [(0.4, 2), (0.3, 1), (0.99, 4), (0.01, 0)])
def test_a_fraction_of_the_depth_is_rounded_to_the_nearest_layer(fraction: float, number: int) -> None:
    assert resolve_layer(fraction, 4, "m") == number


@pytest.mark.parametrize(
    "words",
    [
        ("injection=soft_prefix", "map=mlp"),
        ("injection=late_layer", "map=lora_target", "normalize=whiten", "layer=mid"),
        ("dataset=squad", "dataset.path=x", "dataset.answers=any"),
        ("dataset=json", "dataset.path=x", "dataset.split.by=subject"),
        ("task=similarity", "tracker=wandb"),
        ("pair=dyck3_fast", "pair.source.zoo.architecture=gpt_neox"),
        ("pair=text_seeds", "pair.source.zoo.text=x.txt"),
    ],
)
def test_a_plain_config_gives_every_config_back(words: tuple[str, ...]) -> None:
    config = compose_config(*words)
    again = from_plain(to_plain(config))
    assert again == config
    assert [type(getattr(again, f)) for f in vars(config)] == [type(value) for value in vars(config).values()]
