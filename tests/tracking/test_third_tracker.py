"""A tracker that bridge does not have: its file, its schema and its conf file, and nothing edited elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from wandb_files import arrive, sweep

from bridge.records.record import runs_folder

ROOT = Path(__file__).parents[2]
TRACKER = '''
"""One JSON line per record."""

import json
from pathlib import Path

from bridge.tracking.stream import StreamedTracker


class Lines(StreamedTracker):
    name = "lines"

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def send(self, record):
        with self.file.open("a") as file:
            file.write(json.dumps(record.data["run_id"]) + "\\n")
'''
SCHEMA = '''

@dataclass
class LinesConfig(TrackerConfig):
    """JSON lines."""

    _target_: str = "bridge.tracking.lines.Lines"
    name: str = "lines"
    file: str = "lines.jsonl"
'''
# What whoever runs a sweep does.
LAUNCHES = """
from bridge.records.manifest import read
from bridge.tracking.base import tracker_of
manifest = read({outputs!r}, "ablation")
tracker = tracker_of(manifest.settings)
tracker.ensure(manifest)
state = tracker.finish(manifest, 200.0)
print(state["n_done"], state["n_left"], tracker.progress(state))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of bridge that has the tracker."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("bridge", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "bridge" / "tracking" / "lines.py").write_text(TRACKER)
    with (folder / "bridge" / "schema" / "tracker.py").open("a") as file:
        file.write(SCHEMA)
    (folder / "conf" / "tracker" / "lines.yaml").write_text("defaults:\n  - /schema/tracker/lines@_here_\n")
    return folder


def python(tree: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_gets_every_record_of_a_sweep_once_whoever_launches_it_and_how_often(tree: Path, tmp_path: Path) -> None:
    outputs, file = tmp_path / "outputs", tmp_path / "sent.jsonl"
    manifest = sweep(outputs, written=False, _target_="bridge.tracking.lines.Lines", name="lines", file=str(file))
    script = LAUNCHES.format(outputs=str(outputs))
    arrive(manifest, 2)
    assert python(tree, "-c", script) == "2 0 2 of 3 cells sent\n"
    arrive(manifest)
    assert python(tree, "-c", script) == "3 0 3 of 3 cells sent\n"
    assert Counter(map(json.loads, file.read_text().splitlines())) == dict.fromkeys(manifest.run_ids, 1)
    # One that was computed again is sent again.
    first = manifest.run_ids[0]
    os.utime(runs_folder(outputs) / first / "record.json", ns=(1, 1))
    assert python(tree, "-m", "bridge", "sync", "ablation", "--outputs", str(outputs)) == "3 of 3 cells sent\n"
    sent = Counter(map(json.loads, file.read_text().splitlines()))
    assert sent == {**dict.fromkeys(manifest.run_ids, 1), first: 2}


def test_it_is_an_option_like_any_other(tree: Path) -> None:
    shown = python(tree, "-m", "bridge", "tracker=lines", "tracker.file=mine", "--cfg", "job", "--package", "tracker")
    assert "_target_: bridge.tracking.lines.Lines" in shown
    assert "file: mine" in shown
