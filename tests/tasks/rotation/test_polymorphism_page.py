"""docs/polymorphism.md says what there is, and its commands are commands."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from bridge.config import compose_config, conf_dir
from bridge.schema.rotation import RotationConfig
from bridge.schema.sae import SAETaskConfig
from bridge.statistics.haar_power import ALTERNATIVES
from bridge.tasks import rotation, sae

PAGE = (Path(__file__).parents[3] / "docs" / "polymorphism.md").read_text()


@pytest.mark.parametrize("config", [RotationConfig, SAETaskConfig])
def test_every_option_is_on_the_page_with_its_default(config: type) -> None:
    for field in fields(config):
        if field.name not in ("name", "gates"):
            assert f"`task.{field.name}`" in PAGE, field.name
    both = (RotationConfig(), SAETaskConfig())
    rows = re.findall(r"^\| `task\.(\w+)` \| (\S+) \|", PAGE, flags=re.MULTILINE)
    assert len(rows) == 14
    for name, default in rows:
        (value,) = {getattr(one, name) for one in both if hasattr(one, name)}
        assert default.strip("`") == {None: "null", True: "true"}.get(value, str(value))


@pytest.mark.parametrize("task", [rotation.TASK, sae.TASK])
def test_every_condition_is_on_the_page(task) -> None:  # type: ignore[no-untyped-def]
    for name in task.conditions:
        assert f"`{name}`" in PAGE, name


def test_the_power_table_has_every_kind() -> None:
    rows = PAGE[PAGE.index("| kind | calibrated") :].partition("\n\n")[0]
    for word in (
        "signed permutation",
        "block",
        "cyclic shift",
        "partial identity",
        "low-rank",
        "shuffled",
        "unrelated",
    ):
        assert word in rows
    assert len(ALTERNATIVES) == 7


def test_the_commands_compose() -> None:
    (block,) = re.findall(r"```\n(.*?)```", PAGE, flags=re.DOTALL)
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert len(commands) == 5
    for words in commands[:2]:
        assert isinstance(compose_config(*words).task, RotationConfig | SAETaskConfig)
    for words in commands[2:4]:
        assert (conf_dir() / f"{words[0].replace('=', '/')}.yaml").exists()
    assert commands[4][0] == "haar"
