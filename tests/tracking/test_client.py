"""The end of wandb's service process, whatever state it is in."""

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from wandb_account import wandb

from bridge.tracking import client
from bridge.tracking.client import end_service


def services() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name().startswith("wandb-core")]


def start(folder: Path) -> psutil.Process:
    """A service process with a finished run."""
    folder.mkdir()
    wandb.init(project="p", mode="offline", dir=str(folder)).finish()
    (service,) = services()
    return service


def test_a_service_ends_by_itself_and_the_next_run_starts_a_new_one(tmp_path: Path) -> None:
    first = start(tmp_path / "first")
    end_service()
    assert not services()
    assert start(tmp_path / "second").pid != first.pid


def test_a_service_that_does_not_hear_that_it_should_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "END_TIMEOUT_S", 0.5)
    start(tmp_path / "first").send_signal(signal.SIGSTOP)
    with subprocess.Popen(["sleep", "60"]) as another:
        began = time.monotonic()
        end_service()
        assert 0.5 <= time.monotonic() - began < 30
        assert not services()
        assert another.poll() is None
        another.kill()
    end_service()
