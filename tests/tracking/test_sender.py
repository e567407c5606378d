"""Every row of every curve arrives once, whatever happens to the process, the files or the network."""

import json
import logging
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import wait_for
from wandb_account import wandb
from wandb_files import curves, expected, sent, sweep, wandb_files
from wandb_server import Server

from bridge.controls.names import CONTROLS
from bridge.records.manifest import Manifest
from bridge.tracking.client import Client
from bridge.tracking.ledger import Ledger
from bridge.tracking.plan import Plan
from bridge.tracking.sender import Sender

# Of each data set size: every control and three references.
N_CURVES = len(CONTROLS) + 3


def ledger_of(manifest: Manifest, n: int | None = None) -> Ledger:
    """The ledger with the rows of the first `n` cells added."""
    from bridge.records.record import read

    ledger = Ledger(manifest.folder / "wandb" / "ledger")
    plan = Plan(manifest.name, manifest.settings["tracker"], list(manifest.axes))
    for cell in manifest.cells[:n]:
        made = read(manifest.outputs, cell.run_id)
        assert made is not None
        ledger.add(plan.rows(manifest.config(cell), cell.overrides, made.data))
    ledger.save()
    return ledger


def send(
    manifest: Manifest, mode: str, n: int | None = None, is_last: bool = True, init_timeout_s: float = 60.0
) -> Sender:
    client = Client("bridge", None, mode, init_timeout_s, "later")
    sender = Sender(ledger_of(manifest, n), client, manifest.folder)
    sender.push(is_last)
    sender.ledger.save()
    return sender


def wandb_sync(manifest: Manifest) -> None:
    """W&B's own command, on all offline folders."""
    command = shutil.which("wandb", path=str(Path(sys.executable).parent))
    assert command is not None
    folders = [str(path.parent) for path in wandb_files(manifest.folder)]
    done = subprocess.run([command, "sync", "--yes", *folders], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def by_curve(ledger: Ledger, rows: dict[str, list[dict[str, float]]]) -> dict[tuple[str, int], dict[int, float]]:
    found = {}
    for identity, some in rows.items():
        curve = ledger.entries[identity].curve
        found[curve.control, curve.config["dataset"]["size"]] = {
            int(r["layer"]): r["top1"] for r in some if "top1" in r
        }
    return found


def test_offline_files_hold_exactly_the_scores_of_the_records(outputs: Path) -> None:
    manifest = sweep(outputs, sizes=(100, 200))
    sender = send(manifest, "offline")
    rows = curves(manifest.folder)
    assert len(rows) == len(wandb_files(manifest.folder)) == 2 * N_CURVES
    assert by_curve(sender.ledger, rows) == expected(manifest)
    for identity, some in rows.items():
        assert [r["_step"] for r in some] == [0, 1, 2]
        for row, wanted in zip(some, sender.ledger.entries[identity].rows, strict=True):
            assert row == {"layer": wanted.x, "_step": row["_step"], **wanted.values}


def test_a_curve_says_what_it_is(outputs: Path) -> None:
    manifest = sweep(outputs, sizes=(100, 200))
    send(manifest, "offline")
    found = {}
    for path in wandb_files(manifest.folder):
        run, config, _ = sent(path)
        found[run.job_type, config["dataset"]["size"]] = run, config
    run, config = found["shuffled_within", 200]
    assert (run.run_group, run.display_name, run.project) == ("ablation", "shuffled_within, dataset.size=200", "bridge")
    assert list(run.tags) == ["pair:tiny", "injection:lm_head", "dataset.size:200"]
    assert config["control"] == {"n_draws": 20, "name": "shuffled_within"}
    assert (config["sweep"], config["x"], "source" in config["layer"]) == ("ablation", "layer", False)
    assert not config.keys() & {"tracker", "paths"}


def test_further_rows_go_into_a_folder_of_their_own_and_no_row_into_two(outputs: Path) -> None:
    manifest = sweep(outputs)
    send(manifest, "offline", n=2)
    for _ in range(2):
        sender = send(manifest, "offline")
    rows = curves(manifest.folder)
    assert by_curve(sender.ledger, rows) == expected(manifest)
    assert all([r["_step"] for r in some] == [0, 1, 2] for some in rows.values())
    assert len(wandb_files(manifest.folder)) == 2 * N_CURVES


def test_offline_a_growing_curve_takes_few_folders(outputs: Path) -> None:
    manifest = sweep(outputs, layers=range(1, 33), controls=[("mean",)])
    sender = Sender(Ledger(outputs / "ledger"), Client("bridge", None, "offline", 3.0, "later"), manifest.folder)
    whole = ledger_of(manifest)
    for i in range(32):
        sender.ledger.add([(e.curve, e.rows[i]) for e in whole.entries.values()])
        sender.push(is_last=i == 31)
    assert len(wandb_files(manifest.folder)) == 3 * len(whole.entries)
    assert by_curve(whole, curves(manifest.folder)) == expected(manifest)


def test_rows_that_were_written_but_not_noted_are_read_back(outputs: Path) -> None:
    manifest = sweep(outputs)
    before = Ledger(manifest.folder / "wandb" / "ledger")
    send(manifest, "offline", n=2)
    assert not before.entries
    forget(manifest)
    sender = send(manifest, "offline")
    assert by_curve(sender.ledger, curves(manifest.folder)) == expected(manifest)
    assert sum(map(len, curves(manifest.folder).values())) == 3 * N_CURVES


def forget(manifest: Manifest) -> None:
    """Be killed before it could be noted what had arrived."""
    for path in (manifest.folder / "wandb" / "ledger" / "curves").iterdir():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sent": {}}))


def test_a_file_that_was_cut_off_counts_up_to_the_cut_and_wandb_sync_sends_all(outputs: Path, server: Server) -> None:
    manifest = sweep(outputs, controls=[("mean",)])
    send(manifest, "offline", n=2)
    forget(manifest)
    cut, empty, *_ = wandb_files(manifest.folder)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: whole.rindex(b"mrr_high")])
    empty.write_bytes(whole[:7])
    sender = send(manifest, "offline")
    assert all(path.stat().st_size > len(whole) / 2 for path in wandb_files(manifest.folder))
    assert by_curve(sender.ledger, curves(manifest.folder)) == expected(manifest)
    assert sum(map(len, curves(manifest.folder).values())) == 3 * 4
    wandb_sync(manifest)
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1, 2)}
    assert by_curve(sender.ledger, {k: run.rows for k, run in server.runs.items()}) == expected(manifest)


def test_online_rows_arrive_once_though_the_sender_forgot_what_it_had_sent(outputs: Path, server: Server) -> None:
    manifest = sweep(outputs)
    send(manifest, "online", n=2)
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1)}
    forget(manifest)
    sender = send(manifest, "online")
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1, 2)}
    assert by_curve(sender.ledger, {k: run.rows for k, run in server.runs.items()}) == expected(manifest)
    assert sender.n_left() == 0
    fitted = next(run for run in server.runs.values() if run.created["jobType"] == "fitted")
    assert fitted.created["groupName"] == "ablation"
    assert json.loads(fitted.summary)["mean/top1"] == pytest.approx(0.6166666666666667)


def test_online_rows_are_sent_while_the_sweep_runs(outputs: Path, server: Server) -> None:
    manifest = sweep(outputs)
    sender = send(manifest, "online", n=1, is_last=False)
    wait_for(lambda: all(run.history for run in server.runs.values()), "a row of every run has arrived")
    assert {tuple(run.steps) for run in server.runs.values()} == {(0,)}
    sender.ledger = ledger_of(manifest)
    sender.push(is_last=True)
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1, 2)}


@pytest.mark.parametrize("key", ["a" * 40, "short"])
def test_a_dead_network_or_a_wrong_key_is_offline_within_the_cap_and_loses_nothing(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", "http://10.255.255.1:9")
    manifest = sweep(outputs)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "bridge"):
        sender = send(manifest, "online", init_timeout_s=3.0)
    assert time.monotonic() - started < 60
    (line,) = [r.message for r in caplog.records if r.name == "bridge"]
    assert line.startswith("W&B did not take the run (")
    assert line.endswith("): going on offline; send the runs later with later")
    assert by_curve(sender.ledger, curves(manifest.folder)) == expected(manifest)


def test_without_a_key_it_goes_on_offline_and_says_so_once(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = sweep(outputs)
    with caplog.at_level(logging.WARNING, "bridge"):
        sender = send(manifest, "online")
    assert [r.message for r in caplog.records if r.name == "bridge"] == [
        "no W&B key: going on offline; send the runs later with later"
    ]
    assert by_curve(sender.ledger, curves(manifest.folder)) == expected(manifest)


def test_a_server_that_comes_back_gets_what_is_not_there(outputs: Path, server: Server) -> None:
    manifest = sweep(outputs)
    send(manifest, "online", n=1)
    server.refusing = True
    assert send(manifest, "online", n=2, init_timeout_s=3.0).client.mode == "offline"
    assert {len(run.history) for run in server.runs.values()} == {1}
    # only what had not arrived lies in the files
    assert {tuple(r["_step"] for r in rows) for rows in curves(manifest.folder).values()} == {(1,)}
    server.refusing = False
    sender = send(manifest, "online")
    assert sender.client.mode == "online"
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1, 2)}
    assert by_curve(sender.ledger, {k: run.rows for k, run in server.runs.items()}) == expected(manifest)
    assert all(path.with_name(f"{path.name}.synced").exists() for path in wandb_files(manifest.folder))


def test_wandb_sync_of_several_folders_gives_one_whole_run(outputs: Path, server: Server) -> None:
    manifest = sweep(outputs, controls=[("fitted", "mean")])
    for n in (1, 2, 3):
        sender = send(manifest, "offline", n=n)
        time.sleep(1.1)  # the folders are told apart by the second
    assert len(wandb_files(manifest.folder)) == 3 * len(sender.ledger.entries)
    wandb_sync(manifest)
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1, 2)}
    assert by_curve(sender.ledger, {k: run.rows for k, run in server.runs.items()}) == expected(manifest)
    # the next one online resumes after them
    assert send(manifest, "online").n_left() == 0
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1, 2)}


def test_a_network_that_dies_under_open_runs_costs_a_capped_wait_and_no_row(
    outputs: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = sweep(outputs)
    with monkeypatch.context() as hurried:
        hurried.setattr("bridge.tracking.client.FINISH_TIMEOUT_S", 3.0)
        sender = send(manifest, "online", n=1, is_last=False)
        server.refusing = True
        sender.ledger = ledger_of(manifest)
        started = time.monotonic()
        sender.push(is_last=True)
        sender.ledger.save()
    # Without the cap it would be a minute for every eight runs.
    assert time.monotonic() - started < 90
    assert sender.client.mode == "offline"
    assert by_curve(sender.ledger, curves(manifest.folder)) == expected(manifest)
    server.refusing = False
    sender = send(manifest, "online")
    assert sender.client.mode == "online"
    assert by_curve(sender.ledger, {k: run.rows for k, run in server.runs.items()}) == expected(manifest)
    assert {tuple(run.steps) for run in server.runs.values()} == {(0, 1, 2)}


def test_threads_that_open_runs_at_once_log_in_one_after_the_other(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb shows a second thread the public server while a first one still reads WANDB_BASE_URL."""
    login, inside, most = wandb.login, [], []

    def counted(**options: object) -> bool:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.2)
        is_done: bool = login(**options)
        inside.pop()
        return is_done

    monkeypatch.setattr(wandb, "login", counted)
    client = Client("bridge", None, "online", 60.0, "later")
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda i: client.open(tmp_path, "online", id=f"run{i}"), range(4)))
    for run in runs:
        client.close(run)
    assert most == [1, 1, 1, 1]
    assert set(server.runs) == {"run0", "run1", "run2", "run3"}
