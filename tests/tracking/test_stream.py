"""One process streams a sweep from its records; it may be killed at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import wait_for
from declared import REFERENCES
from synthetic_records import write_failed
from untrained import SMALL
from wandb_account import no_account, server
from wandb_files import arrive, curves, expected, sweep, wandb_files
from wandb_server import Server

from bridge.controls.names import CONTROLS
from bridge.errors import ConfigError
from bridge.records.manifest import Manifest, read
from bridge.records.record import read_all, runs_folder
from bridge.tracking import stream
from bridge.tracking.base import tracker_of
from bridge.tracking.ledger import Ledger

__all__ = ["no_account", "server"]
# The controls, own_state and both native scores.
N_CURVES = len(CONTROLS) + 3


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def ensure(manifest: Manifest) -> None:
    tracker_of(manifest.settings).ensure(manifest)


def finish(manifest: Manifest) -> dict[str, Any] | None:
    return tracker_of(manifest.settings).finish(manifest)


def by_curve(manifest: Manifest, rows: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, int], dict[int, float]]:
    entries = Ledger(manifest.folder / "wandb" / "ledger").entries
    found = {}
    for identity, some in rows.items():
        curve = entries[identity].curve
        assert [r["_step"] for r in some] == list(range(len(some)))
        found[curve.control, curve.config["dataset"]["size"]] = {
            int(r["layer"]): r["top1"] for r in some if "top1" in r
        }
    return found


def arrived(server: Server) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [row | {"_step": step} for row, step in zip(run.rows, run.steps, strict=True)]
        for name, run in server.runs.items()
        if run.created["jobType"] != "summary"
    }


def start(manifest: Manifest, mode: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "bridge", "sync", manifest.name, "--outputs", str(manifest.outputs)]
    return subprocess.Popen(
        [*words, "--mode", mode, "--follow", str(os.getpid())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_sync_sends_what_is_not_there_yet_and_nothing_twice(here: Path) -> None:
    manifest = sweep(here, sizes=(100, 200))
    state = stream.sync(here, "ablation", "offline")
    assert state["n_cells"] == state["n_done"] == 6
    assert (state["n_curves"], state["n_points"], state["n_left"], state["mode"]) == (
        2 * N_CURVES,
        6 * N_CURVES,
        0,
        "offline",
    )
    written = wandb_files(manifest.folder)
    assert stream.sync(here, "ablation", "offline") == state
    assert wandb_files(manifest.folder) == written
    assert by_curve(manifest, curves(manifest.folder)) == expected(manifest)


def test_failed_and_damaged_records_are_not_sent_and_keep_nothing_else_back(here: Path) -> None:
    manifest = sweep(here)
    first, second, _ = manifest.run_ids
    (runs_folder(here) / first / "record.json").write_text("{")
    made = write_failed(here, "no", "Traceback")
    made.folder.rename(runs_folder(here) / "elsewhere")
    (runs_folder(here) / "elsewhere" / "record.json").replace(runs_folder(here) / second / "record.json")
    state = stream.sync(here, "ablation", "offline")
    assert (state["n_done"], state["n_curves"], state["n_points"]) == (1, N_CURVES, N_CURVES)


def test_a_cell_that_was_computed_again_is_a_further_row_only_where_its_result_changed(here: Path) -> None:
    manifest = sweep(here)
    stream.sync(here, "ablation", "offline")
    path = runs_folder(here) / manifest.run_ids[0] / "record.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"wall_s": 99.0}))
    assert stream.sync(here, "ablation", "offline")["n_points"] == 3 * N_CURVES
    data["points"][0]["scores"]["fitted"]["top1"]["mean"] = 0.123
    path.write_text(json.dumps(data))
    assert stream.sync(here, "ablation", "offline")["n_points"] == 3 * N_CURVES + 1
    assert by_curve(manifest, curves(manifest.folder))["fitted", 100][1] == 0.123


def test_controls_in_cells_of_their_own_make_the_same_curves_and_the_leads_follow(here: Path) -> None:
    whole = sweep(here)
    stream.sync(here, "ablation", "offline")
    apart = sweep(here.with_name("apart"), controls=[("mean",), ("random",), ("fitted",)])
    stream.sync(apart.outputs, "ablation", "offline")
    found, wanted = (by_curve(m, curves(m.folder)) for m in (apart, whole))
    assert found == {k: v for k, v in wanted.items() if k[0] in ("mean", "random", "fitted", *REFERENCES)}
    entries = Ledger(apart.folder / "wandb" / "ledger").entries
    for entry in entries.values():
        leads = [row.values for row in entry.rows if row.kind == "lead"]
        assert len(leads) == (0 if entry.curve.control == "fitted" else 3), entry.curve.control
    mean = next(e for e in entries.values() if e.curve.control == "mean")
    lead = mean.at("lead", 1.0)
    assert lead is not None
    (made,) = (r for r in [json.loads((runs_folder(here) / whole.run_ids[0] / "record.json").read_text())])
    assert lead.values["lead/top1"] == pytest.approx(made["points"][0]["contrasts"]["mean"]["top1"]["difference"])


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_streamer_that_is_killed_again_and_again_loses_no_row_and_doubles_none(
    here: Path, server: Server, mode: str
) -> None:
    manifest = sweep(here, layers=range(1, 13), controls=[("fitted", "mean", "random")], written=False)
    dice = random.Random(3)
    for _ in range(4):
        arrive(manifest, 3)
        process = start(manifest, mode)
        time.sleep(dice.uniform(0.8, 4.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    arrive(manifest)
    state = stream.sync(here, "ablation", mode)
    assert (state["n_done"], state["n_left"], state["mode"]) == (12, 0, mode)
    rows = curves(manifest.folder) if mode == "offline" else arrived(server)
    assert by_curve(manifest, rows) == expected(manifest)
    assert sum(map(len, rows.values())) == 12 * 6


def test_rows_are_sent_while_the_sweep_runs_by_one_process_that_ends_with_it(here: Path, server: Server) -> None:
    manifest = sweep(here, written=False, mode="online")
    for _ in range(3):
        ensure(manifest)
    arrive(manifest, 1)
    runs = server.runs
    wait_for(lambda: runs and all(run.history for run in [*runs.values()]), "a row of every run has arrived")
    assert {len(rows) for rows in arrived(server).values()} == {1}
    assert len(stream._STARTED) == 1 or sum(p.poll() is None for p in stream._STARTED) == 1
    with pytest.raises(
        ConfigError, match=r"^another process is streaming the sweep 'ablation' \(pid \d+ on .*\); wanted"
    ):
        stream.sync(here, "ablation")
    arrive(manifest)
    state = finish(manifest)
    assert state is not None
    assert (state["n_done"], state["n_left"], state["mode"]) == (3, 0, "online")
    assert by_curve(manifest, arrived(server)) == expected(manifest)
    assert all(p.wait(240) == 0 for p in stream._STARTED)


def test_finish_sends_by_itself_what_nobody_streamed_and_once(here: Path) -> None:
    manifest = sweep(here)
    state = finish(manifest)
    assert state is not None
    assert state["n_left"] == 0
    assert by_curve(manifest, curves(manifest.folder)) == expected(manifest)
    n = len(stream._STARTED)
    assert finish(manifest) == state
    assert len(stream._STARTED) == n


def test_a_sweep_without_a_single_finished_cell_has_nothing_to_send(here: Path) -> None:
    manifest = sweep(here, written=False)
    state = finish(manifest)
    assert state is not None
    assert (state["n_done"], state["n_curves"], state["n_left"]) == (0, 0, 0)


def test_without_wandb_as_tracker_nothing_is_started(here: Path) -> None:
    for tracker in ({"_target_": "bridge.tracking.none.NoTracker", "name": "none"}, {"mode": "disabled"}):
        manifest = sweep(here, **tracker)
        ensure(manifest)
        assert finish(manifest) is None
        assert not (manifest.folder / "wandb").exists()


def test_an_axis_that_holds_no_number_is_refused_before_anything_is_started(here: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^tracker.x=map.name is 'orthogonal', which holds no number; wanted a key whose value is or holds a number: "
        r"give layer, dataset.size, seed, or another one$",
    ):
        ensure(sweep(here, x="map.name"))
    with pytest.raises(ConfigError, match=r"^tracker.x=sice is not in the config;"):
        ensure(sweep(here, x="sice"))
    assert not list(here.rglob("stream.log"))


def test_an_unknown_sweep_is_refused_with_those_there_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bridge.cli import main

    sweep(here)
    with pytest.raises(SystemExit) as stop:
        main(["sync", "abaltion", "--outputs", str(here)])
    assert stop.value.code == 1
    assert "no sweep 'abaltion' was started in" in capsys.readouterr().err


def test_one_run_per_cell_for_those_who_want_it(here: Path) -> None:
    manifest = sweep(here, run_per="cell")
    stream.sync(here, "ablation", "offline")
    rows = curves(manifest.folder)
    assert len(rows) == 3
    scored = read_all(here, manifest.run_ids)[0].data["points"][0]["scores"]["fitted"]["top1"]["mean"]
    assert all(len(some) == 1 and some[0]["top1/fitted"] == scored for some in rows.values())


def test_a_grid_from_the_command_line_is_one_run_per_curve_and_is_sent_once(
    bare_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.cli import main

    words = [*SMALL, "tracker=wandb", "-m", "layer=1,2", "sweep.name=grid", f"paths.outputs={bare_outputs}"]
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert not stop.value.code
    manifest = read(bare_outputs, "grid")
    found = by_curve(manifest, curves(manifest.folder))
    assert found == expected(manifest)
    assert {control for control, _ in found} >= {"fitted", "random", "native_target"}
    assert "no W&B key: the W&B runs are offline; send them with: bridge sync grid" in capsys.readouterr().out


def test_the_streamer_does_not_load_torch(here: Path) -> None:
    sweep(here)
    script = (
        "import sys; from bridge.tracking import stream;"
        f"stream.sync({str(here)!r}, 'ablation', 'offline'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
