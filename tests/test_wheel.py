"""What a user installs holds the configuration and the data, and runs from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bridge.config import conf_dir

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_config_and_the_facts(unpacked: Path) -> None:
    wanted = {p.relative_to(conf_dir()) for p in conf_dir().rglob("*.yaml")}
    assert {p.relative_to(unpacked / "bridge/conf") for p in (unpacked / "bridge/conf").rglob("*.yaml")} == wanted
    assert len(wanted) > 50
    sweeps = {p.name for p in (ROOT / "sweeps").glob("*.yaml")}
    assert {p.name for p in (unpacked / "bridge/sweeps").glob("*.yaml")} == sweeps
    assert len(sweeps) == 8
    assert (unpacked / "hydra_plugins/bridge_sweep.py").exists()
    assert (unpacked / "bridge/data/facts.json").exists()
    assert (unpacked / "bridge/py.typed").exists()


def test_the_unpacked_wheel_composes_from_another_folder(unpacked: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "--cfg", "job", "layer=2", "injection=late_layer"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "bridge.injection.late_layer.LateLayer" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import bridge.config; print(bridge.config.conf_dir())"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()) == unpacked / "bridge/conf"
