"""Fixtures for whatever calls wandb: no key, nothing left of one test in the next, and a server where it is wanted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_server import KEY, Server

from bridge.tracking.client import end_service

wandb = pytest.importorskip("wandb", reason="pip install 'bridge-llm[wandb]'")
wbauth = pytest.importorskip("wandb.sdk.lib.wbauth")


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
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
    end_service()


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and a key for it."""
    made = Server()
    monkeypatch.setenv("WANDB_BASE_URL", made.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield made
    made.close()
