"""What Weights & Biases is sent, read back from the files that it writes."""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import TASK, write_cell, write_failed
from untrained import SMALL
from wandb_files import sent, wandb_files

from bridge.building import build
from bridge.config import compose_config
from bridge.errors import ConfigError
from bridge.records.record import Record
from bridge.tracking.none import NoTracker
from bridge.tracking.wandb import WandbTracker


def tracker(mode: str = "offline", **changes: Any) -> WandbTracker:
    return WandbTracker(
        **{"project": "bridge", "entity": None, "group": None, "mode": mode, "init_timeout_s": 2.0, **changes}
    )


def test_an_offline_run_holds_the_config_and_every_score_of_the_record(outputs: Path) -> None:
    made = write_cell(outputs)
    tracker(group="mine").send(made)
    (path,) = wandb_files(outputs)
    run, config, (history,) = sent(path)
    assert history.pop("_step") == 0
    assert (run.run_id, run.project, run.run_group) == (made.data["run_id"], "bridge", "mine")
    assert config == made.data["config"]
    assert history == TASK.flat(made.data)
    for control, metrics in made.data["points"][0]["scores"].items():
        for metric, values in metrics.items():
            assert history[f"{metric}/{control}"] == values["mean"]
    assert history["valid"] == 1.0


def test_an_invalid_cell_is_sent_as_invalid(outputs: Path) -> None:
    tracker().send(write_cell(outputs, failed_gate="planted"))
    assert sent(wandb_files(outputs)[0])[2][0]["valid"] == 0.0


def test_flat_scores_put_the_controls_of_a_metric_beside_each_other(outputs: Path) -> None:
    flat = TASK.flat(write_cell(outputs).data)
    assert {"top1/fitted", "top1/shuffled_within", "mrr/native_target", "valid"} <= flat.keys()
    assert TASK.flat(write_failed(outputs, "no", "Traceback").data) == {"valid": 0.0}


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
    assert time.monotonic() - started < 60
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
    assert (made.client.project, made.client.entity, made.group, made.client.mode, made.client.init_timeout_s) == (
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
        ConfigError,
        match=r"^wandb is not installed; wanted it for tracker=wandb: run pip install 'bridge-llm\[wandb\]', or give tracker=none$",
    ):
        tracker().send(write_cell(bare_outputs))
    with pytest.raises(SystemExit) as stop:
        main([*SMALL, "tracker=wandb", "seed=7", f"paths.outputs={bare_outputs}"])
    assert stop.value.code == 1
    assert (
        capsys.readouterr().err
        == "bridge: wandb is not installed; wanted it for tracker=wandb: run pip install 'bridge-llm[wandb]', or give tracker=none\n"
    )
    assert len(list((bare_outputs / "runs").glob("[!.]*/record.json"))) == 1
