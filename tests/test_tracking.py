"""What Weights & Biases is sent, read back from the files that it writes."""

import json
import logging
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import write_cell, write_failed
from untrained import SMALL

from bridge.config import build, compose_config
from bridge.errors import ConfigError
from bridge.record import Record
from bridge.tracking import NoTracker, WandbTracker, flat_scores

wandb = pytest.importorskip("wandb", reason="pip install 'bridge-llm[wandb]'")
wbauth = pytest.importorskip("wandb.sdk.lib.wbauth")


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key, no settings of whoever runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    yield
    # a key that was once seen stays with the process
    wbauth.unauthenticate_session()
    wandb.teardown()


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def tracker(mode: str = "offline", **changes: Any) -> WandbTracker:
    return WandbTracker(
        **{"project": "bridge", "entity": None, "group": None, "mode": mode, "init_timeout_s": 2.0, **changes}
    )


def wandb_files(outputs: Path) -> list[Path]:
    return sorted((outputs / "wandb").glob("offline-run-*/*.wandb"))


def sent(path: Path) -> tuple[Any, dict[str, Any], dict[str, float]]:
    """The run, the config and the history in a .wandb file."""
    deadline = time.monotonic() + 10
    while not any(r.HasField("exit") for r in pieces(path)) and time.monotonic() < deadline:
        time.sleep(0.1)  # W&B writes from a process of its own
    records = pieces(path)
    (run,) = [r.run for r in records if r.HasField("run")]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    history: dict[str, float] = {}
    for found in records:
        for item in found.history.item:
            key = item.key or "/".join(item.nested_key)
            if not key.startswith("_"):
                history[key] = json.loads(item.value_json)
    return run, config, history


def pieces(path: Path) -> list[Any]:
    """The records of a .wandb file: a header, then blocks of 32 KiB that hold pieces of records."""
    from wandb.proto import wandb_internal_pb2 as pb

    data = path.read_bytes()
    assert data[:4] in (b":W&B", b"")
    at, whole, records = 7, b"", []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:  # the rest of a block is padding
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4) and at <= len(data):  # all of a record, or its last piece
            found = pb.Record()
            found.ParseFromString(whole)
            records.append(found)
            whole = b""
    return records


def test_an_offline_run_holds_the_config_and_every_score_of_the_record(outputs: Path) -> None:
    made = write_cell(outputs)
    tracker(group="mine").send(made)
    (path,) = wandb_files(outputs)
    run, config, history = sent(path)
    assert (run.run_id, run.project, run.run_group) == (made.data["run_id"], "bridge", "mine")
    assert {k: v for k, v in config.items() if k != "_wandb"} == made.data["config"]
    assert history == flat_scores(made)
    for control, metrics in made.data["scores"].items():
        for metric, values in metrics.items():
            assert history[f"{metric}/{control}"] == values["mean"]
    assert history["valid"] == 1.0


def test_an_invalid_cell_is_sent_as_invalid(outputs: Path) -> None:
    tracker().send(write_cell(outputs, failed_gate="planted"))
    assert sent(wandb_files(outputs)[0])[2]["valid"] == 0.0


def test_flat_scores_put_the_controls_of_a_metric_beside_each_other(outputs: Path) -> None:
    flat = flat_scores(write_cell(outputs))
    assert {"top1/fitted", "top1/shuffled_within", "mrr/native_target", "valid"} <= flat.keys()
    assert flat_scores(write_failed(outputs, "no", "Traceback")) == {"valid": 0.0}


def test_nothing_is_sent_twice_and_nothing_is_lost(outputs: Path) -> None:
    made = write_cell(outputs)
    tracker().send(made)
    tracker().send(made)
    read_back = Record(made.folder, json.loads((made.folder / "record.json").read_text()), reused=True)
    tracker().send(read_back)
    assert len(wandb_files(outputs)) == 1
    tracker(project="another").send(read_back)
    assert len(wandb_files(outputs)) == 2
    read_back.data["wall_s"] = 99.0  # computed anew
    tracker().send(read_back)
    assert len(wandb_files(outputs)) == 3


def test_without_a_key_it_goes_on_offline_and_says_so_once(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    online = tracker("online")
    with caplog.at_level(logging.WARNING, "bridge"):
        for layer in (1, 2):
            online.send(write_cell(outputs, layers=(layer, 4)))
    assert [r.message for r in caplog.records if r.name == "bridge"] == [
        "no W&B key: going on offline; send the runs later with wandb sync"
    ]
    assert len(wandb_files(outputs)) == 2


@pytest.mark.parametrize("key", ["a" * 40, "short"])
def test_a_server_that_is_dead_or_a_key_that_is_wrong_does_not_lose_a_cell(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    online = tracker("online")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "bridge"):
        for layer in (1, 2):
            online.send(write_cell(outputs, layers=(layer, 4)))
    assert time.monotonic() - started < 20
    (line,) = [r.message for r in caplog.records if r.name == "bridge"]
    assert line.startswith("W&B did not take the run (")
    assert line.endswith("): going on offline; send the runs later with wandb sync")
    assert "\n" not in line
    assert len(wandb_files(outputs)) == 2


def test_disabled_writes_nothing(outputs: Path) -> None:
    tracker("disabled").send(write_cell(outputs))
    assert not (outputs / "wandb").exists()


def test_no_tracker_writes_nothing(outputs: Path) -> None:
    made = write_cell(outputs)
    before = sorted(outputs.rglob("*"))
    nothing = build(compose_config("tracker=none").tracker)
    assert isinstance(nothing, NoTracker)
    nothing.open()
    nothing.send(made)
    nothing.close()
    assert sorted(outputs.rglob("*")) == before


def test_the_config_makes_the_tracker() -> None:
    made = build(compose_config("tracker=wandb", "tracker.mode=offline", "tracker.group=g").tracker)
    assert isinstance(made, WandbTracker)
    assert (made.project, made.entity, made.group, made.mode, made.init_timeout_s) == (
        "bridge",
        None,
        "g",
        "offline",
        20.0,
    )


def test_a_missing_package_is_said_before_a_cell_is_computed(
    bare_outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.cli import main

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        ConfigError, match=r"^tracker=wandb needs wandb; pip install 'bridge-llm\[wandb\]', or tracker=none$"
    ):
        tracker().send(write_cell(bare_outputs))
    with pytest.raises(SystemExit) as stop:
        main([*SMALL, "tracker=wandb", "seed=7", f"paths.outputs={bare_outputs}"])
    assert stop.value.code == 1
    assert (
        capsys.readouterr().err
        == "bridge: tracker=wandb needs wandb; pip install 'bridge-llm[wandb]', or tracker=none\n"
    )
    assert len(list((bare_outputs / "runs").glob("[!.]*/record.json"))) == 1


def test_a_grid_from_the_command_line_is_one_run_per_cell_sent_once(
    bare_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.cli import main

    words = [*SMALL, "tracker=wandb", "-m", "layer=1,2", f"paths.outputs={bare_outputs}"]
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert not stop.value.code
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("no W&B key: going on offline") == 1
    made = {p.name: json.loads((p / "record.json").read_text()) for p in (bare_outputs / "runs").glob("[!.]*")}
    found = {run.run_id: history for run, _, history in map(sent, wandb_files(bare_outputs))}
    assert len(made) == len(wandb_files(bare_outputs)) == 2
    for run_id, data in made.items():
        assert found[run_id]["top1/fitted"] == data["scores"]["fitted"]["top1"]["mean"]
