import json
import logging
import multiprocessing
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import transformers
from families import loaded, prompts, shared

from bridge.activations.entries import entry_name, missing
from bridge.activations.extract import extract
from bridge.activations.store import Store
from bridge.errors import StoreError

TEXTS = prompts(7, 3, 7, 9)


class Loader:
    """Gives a tiny model, and counts how often it was asked."""

    def __init__(self, lm=None):
        self.lm = lm or shared("llama")
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.lm


def states_of(store, loader=None, layers=(1, 3), texts=TEXTS, **options):
    loader = loader or Loader()
    return store.states(loader.lm.fingerprint, loader, texts, layers, **options)


def entries(root):
    return sorted(path.name for path in Path(root).iterdir() if not path.name.startswith(".locks"))


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_states_are_what_extract_gives_and_the_model_is_loaded_once(tmp_path):
    loader = Loader()
    first = states_of(Store(tmp_path), loader)
    second = states_of(Store(tmp_path), loader)
    truth = extract(loader.lm, TEXTS, [1, 3])
    assert loader.calls == 1
    for layer in (1, 3):
        assert torch.equal(first[layer], truth[layer])
        assert torch.equal(second[layer], truth[layer])


def test_only_the_layers_that_are_missing_are_extracted(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "bridge.activations.store.extract",
        lambda lm, texts, layers, *rest: asked.append(list(layers)) or extract(lm, texts, layers, *rest),
    )
    store = Store(tmp_path)
    states_of(store, layers=[2, 1])
    assert missing(tmp_path, "test:llama", TEXTS, [0, 1, 2, 3]) == [0, 3]
    got = states_of(store, layers=[3, 1, 0])
    assert asked == [[1, 2], [0, 3]]
    assert list(got) == [3, 1, 0]


def test_states_are_memory_mapped_and_changing_them_does_not_change_the_file(tmp_path):
    states = states_of(Store(tmp_path))[1]
    [entry] = tmp_path.glob("*-layer1")
    assert str(entry / "states.safetensors") in Path("/proc/self/maps").read_text()
    kept = states.clone()
    states.zero_()
    assert torch.equal(states_of(Store(tmp_path))[1], kept)


def test_bfloat16_and_three_dimensions_come_back_as_they_were(tmp_path):
    lm = loaded("llama")
    lm.model.to(torch.bfloat16)
    lm.dtype = torch.bfloat16
    for _ in range(2):
        states = states_of(Store(tmp_path), Loader(lm), position="last:2", dtype="bfloat16")[3]
        assert states.dtype == torch.bfloat16
        assert torch.equal(states, extract(lm, TEXTS, [3], "last:2")[3])


def test_whatever_decides_the_states_decides_the_key():
    keys = [
        entry_name("a@1", TEXTS, 1),
        entry_name("a@2", TEXTS, 1),
        entry_name("b@1", TEXTS, 1),
        entry_name("a@1", TEXTS[::-1], 1),
        entry_name("a@1", [*TEXTS[:-1], TEXTS[-1] + " "], 1),
        entry_name("a@1", TEXTS, 2),
        entry_name("a@1", TEXTS, 1, "mean"),
        entry_name("a@1", TEXTS, 1, "index", [[0]] * 4),
        entry_name("a@1", TEXTS, 1, "index", [[1]] * 4),
        entry_name("a@1", TEXTS, 1, dtype="bfloat16"),
        entry_name("a@1", TEXTS, 1, attn_implementation="eager"),
        entry_name("a@1", TEXTS, 1, attn_implementation="sdpa"),
        entry_name("a@1", [*TEXTS[:-1], (5, 6)], 1),
        entry_name("a@1", [*TEXTS[:-1], (5, 6, 7)], 1),
        entry_name("a@1", [*TEXTS[:-1], "[5, 6]"], 1),
    ]
    assert len(set(keys)) == len(keys)


def test_another_way_of_attention_or_another_version_of_the_library_extracts_again(tmp_path, monkeypatch):
    loader = Loader()
    states_of(Store(tmp_path), loader)
    for attention in ("eager", "sdpa"):
        states_of(Store(tmp_path), loader, attn_implementation=attention)
    assert loader.calls == 3
    assert missing(tmp_path, "test:llama", TEXTS, [1, 3], attn_implementation="eager") == []
    assert missing(tmp_path, "test:llama", TEXTS, [1, 3], attn_implementation="flex_attention") == [1, 3]
    monkeypatch.setattr("bridge.activations.entries.version", lambda package: "99.0")
    assert missing(tmp_path, "test:llama", TEXTS, [1, 3]) == [1, 3]
    states_of(Store(tmp_path), loader)
    assert loader.calls == 4
    states_of(Store(tmp_path), loader)
    assert loader.calls == 4


def test_token_ids_are_kept_like_texts(tmp_path):
    loader = Loader()
    ids = [tuple(row) for row in loader.lm.encode(TEXTS)]
    for _ in range(2):
        states = states_of(Store(tmp_path), loader, texts=ids)
        assert torch.equal(states[3], extract(loader.lm, TEXTS, [3])[3])
    assert loader.calls == 1


def test_an_entry_of_an_older_format_is_never_read(tmp_path, monkeypatch):
    loader = Loader()
    with monkeypatch.context() as patch:
        patch.setattr("bridge.activations.entries.FORMAT_VERSION", 1)
        states_of(Store(tmp_path), loader)
    assert missing(tmp_path, "test:llama", TEXTS, [1, 3]) == [1, 3]
    states_of(Store(tmp_path), loader)
    assert loader.calls == 2
    assert len(entries(tmp_path)) == 4


def test_the_format_version_is_a_part_of_the_key(monkeypatch):
    before = entry_name("a@1", TEXTS, 1)
    monkeypatch.setattr("bridge.activations.entries.FORMAT_VERSION", 999)
    assert entry_name("a@1", TEXTS, 1) != before


def test_the_states_of_another_revision_are_never_returned(tmp_path):
    old, new = loaded("llama"), loaded("llama")
    old.fingerprint, new.fingerprint = "org/model@1111", "org/model@2222"
    with torch.no_grad():
        new.model.get_input_embeddings().weight.add_(0.5)
    first = states_of(Store(tmp_path), Loader(old))
    second = states_of(Store(tmp_path), Loader(new))
    assert torch.equal(second[3], extract(new, TEXTS, [3])[3])
    assert not torch.equal(first[3], second[3])
    assert torch.equal(states_of(Store(tmp_path), Loader(old))[3], first[3])


def test_a_loader_that_gives_another_revision_is_refused(tmp_path):
    with pytest.raises(StoreError) as caught:
        Store(tmp_path).states("org/model@2222", Loader(), TEXTS, [1])
    assert str(caught.value) == (
        "the model test:llama was loaded for states of org/model@2222; wanted the same model in both places: "
        "give name and revision of one and the same model"
    )
    assert entries(tmp_path) == []


@pytest.mark.parametrize("name", ["states.safetensors", "meta.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut short", "empty", "gone"])
def test_a_damaged_entry_is_warned_about_and_made_again(tmp_path, caplog, damage, name):
    truth = states_of(Store(tmp_path))[1].clone()
    [entry] = tmp_path.glob("*-layer1")
    path = entry / name
    if damage == "flipped":
        flip_a_byte(path)
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    loader = Loader()
    with caplog.at_level(logging.WARNING):
        got = states_of(Store(tmp_path), loader)[1]
    assert torch.equal(got, truth)
    assert loader.calls == 1
    [line] = {r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING}
    assert line.startswith(f"{entry} is damaged (")
    assert line.endswith("and is made again")
    caplog.clear()
    assert torch.equal(states_of(Store(tmp_path), loader)[1], truth)
    assert loader.calls == 1
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_an_entry_says_what_it_was_made_from(tmp_path):
    states_of(Store(tmp_path))
    [entry] = tmp_path.glob("*-layer1")
    meta = json.loads((entry / "meta.json").read_text())
    assert len(meta.pop("sha256")) == 64
    assert meta == {
        "format_version": 2,
        "fingerprint": "test:llama",
        "position": "last",
        "dtype": "float32",
        "attn_implementation": None,
        "transformers": transformers.__version__,
        "layer": 1,
        "n_texts": 4,
        "shape": [4, 32],
    }


def test_what_a_killed_process_left_is_taken_away(tmp_path):
    store = Store(tmp_path)
    left = tmp_path / f".{entry_name('test:llama', TEXTS, 1)}.123.unfinished"
    left.mkdir()
    (left / "states.safetensors").write_bytes(b"half")
    states_of(store)
    assert len(entries(tmp_path)) == 2
    assert not left.exists()


def test_an_interrupt_leaves_nothing_half_written_and_the_next_call_goes_on(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bridge.activations.store.save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            states_of(Store(tmp_path))
    assert entries(tmp_path) == []
    assert torch.equal(states_of(Store(tmp_path))[3], extract(shared("llama"), TEXTS, [3])[3])


def _compute(root, gate, results):
    torch.set_num_threads(1)
    loader = Loader()
    gate.wait()
    states = states_of(Store(root), loader)
    results.put((loader.calls, states[3].double().sum().item()))


# python 3.12 warns of threads in a process that forks; the children here do nothing that needs them
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_at_once_compute_once(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_compute, args=(tmp_path, gate, results)) for _ in range(2)]
    for process in processes:
        process.start()
    got = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(calls for calls, _ in got) == [0, 1]
    assert len({total for _, total in got}) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system to fill up")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_what_cannot_fit_is_refused_before_the_work_is_done(small_disk, monkeypatch):
    monkeypatch.setattr("bridge.activations.store.extract", lambda *a: pytest.fail("nothing should be extracted"))
    with pytest.raises(StoreError) as caught:
        states_of(Store(small_disk), texts=TEXTS * 3000, layers=[1])
    assert str(caught.value) == (
        f"{small_disk} has no space left for 1.5 MB of states; wanted that much free space: free some, or choose another folder for the "
        "store (nothing half-written was left)"
    )


def test_a_disk_that_fills_up_while_writing_leaves_nothing_half_written(small_disk, monkeypatch):
    monkeypatch.setattr(
        "bridge.activations.store.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(9e9, 0, 9e9)
    )
    monkeypatch.setattr("bridge.activations.store.extract", lambda *a: {1: torch.zeros(12000, 32)})
    with pytest.raises(
        StoreError, match=r"has no space left for 1\.5 MB of states; wanted that much free space: free some"
    ) as caught:
        states_of(Store(small_disk), texts=TEXTS * 3000, layers=[1])
    assert "\n" not in str(caught.value)
    assert entries(small_disk) == []


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError) as caught:
            states_of(Store(root))
        assert str(caught.value).startswith(f"{root} cannot be written (")
        assert str(caught.value).endswith("); wanted a writable folder: choose another one for the store")


def test_a_read_only_folder_is_refused_in_one_line(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="Read-only file system") as caught:
        states_of(Store(small_disk))
    assert "\n" not in str(caught.value)


def test_the_size_is_said_before_the_extraction_starts(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="bridge"):
        states_of(Store(tmp_path))
    assert [record.getMessage() for record in caplog.records] == [
        "extracting 4 texts at layers [1, 3] of llama: 1.0 kB"
    ]
