"""A manifest on disk: whole or not there, and cheap to read."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.records.manifest import Cell, Manifest, check_name, finished_grid, names, read, stamp


def manifest(outputs: Path, name: str = "m") -> Manifest:
    base = {"layer": {"source": 1}, "injection": {"name": "lm_head"}}
    cells = (
        Cell("a", (), {}),
        Cell("b", ("layer=2",), {"layer.source": 2, "injection": {"name": "late_layer", "k": None}}),
    )
    return Manifest(name, outputs, base, cells, {"layer": ["1", "2"]}, {"device": "cpu"}, "key")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    made.write()
    assert read(tmp_path, "m") == made
    assert names(tmp_path) == ["m"]
    assert made.config(made.cells[1]) == {
        "layer": {"source": 2},
        "injection": {"name": "late_layer", "k": None},
        "device": "cpu",
    }
    assert made.config(made.cells[0])["layer"] == {"source": 1}


def test_a_sweep_that_was_never_started_is_refused_with_those_that_were(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="no sweep 'x' was started in .*; wanted one of none yet: correct the name, or start one with"
    ):
        read(tmp_path, "x")
    manifest(tmp_path).write()
    with pytest.raises(ConfigError, match="wanted one of m: "):
        read(tmp_path, "x")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is damaged"), (json.dumps({"manifest_version": 9}), "of manifest version 9")]
)
def test_a_manifest_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    manifest(tmp_path).write()
    (tmp_path / "sweeps" / "m" / "sweep.json").write_text(text)
    with pytest.raises(
        ConfigError, match=rf"{message}.*; wanted .*: delete it and give the bridge sweep command again|{message}"
    ):
        read(tmp_path, "m")


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b", "ä"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a sweep"):
        check_name(name)


def test_inputs_are_unchanged_while_the_files_are(tmp_path: Path) -> None:
    made, file = manifest(tmp_path), tmp_path / "items.json"
    assert not made.unchanged()
    file.write_text("[]")
    made.inputs = {str(file): stamp(file) or []}
    assert made.unchanged()
    file.write_text("[1]")
    assert not made.unchanged()
    file.unlink()
    assert not made.unchanged()


def test_a_manifest_is_read_without_torch_and_without_hydra() -> None:
    code = "import sys, bridge.records.manifest, bridge.sweep.status, bridge.sweep.command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "transformers", "wandb"} & set(done.stdout.split())


def test_a_file_that_is_edited_in_its_length_has_changed(tmp_path: Path) -> None:
    made, file = manifest(tmp_path), tmp_path / "items.json"
    file.write_text("[1]")
    made.inputs = {str(file): stamp(file) or []}
    file.write_text("[2]")
    os.utime(file, ns=(1, 1))
    assert not made.unchanged()


def test_a_grid_without_cells_to_do_is_finished_until_a_file_behind_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "items.json"
    file.write_text("[]")
    settings = {"recompute": False}
    made = Manifest("grid", tmp_path, {}, (), {}, settings, "key", {str(file): stamp(file)})
    made.write()
    assert made.is_finished()
    assert finished_grid(tmp_path, "key") == made
    assert finished_grid(tmp_path, "ke") is None
    assert not replace(made, settings={"recompute": True}).is_finished()
    file.write_text("[1]")
    assert not made.is_finished()
    assert finished_grid(tmp_path, "key") is None
