import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import SWEEP_FILE
from untrained import SMALL

from bridge.cli import main
from bridge.config import compose_config, to_plain
from bridge.records.manifest import Manifest
from bridge.sweep.grid import make


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


Bridge = Callable[..., Said]


@pytest.fixture
def bridge(bare_outputs: Path, capsys: pytest.CaptureFixture[str]) -> Bridge:
    """Run a command in this process, on models that have learnt nothing and few items."""

    def command(*words: str, outputs: Path | str = bare_outputs) -> Said:
        if words[0] in ("status", "report", "export"):
            words = (*words, "--outputs", str(outputs))
        else:
            words = (*words, *SMALL, f"paths.outputs={outputs}")
        with pytest.raises(SystemExit) as stop:
            main([*words])
        said = capsys.readouterr()
        return Said(int(stop.value.code or 0), said.out, said.err)

    return command


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a sweep file into ./sweeps of an empty working directory."""
    (tmp_path / "sweeps").mkdir()
    monkeypatch.chdir(tmp_path)

    def write(name: str, params: str, launcher: str = "local", more: str = "") -> Path:
        path = tmp_path / "sweeps" / f"{name}.yaml"
        path.write_text(SWEEP_FILE.format(name=name, params=params, launcher=launcher) + more)
        return path

    return write


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A sweep of four cells that differ in their seed."""
    plain = to_plain(compose_config("device=cpu"))
    configs = [json.loads(json.dumps(plain)) | {"seed": seed} for seed in range(4)]
    for config in configs:
        config["paths"]["outputs"] = str(tmp_path)
    seeds = [str(seed) for seed in range(4)]
    made = make("s", tmp_path, [(f"seed={seed}",) for seed in seeds], configs, {"seed": seeds})
    made.write()
    return made
