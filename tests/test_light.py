"""What needs no model loads neither torch nor transformers: each command in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SWEEP_FILE, Shell
from untrained import SMALL

from bridge.config import compose_config
from bridge.run import run

# Each of these takes longer to import than all else that a command does here.
HEAVY = ("torch", "transformers", "scipy", "pyarrow", "wandb", "matplotlib", "submitit", "huggingface_hub")
# Runs a command, or an expression, and says last what was loaded.
CODE = """
import json, sys
from bridge.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
READ_BACK = """
import json, sys
from bridge.config import compose_config
from bridge.run import run
assert run(compose_config(*sys.argv[1:])).reused
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def loaded(*words: str, cwd: Path, code: str = CODE, **environment: str) -> tuple[list[str], str]:
    """The heavy packages that a command loaded, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    packages = json.loads(last)
    assert {"bridge", "hydra"} & set(packages)
    return [name for name in HEAVY if name in packages], "\n".join(lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--help"], "bridge"), (["--cfg", "job"], "injection:"), (["--info", "defaults"], "layer/final")],
    ids=lambda word: word[0] if isinstance(word, list) else "",
)
def test_what_shows_a_config_is_light(tmp_path: Path, words: list[str], said: str) -> None:
    heavy, out = loaded(*words, cwd=tmp_path)
    assert said in out
    assert heavy == []


def test_completion_is_light(tmp_path: Path) -> None:
    heavy, out = loaded("-sc", "query=bash", cwd=tmp_path, COMP_LINE="bridge injection=", COMP_POINT="17")
    assert "injection=late_layer" in out
    assert heavy == []


def test_a_dry_run_and_the_status_of_a_sweep_are_light(tmp_path: Path, bare_outputs: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    params = "layer: \"'1','2'\", control: 'fitted,mean'"
    (tmp_path / "sweeps" / "mine.yaml").write_text(SWEEP_FILE.format(name="mine", params=params, launcher="basic"))
    words = ["sweep", "mine", *SMALL, f"paths.outputs={bare_outputs}"]
    heavy, out = loaded(*words, "--dry-run", cwd=tmp_path)
    # A tokenizer that was never loaded cannot say how many items it keeps.
    assert "tiny-llama, position last: at most, for no cell has read these prompts yet: " in out
    assert heavy == []
    Shell(bare_outputs).here(*words[:-1], "layer='1'", "control=fitted", "sweep.name=part")
    heavy, out = loaded(*words, "--dry-run", cwd=tmp_path)
    assert "4 cells (1 done, 3 missing); 3 to run" in out
    assert "states: all there" in out
    assert heavy == []
    heavy, out = loaded("status", "--outputs", str(bare_outputs), cwd=tmp_path)
    assert out.startswith("part ")
    assert heavy == []


def test_a_record_is_read_back_and_exported_without_torch(tmp_path: Path, bare_outputs: Path) -> None:
    words = [*SMALL, "control.names=[fitted,random,mean]", f"paths.outputs={bare_outputs}"]
    assert run(compose_config(*words)).ok
    heavy, _ = loaded(*words, cwd=tmp_path, code=READ_BACK)
    assert heavy == []
    heavy, out = loaded(*words, cwd=tmp_path)
    assert "record read back from" in out
    assert any(line.startswith("random") for line in out.splitlines())
    assert heavy == []
    heavy, _ = loaded("export", "--outputs", str(bare_outputs), "--to", "scores.csv", cwd=tmp_path)
    # The table is written by pyarrow, which is what it is for.
    assert heavy == ["pyarrow"]
    assert (tmp_path / "scores.csv").read_text().count("\n") > 30


def test_what_a_light_command_must_not_load_would_be_seen(tmp_path: Path) -> None:
    code = "import torch, json, sys, hydra, scipy\nprint(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    heavy, _ = loaded(cwd=tmp_path, code=code)
    assert {"torch", "scipy"} <= set(heavy)
