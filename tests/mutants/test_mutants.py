"""The list of faults is in step with the code, and the runner tells those that are caught from those that are not."""

import ast
import subprocess
from pathlib import Path

import pytest
import run_mutants
from run_mutants import ROOT, Mutant, chosen, mutants

AT_LEAST = 250
MUTANTS = mutants()
TREE = {
    "made/one.py": "def one() -> int:\n    return 1\n",
    "made/two.py": "TWO = 2\n",
    "tests/test_one.py": "from made.one import one\n\n\ndef test_it() -> None:\n    assert one() == 1\n",
    "pyproject.toml": "[tool.pytest.ini_options]\n",
    ".gitignore": "ignored\n",
    "ignored": "",
}


def test_there_are_as_many_faults_as_there_have_to_be() -> None:
    assert len(MUTANTS) >= AT_LEAST
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_the_text_to_be_broken_is_there_once_and_what_comes_of_it_is_python(mutant: Mutant) -> None:
    broken = mutant.broken(ROOT)
    if mutant.file.endswith(".py"):
        ast.parse(broken)
    assert mutant.why


@pytest.mark.parametrize("test", sorted({test for m in MUTANTS for test in m.tests}))
def test_the_tests_that_must_fail_are_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert (ROOT / file).is_file()
    if name:
        defined = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}
        assert name.partition("[")[0] in defined


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two files and one test, in a checkout of its own."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(run_mutants, "ROOT", tmp_path)
    return tmp_path


def fault(number: int, file: str, old: str, new: str) -> Mutant:
    return Mutant(f"room.{number}", file, old, new, ("tests/test_one.py",), "it would matter")


def test_what_is_caught_and_what_survives_is_told(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [
        fault(1, "made/one.py", "return 1", "return 2"),
        fault(2, "made/two.py", "TWO = 2", "TWO = 3"),
        fault(3, "made/two.py", "THREE = 3", "THREE = 4"),
        fault(4, "made/one.py", "def one", "def eins"),
    ]
    assert run_mutants.run(entries, 2, timeout_s=60) == 1
    said = capsys.readouterr().out
    assert "caught    room.1" in said
    assert "survived  room.2" in said
    assert "room.3: 'THREE = 3' occurs 0 times in made/two.py, wanted once; mend the entry" in said
    # a fault that keeps the tests from being collected says nothing of them
    assert "room.4: pytest answered 2" in said
    *_, row, summary = said.splitlines()
    assert row.split()[:4] == ["room", "1", "1", "2"]
    assert summary == "1 caught, 1 survived, 2 could not be run"
    assert {name: (tree / name).read_text() for name in TREE} == TREE


def test_tests_that_never_end_are_stopped_and_count_as_not_run(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hangs = fault(1, "made/one.py", "return 1", "import time; time.sleep(300)")
    runner = run_mutants.Runner(tree / "copies", 1, timeout_s=2)
    outcome, what, wall_s = runner.outcome(hangs)
    assert outcome == "not run"
    assert what.endswith("its tests had not ended after 2 s")
    assert wall_s < 60
    assert runner.alive == set()


def test_tests_that_fail_on_the_sound_code_are_told_first(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "made" / "one.py").write_text("def one() -> int:\n    return 3\n")
    assert run_mutants.run([fault(1, "made/two.py", "TWO = 2", "TWO = 3")], 1, timeout_s=60) == 1
    said = capsys.readouterr().out
    assert "assert 3 == 1" in said
    assert said.splitlines()[-1] == "tests fail though nothing is broken; mend them first"


def test_rooms_and_single_entries_can_be_chosen() -> None:
    entries = [Mutant(name, "f", "a", "b", ("t",), "w") for name in ("maps.1", "maps.2", "record.1")]
    assert chosen(entries, []) == entries
    assert chosen(entries, ["record", "maps.2"]) == entries[1:]
    with pytest.raises(ValueError, match=r"^cellar: no such room or entry; the rooms are maps, record$"):
        chosen(entries, ["maps", "cellar"])


def test_an_entry_with_other_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "maps.toml").write_text("[[mutant]]\nfile = 'f'\nold = 'a'\n")
    with pytest.raises(ValueError, match=r"^maps.1 has file, old; wanted file, new, old, tests, why, and some tests$"):
        mutants(tmp_path)
