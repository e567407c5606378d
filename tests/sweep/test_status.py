"""How far a sweep is, from what lies on disk and from nothing else."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from synthetic_records import config, write_failed
from synthetic_records import write_cell as write_done

from bridge.errors import RecordError
from bridge.records import record
from bridge.records.manifest import Cell, Manifest
from bridge.sweep.attempts import Attempts
from bridge.sweep.status import states, status_verb


@pytest.fixture
def sweep(tmp_path: Path) -> Manifest:
    """Five cells: done, failed, one never begun, one whose process was killed, one that made room."""
    done = write_done(tmp_path, layers=(1, 4))
    failed = write_failed(tmp_path, "no such layer", "Traceback", layer__source="9")
    ids = [done.data["run_id"], failed.data["run_id"], "f" * 16, "e" * 16, "d" * 16]
    cells = tuple(Cell(run_id, (f"layer={i}",), {}) for i, run_id in enumerate(ids))
    made = Manifest("s", tmp_path, config(), cells, {"layer": ["0"]}, {})
    made.write()
    Attempts(made.folder, ids[3]).begin("launch", "7")
    Attempts(made.folder, ids[4]).begin("launch", "8")
    Attempts(made.folder, ids[4]).end("dropped")
    return made


def test_every_cell_is_in_one_of_four_states(sweep: Manifest) -> None:
    found = states(sweep)
    assert [state.name for state in found] == ["done", "failed", "missing", "failed", "missing"]
    assert found[1].error == "no such layer"
    assert found[3].error.startswith("its process was killed (job 7 on ")


def test_a_cell_whose_lock_is_held_runs(sweep: Manifest) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with record.claimed(sweep.outputs, "e" * 16):
            os.write(writer, b"x")
            time.sleep(60)
        os._exit(0)
    try:
        os.read(reader, 1)
        assert states(sweep)[3].name == "running"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert states(sweep)[3].name == "failed"


def test_the_command_lists_what_is_not_done(sweep: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_verb(["s", "--outputs", str(sweep.outputs)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "s: 1 done, 2 failed, 2 missing of 5 cells"
    assert "  failed: layer=1: no such layer" in lines
    assert "  missing: layer=2" in lines
    assert lines[-1].endswith("bridge sweep s runs what is missing or failed")
    assert status_verb(["--outputs", str(sweep.outputs)]) == 0
    assert re.fullmatch("s +1 done, 2 failed, 2 missing of 5 cells\n", capsys.readouterr().out)


def test_for_programs_there_is_one_json_object_a_cell(sweep: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    status_verb(["s", "--outputs", str(sweep.outputs), "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [node["state"] for node in found] == ["done", "failed", "missing", "failed", "missing"]
    assert found[0]["run_id"] == sweep.run_ids[0]


def test_records_of_an_older_version_are_refused_with_what_to_do(sweep: Manifest) -> None:
    path = record.runs_folder(sweep.outputs) / sweep.run_ids[0] / "record.json"
    path.write_text(path.read_text().replace('"record_version": 6', '"record_version": 2', 1))
    for words in ([], ["s"], ["s", "--json"]):
        with pytest.raises(RecordError, match=r"^1 of 2 records in .* are of record version 2, this bridge reads 6; "):
            status_verb([*words, "--outputs", str(sweep.outputs)])


def test_without_a_sweep_the_command_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_verb(["--outputs", str(tmp_path)]) == 0
    assert "start one with: bridge sweep NAME" in capsys.readouterr().out
