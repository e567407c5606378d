"""docs/similarity.md says what there is, and its commands are commands."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

from bridge.config import compose_config
from bridge.schema.similarity import SimilarityConfig
from bridge.similarity.measures import MEASURES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "similarity.md").read_text()


def test_every_measure_and_every_option_is_on_the_page() -> None:
    for name in MEASURES:
        assert f"`{name}`" in PAGE
    for field in fields(SimilarityConfig):
        if field.name not in ("_target_", "name", "gates"):
            assert f"`task.{field.name}`" in PAGE


def test_defaults_are_those_on_the_page() -> None:
    for name, default in re.findall(r"^\| `task\.(\w+)` \| ([\d.]+) \|", PAGE, flags=re.MULTILINE):
        assert float(getattr(SimilarityConfig, name)) == float(default)
    assert len(re.findall(r"^\| `task\.", PAGE, flags=re.MULTILINE)) == 10


def test_the_commands_compose() -> None:
    (block,) = re.findall(r"```\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = block.replace("\\\n", " ").replace(" && ", "\n").splitlines()
    commands = [[w for w in shlex.split(line, comments=True)[1:] if not w.startswith("-")] for line in lines]
    assert len(commands) == 4
    for words in commands:
        if words[0] in ("sweep", "report"):
            assert (ROOT / "sweeps" / f"{words[1]}.yaml").exists()
        else:
            assert isinstance(compose_config(*words).task, SimilarityConfig)
