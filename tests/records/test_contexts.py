"""Contexts that a cell notes for a dry run."""

from pathlib import Path

import pytest

from bridge.records import contexts

SOURCE, TARGET = [(1, 5, 6), (1, 7)], [(2, 2), (9,)]


def test_what_was_noted_is_read_again_under_its_key_alone(tmp_path: Path) -> None:
    assert contexts.noted(tmp_path, "a") is None
    contexts.note(tmp_path, "a", (SOURCE, TARGET))
    assert contexts.noted(tmp_path, "a") == (SOURCE, TARGET)
    assert contexts.noted(tmp_path, "b") is None


def test_another_version_of_the_library_notes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts.note(tmp_path, "a", (SOURCE, TARGET))
    monkeypatch.setattr(contexts, "version", lambda package: "99.0")
    assert contexts.noted(tmp_path, "a") is None


@pytest.mark.parametrize("text", ["", "[[1]", "[]", "[[[1]], 3]", "3"])
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    contexts.note(tmp_path, "a", (SOURCE, TARGET))
    (note,) = (tmp_path / "contexts").iterdir()
    note.write_text(text)
    assert contexts.noted(tmp_path, "a") is None
