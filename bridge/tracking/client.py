"""The client of wandb: timeouts, and the fallback to offline mode without a key or a network."""

import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotEndedError
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError

log = logging.getLogger("bridge")
MISSING = (
    "wandb is not installed; wanted it for tracker=wandb: run pip install 'bridge-llm[wandb]', or give tracker=none"
)
# Uploads that take longer than this are left to the next `bridge sync`.
FINISH_TIMEOUT_S = 60.0
# How long wandb's service process may take to end.
END_TIMEOUT_S = 10.0
# wandb reads its settings when they are first asked for, and without a lock: a second thread would see the public
# server in place of the one in WANDB_BASE_URL (wandb 0.31).
_LOGIN = threading.Lock()


def require_wandb() -> None:
    """Check that wandb is installed, without importing it.

    Raises:
        ConfigError: it is not installed.
    """
    if "wandb" in sys.modules:
        is_installed = sys.modules["wandb"] is not None
    else:
        is_installed = importlib.util.find_spec("wandb") is not None
    if not is_installed:
        raise _not_installed()


def _not_installed() -> ConfigError:
    return ConfigError(
        "wandb is not installed; wanted it for tracker=wandb: run pip install 'bridge-llm[wandb]', or give tracker=none"
    )


def wandb_module() -> Any:
    """The module wandb.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise _not_installed() from error
    return wandb


def end_service() -> None:
    """End wandb's service process; the next run starts a new one.

    One that has not ended after `END_TIMEOUT_S` is killed: with a broken connection it would never end (wandb 0.31).
    """
    import psutil

    if (wandb := sys.modules.get("wandb")) is None:
        return
    # `teardown` raises SystemExit where the process did not end well.
    with suppress(SystemExit), ThreadPoolExecutor(1) as pool:
        ended = pool.submit(wandb.teardown)
        try:
            ended.result(END_TIMEOUT_S)
        except NotEndedError:
            for child in psutil.Process().children():
                if child.name().startswith("wandb-core"):
                    child.kill()
            ended.result()


class OfflineError(Exception):
    """The server could not be reached. The client is offline from now on, and unfinished uploads must be repeated."""


class Client:
    """Opens W&B runs, and stays offline after the server could not be reached once.

    Args:
        project: the W&B project.
        entity: the user or team; None for the key's own.
        mode: online, offline or disabled.
        init_timeout_s: seconds to wait for the server before going offline.
        later: the command that sends the runs later.
    """

    def __init__(self, project: str, entity: str | None, mode: str, init_timeout_s: float, later: str) -> None:
        self.project = project
        self.entity = entity
        self.mode = mode
        self.init_timeout_s = init_timeout_s
        self.later = later
        self.why_offline: str | None = None
        self._mutex = threading.Lock()

    def open(self, folder: Path, mode: str, **options: Any) -> Any:
        """A new W&B run.

        Args:
            folder: W&B makes its own folder `wandb` there.
            mode: online, offline or disabled. It is an argument because runs are opened in threads: if one of them
                finds no network, the others must not open theirs offline.
            options: of ``wandb.init``.

        Raises:
            OfflineError: there is no key, or the server did not answer in time.
        """
        wandb = wandb_module()
        if mode == "online" and self.why_offline is not None:
            raise OfflineError(self.why_offline)
        try:
            # Checked first, because in a terminal wandb.init would ask for a key.
            with _LOGIN:
                has_key = mode != "online" or wandb.login(prompt=False, verify=False)
            if has_key:
                return self._init(wandb, folder, mode, options)
        # Besides its own errors, wandb raises errors of its service process, which may have died.
        except Exception as error:
            if mode != "online":
                raise
            raise self.fallen_back(f"W&B did not take the run ({error_line(error)})") from error
        raise self.fallen_back("no W&B key")

    def close(self, run: Any) -> None:
        """Finish a W&B run.

        Raises:
            OfflineError: not everything was uploaded.
        """
        try:
            run.finish()
        except Exception as error:
            if run.offline:
                raise
            raise self.fallen_back(f"W&B did not take everything ({error_line(error)})") from error

    def fallen_back(self, why: str) -> OfflineError:
        """Switch to offline mode, with one message.

        Returns:
            The error to raise.
        """
        with self._mutex:
            if self.why_offline is None:
                log.warning("%s: going on offline; send the runs later with %s", why, self.later)
                self.why_offline = why
                self.mode = "offline"
                # The service process still holds the run ids of the failed runs.
                end_service()
        return OfflineError(why)

    def _init(self, wandb: Any, folder: Path, mode: str, options: Mapping[str, Any]) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project,
            entity=self.entity,
            mode=mode,
            dir=str(folder),
            reinit="create_new",
            settings=_settings(wandb, self.init_timeout_s),
            **options,
        )

    @property
    def server(self) -> str:
        """Address of the server that online runs go to."""
        return str(os.environ.get("WANDB_BASE_URL") or wandb_module().Settings().base_url)


def _settings(wandb: Any, init_timeout_s: float) -> Any:
    """Settings without features for training runs (system metrics, console), which make a run five times as slow."""
    return wandb.Settings(
        init_timeout=init_timeout_s,
        finish_timeout=FINISH_TIMEOUT_S,
        finish_timeout_raises=True,
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


def error_line(error: Exception) -> str:
    """The first line of an error, or its name where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
