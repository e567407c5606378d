"""A map is its file and its conf file, and nothing else."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bridge.maps
from bridge.errors import ConfigError
from bridge.maps.registry import Described, map_class, maps, names_of
from bridge.schema.map import config_of

ROOT = Path(__file__).parents[2]
HALF = '''
"""Half of what another map says."""

from typing import Literal

from torch import Tensor

from bridge.maps.ridge import Ridge


class HalfWay(Ridge):
    """Half of what ridge regression says."""

    def __init__(
        self, penalty: float = 0.5, ways: Literal["one", "two"] = "two", seed: int = 0, cut: int | None = None
    ) -> None:
        super().__init__(penalty=penalty, seed=seed)
        self.ways = ways
        self.cut = cut

    def _transform(self, X: Tensor) -> Tensor:
        return super()._transform(X) / 2
'''
USED = """
import sys
from bridge.building import build
from bridge.config import compose_config, from_plain, run_id, to_plain
assert "bridge.maps.ridge" not in sys.modules
config = compose_config("map=half_way", "map.ways=one", "seed=7")
assert to_plain(config)["map"]["ways"] == "one" and from_plain(to_plain(config)) == config
map = build(config.map)
import torch
from bridge.maps import HalfWay
from bridge.maps.loading import load_map
from bridge.maps.ridge import Ridge
X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
assert type(map) is HalfWay and (map.penalty, map.ways, map.seed, map.cut) == (0.5, "one", 7, None)
assert torch.equal(map.fit(X, X).transform(X), Ridge(penalty=0.5).fit(X, X).transform(X) / 2)
map.save(sys.argv[1])
assert torch.equal(load_map(sys.argv[1]).transform(X), map.transform(X))
print(bridge.maps.registry.names_of("streams"))
"""


def test_a_map_is_added_with_its_file_and_its_conf_file(tmp_path: Path) -> None:
    for name in ("bridge", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bridge" / "maps" / "half_way.py").write_text(HALF)
    (tmp_path / "conf" / "map" / "half_way.yaml").write_text("defaults:\n  - /schema/map/half_way@_here_\n")
    (tmp_path / "use.py").write_text(f"import bridge.maps.registry\n{USED}")
    words = [sys.executable, str(tmp_path / "use.py"), str(tmp_path / "saved")]
    done = subprocess.run(words, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path), "PATH": ""})
    assert done.returncode == 0, done.stderr
    assert "HalfWay" in done.stdout


def test_every_map_is_found_by_the_name_of_its_file_and_can_be_imported_by_that_of_its_class() -> None:
    assert len(maps()) >= 11
    for name, map_ in maps().items():
        assert map_class(name) is map_class(map_.class_name) is getattr(bridge.maps, map_.class_name)
        assert map_class(name).__module__ == f"bridge.maps.{name}"
        assert (map_class(name).__doc__ or "").startswith(map_.says)
        assert map_.says
    assert set(dir(bridge.maps)) >= {"Ridge", "load_map"}
    with pytest.raises(KeyError):
        map_class("factored")
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from bridge.maps import Nothing  # noqa: F401


def test_the_maps_are_known_without_torch() -> None:
    code = "import sys, bridge.maps.registry as r; print(len(r.maps()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(maps())} False\n"


def test_the_maps_with_an_ability_are_named() -> None:
    assert names_of("trainable").endswith(" and Ridge")
    assert "Orthogonal" not in names_of("trainable")


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("size: list[int] = 3", r"argument size is annotated list\[int\]; wanted bool, float, int, str, one of them"),
        ("size=3", r"argument size is annotated nothing; wanted bool"),
        ("size: int = len('a')", r"the default of argument size is len\('a'\); wanted a constant"),
    ],
)
def test_an_argument_that_a_configuration_cannot_hold_is_refused_in_one_line(argument: str, text: str) -> None:
    (function,) = ast.parse(f"def f({argument}): ...").body
    assert isinstance(function, ast.FunctionDef)
    arguments = {"size": (function.args.args[0].annotation, function.args.defaults[0])}
    with pytest.raises(ConfigError, match=f"^bridge.maps.mine.Mine: {text}") as caught:
        config_of(Described("mine", "Mine", "", arguments))
    assert "\n" not in str(caught.value)
