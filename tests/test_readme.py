"""What the README says is run as it is printed."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from declared import REFERENCES

from bridge.config import compose_config, conf_dir
from bridge.controls.names import CONTROLS
from bridge.schema import SlurmLauncherConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    text = "\n".join(block for language, block in BLOCKS if not language).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("bridge ")]
    return [[w for w in shlex.split(line, comments=True)[1:] if not w.startswith("-")] for line in lines]


VERBS = ("report", "status", "export", "dashboard", "sync", "haar")


def test_every_printed_command_composes() -> None:
    found = [words for words in commands() if words and words[0] not in VERBS]
    sweeps = [words for words in found if words[0] == "sweep"]
    assert (len(found), len(sweeps)) == (13, 4)
    for words in sweeps:
        assert (ROOT / "sweeps" / f"{words[1]}.yaml").exists()
        launcher = {word.partition("=")[0].removeprefix("hydra.launcher.") for word in words if "hydra.l" in word}
        assert launcher <= {f.name for f in fields(SlurmLauncherConfig)}
        compose_config(*(word for word in words[2:] if not word.startswith("hydra.l")))
    for words in (words for words in found if words not in sweeps):
        # Of a sweep, the first cell.
        compose_config(*(word.split(",")[0] for word in words))


def test_the_library_example_runs(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (block for language, block in BLOCKS if language == "python")
    monkeypatch.chdir(outputs.parent)
    scope: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert "'shuffled_within'" in capsys.readouterr().out
    assert scope["mapped"].shape == (len(scope["parts"].eval), 128)


def test_every_control_and_every_option_is_named() -> None:
    for name in (*CONTROLS, *REFERENCES):
        assert f"`{name}`" in README or name == "fitted", name
    for path in conf_dir().rglob("*.yaml"):
        if path.parent.name not in ("conf", "control", "experiment", "task", "sweeper"):
            assert f"`{path.stem}`" in README, path


def test_every_link_to_a_file_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
