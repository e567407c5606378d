"""A map, its configuration and its YAML file say the same."""

import dataclasses
import inspect
from enum import Enum
from importlib import import_module

from omegaconf import MISSING

from bridge.config import conf_dir
from bridge.maps.registry import map_class, maps
from bridge.schema import SCHEMAS

CONFIGS = {name: node for group, name, node in SCHEMAS if group == "map"}


def test_every_exported_map_has_a_configuration_with_its_own_arguments_and_defaults():
    classes = {}
    for name, node in CONFIGS.items():
        made = node()
        module, _, class_name = made._target_.rpartition(".")
        classes[name] = getattr(import_module(module), class_name)
        assert made.name == name
        given = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
        given = {k: v.value if isinstance(v, Enum) else v for k, v in given.items()}
        parameters = inspect.signature(classes[name]).parameters
        # what must be given has no default
        arguments = {k: MISSING if p.default is p.empty else p.default for k, p in parameters.items()}
        assert given.keys() - {"_target_", "name", "training"} == arguments.keys()
        # what hangs on another node, such as the seed, has no default of its own
        assert {k: v for k, v in arguments.items() if not str(given[k]).startswith("${")} == {
            k: v for k, v in given.items() if k in arguments and not str(v).startswith("${")
        }
    assert classes == {name: map_class(name) for name in maps()}
    assert len(classes) == 12


def test_every_map_has_a_file_of_its_name_and_the_readme_lists_it():
    files = {path.stem for path in (conf_dir() / "map").glob("*.yaml")}
    assert files >= CONFIGS.keys()
    readme = conf_dir().parent / "README.md"
    (row,) = (line for line in readme.read_text().splitlines() if line.startswith("| `map` |"))
    assert {name for name in files if f"`{name}`" not in row} == set()
