"""Files that are there whole or not at all, and locks that may be tried."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.errors import RecordError
from bridge.records.whole import tried, whole_file


def test_a_file_appears_whole_and_an_error_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.csv"
    with whole_file(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with suppress(ValueError), whole_file(path) as unfinished:
        unfinished.write_text("second")
        raise ValueError("half")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["a.csv"]


def test_what_the_file_system_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for use in (lambda p: whole_file(p), lambda p: tried(p, p, 0)):
        with (
            pytest.raises(RecordError, match=r"^cannot write to .*; free some space or set"),
            use(tmp_path / "taken" / "a"),
        ):
            pass


def test_a_lock_that_another_process_holds_is_not_had_and_is_free_again_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = "import sys; from bridge.records.whole import tried\nwith tried(sys.argv[1], '.', 0) as held: print(held)"
    code = code.replace("sys.argv[1]", f"__import__('pathlib').Path({str(lock)!r})")

    def held_elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    with tried(lock, tmp_path, 0, twice=True) as mine:
        assert mine
        with tried(lock, tmp_path, 0, twice=True) as again:
            assert again
        assert held_elsewhere() == "False"
    assert held_elsewhere() == "True"
