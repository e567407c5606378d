"""What the command line says of itself: help, lists, and completion as a shell asks for it."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.cli import VERBS, main
from bridge.config import compose_config, conf_dir
from bridge.controls.names import CONTROLS
from bridge.schema import TaskConfig
from bridge.shell.listing import BRIDGE, LISTS, maps, tasks

ROOT = BRIDGE.parent
Says = Callable[..., str]
Completes = Callable[[str], list[str]]


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Run a command that succeeds, and return what it printed."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main([*words])
        said = capsys.readouterr()
        assert (stop.value.code, said.err) == (0, "")
        return said.out

    return command


@pytest.fixture
def completes(says: Says, monkeypatch: pytest.MonkeyPatch) -> Completes:
    """What bash is offered for a line."""

    def command(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        return says("-sc", "query=bash").split()

    return command


def test_help_fits_two_screens_and_names_every_verb_and_every_option(says: Says) -> None:
    lines = says("--help").rstrip("\n").splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert "layer: 0..128, -1, a fraction such as 0.5, final, mid\n" in text
    assert "schema" not in text
    assert 'eval "$(bridge -sc install=bash)"' in text
    for verb in VERBS:
        assert f"bridge {verb}" in text, verb
    options = set(text[text.index("control: ") :].replace(",", " ").split())
    files = list(conf_dir().glob("*/*.yaml")) + list((conf_dir() / "hydra" / "launcher").glob("*.yaml"))
    assert len(files) > 50
    for path in files:
        assert path.stem in options, path


def test_options_of_ones_own_folder_are_in_the_help(says: Says, tmp_path: Path) -> None:
    (tmp_path / "mine" / "layer").mkdir(parents=True)
    (tmp_path / "mine" / "layer" / "third.yaml").write_text("source: 3\n")
    assert "a fraction such as 0.5, final, mid, third\n" in says("--config-dir", "mine", "--help")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_a_line_for_each(says: Says, name: str) -> None:
    *lines, empty, how = says(name).splitlines()
    assert (empty, how.startswith(("Choose one", "All are"))) == ("", True)
    wanted = {
        "tasks": [path.stem for path in sorted((conf_dir() / "task").glob("*.yaml"))],
        "maps": [path.stem for path in sorted((conf_dir() / "map").glob("*.yaml"))],
        "controls": list(CONTROLS),
    }[name]
    assert [line.split()[0] for line in lines] == wanted
    assert all(len(line.split()) > 2 for line in lines), lines


def test_a_map_is_described_by_its_class_and_a_variant_by_its_file() -> None:
    lines = maps()
    assert lines["orthogonal"] == "The rotation (or reflection) that takes X closest to Y."
    assert lines["mlp_target"].startswith("Trained on through the frozen target")
    assert set(tasks()) == {f"{path.parent.name}" for path in (BRIDGE / "tasks").glob("*/__init__.py")}
    assert isinstance(compose_config(f"task={next(iter(tasks()))}").task, TaskConfig)


def test_the_lists_import_no_torch_of_their_own() -> None:
    for path in (BRIDGE / "shell").glob("*.py"):
        names = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert not {"torch", "bridge.maps", "bridge.tasks.registry"} & names, path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bridge inj", ["injection.", "injection="]),
        ("bridge injection=la", ["injection=late_layer", "injection=late_layer_same_prompt"]),
        ("bridge dataset.split.by", ["dataset.split.by="]),
        ("bridge dataset=squad dataset.pa", ["dataset.path="]),
        ("bridge hydra/launcher=sl", ["hydra/launcher=slurm"]),
        # Layers, as Hydra wants them and as people write them, before the word and in it.
        ("bridge layer=2 map=relat", ["map=relative"]),
        ("bridge layer='2' map=relat", ["map=relative"]),
        ("bridge \"layer='2'\" map=relat", ["map=relative"]),
        ("bridge -m layer='2','3' map=relat", ["map=relative"]),
        ("bridge layer=2,3 map=relat", ["map=relative"]),
        ("bridge layer=fi", ["layer=final"]),
        ("bridge layer=99", ["layer=99"]),
        ("bridge layer='99", [r"layer=\'99\'"]),
        ("bridge layer=2,99", ["layer=2,99"]),
        # What a list has already is not offered again.
        (
            "bridge -m normalize=none,l2,center,",
            ["normalize=none,l2,center,frobenius", "normalize=none,l2,center,whiten"],
        ),
        # Verbs, sweeps by name, and then overrides.
        ("bridge da", ["dashboard", "dataset.", "dataset="]),
        ("bridge sweep la", ["layer_ablation"]),
        ("bridge sweep layer_ablation pair=tiny_", ["pair=tiny_same"]),
        ("bridge status ", []),
        ("bridge sch", []),
        # Nothing is said of what makes no sense, in the midst of a line.
        ("bridge pair=nowhere dataset.s", []),
        ("bridge 'unclosed dataset=sq", ["dataset=squad"]),
    ],
)
def test_bash_is_offered_what_the_word_can_become(completes: Completes, line: str, offered: list[str]) -> None:
    assert completes(line) == offered


def test_every_layer_is_offered_and_an_empty_word_gets_groups_and_verbs(completes: Completes) -> None:
    assert {"layer=0", "layer=128", "layer=-1", "layer=0.5", "layer=mid"} <= set(completes("bridge layer="))
    first = completes("bridge ")
    assert {*VERBS, "pair=", "layer=", "seed="} <= set(first)
    assert not [word for word in first if word.startswith("schema")]


def test_bash_completes_with_what_the_readme_installs(tmp_path: Path) -> None:
    (tmp_path / "bridge").write_text(f'#!/bin/sh\nexec {sys.executable} -m bridge "$@"\n')
    (tmp_path / "bridge").chmod(0o755)
    install = 'eval "$(bridge -sc install=bash)"'
    assert install in (ROOT / "README.md").read_text()
    script = f"""{install}
COMP_LINE="bridge layer=2 injection=so" COMP_POINT=27 COMP_CWORD=2
hydra_bash_completion
echo "${{COMPREPLY[@]}}"
complete -p bridge"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    assert done.stderr == ""
    offered, installed = done.stdout.splitlines()
    assert offered == "injection=soft_prefix"
    assert installed.endswith("-F hydra_bash_completion bridge")
