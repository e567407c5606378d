"""Whenever a process is killed, what was on disk before is readable."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from test_record import COLUMNS, names, written

from bridge.errors import RecordError
from bridge.records import record


@pytest.mark.parametrize("cut", ["record.json", "items.parquet", "rename"])
def test_a_writer_that_is_killed_leaves_the_older_record_and_its_rest_is_cleared(tmp_path: Path, cut: str) -> None:
    written(tmp_path)
    code = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from bridge.records import record
        def die(*arguments, **named):
            os.kill(os.getpid(), signal.SIGKILL)
        cut = sys.argv[2]
        if cut == "record.json":
            record.json.dumps = die
        elif cut == "items.parquet":
            import pyarrow.parquet
            pyarrow.parquet.write_table = die
        else:
            Path.rename = die
        record.write(Path(sys.argv[1]), "a1", {"status": "newer"}, "", {"items": {"x": [1]}}, "")
        """
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), cut], capture_output=True)
    assert done.returncode == -9
    (stored,) = record.read_all(tmp_path)
    assert stored.data["status"] == "done"
    assert len(names(tmp_path / "runs")) == 2
    written(tmp_path)
    assert names(tmp_path / "runs") == {"a1"}


def test_a_writer_that_is_killed_between_its_renames_leaves_the_older_record_readable(tmp_path: Path) -> None:
    written(tmp_path)
    code = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from bridge.records import record
        rename = Path.rename
        def die_at_the_last(path, target):
            if path.name.endswith(".unfinished"):
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(path, target)
        Path.rename = die_at_the_last
        record.write(Path(sys.argv[1]), "a1", {"status": "newer"}, "", {"items": {"x": [1]}}, "")
        """
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True).returncode == -9
        assert "a1" not in names(tmp_path / "runs")
        (stored,) = record.read_all(tmp_path)
        assert (stored.data["run_id"], stored.data["status"]) == ("a1", "done")
        assert stored.items().to_pydict() == COLUMNS
        assert record.is_done(tmp_path, "a1")
        assert record.head(tmp_path, "a1") == {
            "run_id": "a1",
            "record_version": record.RECORD_VERSION,
            "status": "done",
        }
    written(tmp_path, {"status": "done", "newest": True})
    assert names(tmp_path / "runs") == {"a1"}
    assert record.read_all(tmp_path)[0].data["newest"]


def test_a_writer_that_is_killed_before_it_clears_up_leaves_the_newer_record(tmp_path: Path) -> None:
    written(tmp_path)
    shutil.copytree(tmp_path / "runs" / "a1", tmp_path / "runs" / ".a1.replaced")
    written(tmp_path, {"status": "done", "newer": True})
    shutil.copytree(tmp_path / "runs" / "a1", tmp_path / "runs" / ".a1.replaced")
    (stored,) = record.read_all(tmp_path)
    assert stored.folder == tmp_path / "runs" / "a1"
    written(tmp_path)
    assert names(tmp_path / "runs") == {"a1"}


def test_a_reader_always_sees_a_record_while_it_is_written_over(tmp_path: Path) -> None:
    written(tmp_path)
    pid = os.fork()
    if pid == 0:
        for i in range(300):
            record.write(tmp_path, "a1", {"status": "done", "i": i}, "", {}, "")
        os._exit(0)
    seen = set()
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        stored = record.read(tmp_path, "a1")
        assert stored is not None
        assert record.head(tmp_path, "a1") is not None
        seen.add(stored.data.get("i"))
    assert len(seen) > 2


def test_a_reader_that_comes_between_the_renames_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = written(tmp_path).folder
    replaced = final.rename(final.with_name(".a1.replaced"))
    opened = Path.open

    def open_and_then_replace(path: Path, *words: Any) -> Any:
        try:
            return opened(path, *words)
        finally:
            if replaced.exists() and path.parent == final:
                replaced.rename(final)

    monkeypatch.setattr(Path, "open", open_and_then_replace)
    stored = record.read(tmp_path, "a1")
    assert stored is not None
    assert stored.folder == final


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file.json"
    record.write_whole(path, b"old")
    whole = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        whole(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(RecordError, match="^cannot write to .*: No space left on device; free some space"):
        record.write_whole(path, b"something newer")
    assert path.read_bytes() == b"old"
    assert names(path.parent) == {"file.json"}


def test_a_claim_is_held_twice_by_one_process_and_then_let_go(tmp_path: Path) -> None:
    with record.claimed(tmp_path, "a1"), record.claimed(tmp_path, "a1", wait=False) as mine:
        assert mine
    pid = os.fork()
    if pid == 0:
        with record.claimed(tmp_path, "a1", wait=False) as free:
            os._exit(int(free))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_a_claim_that_another_process_holds_is_not_waited_for_unless_asked(tmp_path: Path) -> None:
    code = "import sys; from bridge.records import record\nwith record.claimed(sys.argv[1], 'a1', wait=False) as held: print(held)"
    with record.claimed(tmp_path, "a1"):
        # What waits has no end here.
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert done.stdout == "False\n"


def test_a_record_gets_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renames: list[tuple[set[str], str]] = []
    rename = Path.rename

    def watched(path: Path, target: Path) -> Path:
        renames.append((names(path), target.name))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watched)
    record.write(tmp_path, "a1", {"status": "done"}, "", {"items": COLUMNS}, "")
    assert renames == [({"record.json", "config.yaml", "run.log", "items.parquet"}, "a1")]


def test_a_failed_record_is_not_done(tmp_path: Path) -> None:
    assert not record.is_done(tmp_path, "a1")
    record.write(tmp_path, "a1", {"status": "failed", "error": "no"}, "", {}, "")
    assert not record.is_done(tmp_path, "a1")
    written(tmp_path)
    assert record.is_done(tmp_path, "a1")


@pytest.mark.parametrize("version", [None, 0, record.RECORD_VERSION - 1, record.RECORD_VERSION + 1])
def test_a_record_of_an_older_version_is_refused(tmp_path: Path, version: int | None) -> None:
    path = written(tmp_path).folder / "record.json"
    path.write_text(
        json.dumps({"run_id": "a1", "status": "done"} | ({} if version is None else {"record_version": version}))
    )
    text = f"1 of 1 records in .* are of record version {version}, this bridge reads {record.RECORD_VERSION}; wanted records of one version: move them"
    with pytest.raises(RecordError, match=text):
        record.read(tmp_path, "a1")
    assert not record.is_done(tmp_path, "a1")


def test_what_a_record_is_comes_first(tmp_path: Path) -> None:
    """Thousands of cells are asked by the first kilobytes of their records whether they are done."""
    data = {"status": "done", "inputs": {"source": "x"}, "scores": {f"metric {i}": 0.1 for i in range(5000)}}
    written(tmp_path, data)
    wanted = {"run_id": "a1", "record_version": record.RECORD_VERSION, "status": "done", "inputs": {"source": "x"}}
    assert record.head(tmp_path, "a1") == wanted
