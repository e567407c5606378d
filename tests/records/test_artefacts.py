"""The artefact store: made once, found by what it was made from, never read half-written or damaged."""

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bridge.errors import StoreError
from bridge.records import artefacts
from bridge.records.artefacts import Artefacts

FROM = {"seed": 0, "inputs": {"source": "sha256:1"}}


class Maker:
    """Writes two files, one of them in a folder, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "steps").mkdir()
        (folder / "steps" / "10.bin").write_bytes(b"ten")
        (folder / "weights.bin").write_bytes(b"weights")


@pytest.fixture(autouse=True)
def nothing_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefacts, "_verified", set())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_artefact_is_made_once_and_says_what_it_was_made_from(tmp_path: Path) -> None:
    store, make = Artefacts(tmp_path), Maker()
    folder = store.ensure("sae", FROM, make)
    assert Artefacts(tmp_path).ensure("sae", FROM, make) == folder == store.find("sae", FROM)
    assert make.calls == 1
    assert folder == tmp_path / "sae" / folder.name
    assert (folder / "steps" / "10.bin").read_bytes() == b"ten"
    about = json.loads((folder / "artefact.json").read_text())
    assert (about["kind"], about["made_from"]) == ("sae", FROM)
    assert about["files"]["steps/10.bin"][0] == 3
    assert len(about["files"]) == 2
    (listed,) = store.list("sae")
    assert (listed.key, listed.folder, listed.made_from, listed.n_bytes) == (folder.name, folder, FROM, 10)
    assert store.get("sae", listed.key) == folder


def test_another_kind_or_another_origin_is_another_artefact(tmp_path: Path) -> None:
    store, make = Artefacts(tmp_path), Maker()
    origins = [FROM, {**FROM, "seed": 1}, {**FROM, "inputs": {"source": "sha256:2"}}]
    folders = {store.ensure(kind, origin, make) for kind in ("sae", "map") for origin in origins}
    assert len(folders) == make.calls == 6
    assert store.ensure("sae", dict(reversed(FROM.items())), make) in folders
    assert make.calls == 6
    assert len(store.list("sae")) == len(store.list("map")) == 3
    assert store.list("model") == []


@pytest.mark.parametrize("damage", ["flipped", "shorter", "gone", "undescribed", "other format", "not JSON"])
def test_a_damaged_artefact_is_refused_in_one_line_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    store, make = Artefacts(tmp_path), Maker()
    folder = store.ensure("map", FROM, make)
    monkeypatch.setattr(artefacts, "_verified", set())
    weights, about = folder / "weights.bin", folder / "artefact.json"
    if damage == "flipped":
        weights.write_bytes(b"weighty")
    elif damage == "shorter":
        weights.write_bytes(b"")
    elif damage == "gone":
        (folder / "steps" / "10.bin").unlink()
    elif damage == "undescribed":
        about.unlink()
    else:
        about.write_text("{" if damage == "not JSON" else about.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(
        StoreError, match=r"is damaged \(.*\); wanted the files as they were written: run again what made it$"
    ) as caught:
        store.get("map", folder.name)
    assert "\n" not in str(caught.value)
    assert store.ensure("map", FROM, make) == folder
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith(f"{folder} is damaged (")
    assert line.endswith(") and is made again")
    assert make.calls == 2
    assert weights.read_bytes() == b"weights"
    assert names(tmp_path / "map") == {".locks", folder.name}


def test_a_file_that_changed_after_it_was_verified_is_verified_again(tmp_path: Path) -> None:
    store = Artefacts(tmp_path)
    folder = store.ensure("map", FROM, Maker())
    assert store.find("map", FROM) == folder
    (folder / "weights.bin").write_bytes(b"weighty")
    os.utime(folder / "weights.bin", ns=(1, 1))
    assert store.find("map", FROM) is None


def test_an_artefact_is_made_again_where_that_is_asked_for(tmp_path: Path) -> None:
    store, make = Artefacts(tmp_path), Maker()
    store.ensure("map", FROM, make)
    store.ensure("map", FROM, make, again=True)
    assert make.calls == 2


def test_what_fails_or_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    store = Artefacts(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.ensure("map", FROM, half)
    assert names(tmp_path / "map") == {".locks"}
    assert store.find("map", FROM) is None


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    store, make = Artefacts(tmp_path), Maker()
    folder = store.path("map", FROM)
    left = folder.with_name(f".{folder.name}.1.unfinished")
    left.mkdir(parents=True)
    (left / "weights.bin").write_bytes(b"half")
    store.ensure("map", FROM, make)
    assert names(tmp_path / "map") == {".locks", folder.name}


def test_an_artefact_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    store = Artefacts(tmp_path)
    with pytest.raises(StoreError, match=r"^no map 12ab in .*; wanted one of none yet: check the key$"):
        store.get("map", "12ab")
    key = store.ensure("map", FROM, Maker()).name
    with pytest.raises(StoreError, match=f"; wanted one of {key}: check the key$"):
        store.get("map", "12ab")


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^cannot write to .*/file: Not a directory; free some space or set paths\."):
        Artefacts(tmp_path / "file").ensure("map", FROM, Maker())


def test_two_processes_that_want_one_artefact_make_it_once(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from bridge.records.artefacts import Artefacts

        def make(folder):
            with Path(sys.argv[1], "log").open("a") as log:
                log.write("made\\n")
            time.sleep(1.0)
            (folder / "weights.bin").write_bytes(b"weights")

        Artefacts(Path(sys.argv[1], "store")).ensure("map", {"seed": 0}, make)
        """
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_the_store_loads_neither_torch_nor_arrow() -> None:
    code = "import sys, bridge.records.artefacts; print({'torch', 'pyarrow', 'transformers'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
