"""The Hydra application: runs cells one after the other in this process or in jobs, and prints their results."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from bridge.building import build
from bridge.config import conf_dir, quote_layer, to_plain, typed, warn_of_draws, without_effect
from bridge.errors import BridgeError, interrupted
from bridge.records.record import refuse_older
from bridge.schema import BridgeConfig, register
from bridge.shell.groups import register_groups
from bridge.sweep.handover import Handover

ERRORS_SHOWN = 10

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.records.manifest import Manifest


class _Application:
    """Runs cells one after the other in this process and keeps their records and errors."""

    def __init__(self, handover: Handover) -> None:
        self.handover = handover
        self.records: list[Any] = []
        self.errors: list[str] = []
        self.session: Any = None
        self.tracker: Any = None
        self.tracker_config: Any = None
        self.report_on: str | None = None

    def cell(self, config: DictConfig) -> None:
        """Run one cell. A failure is printed in one line and recorded; the other cells of a sweep still run."""
        # Imported here so that --help and --cfg need not wait for transformers.
        from bridge.run import run

        console = _console()
        multirun = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            settings = typed(config)
            if not multirun:
                warn_of_draws([to_plain(settings)])
                for line in without_effect(settings, HydraConfig.get().overrides.task):
                    console.print(f"note: {line}", style="yellow", highlight=False, markup=False, soft_wrap=True)
            self.report_on = settings.paths.outputs if settings.report else None
            if self.report_on is not None and not self.records:
                # The report at the end would be refused.
                refuse_older(self.report_on)
            self._prepare(settings)
            record = run(settings, self.session, before=lambda: _limit_threads(settings))
            if self.tracker is not None:
                self.tracker.send(record)
        except Exception as error:
            if interrupted(error):
                raise KeyboardInterrupt from error
            if not (multirun or isinstance(error, BridgeError)):
                raise
            message = str(error)
            if not isinstance(error, BridgeError):
                message = f"{type(error).__name__}: {error}; the traceback is in the cell's record"
            self.errors.append(message)
            if multirun:
                console.print(f"  failed: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
            return
        self.records.append(record)
        if multirun:
            state = "read back" if record.reused else f"{record.data['wall_s']:.1f} s"
            from bridge.show.printing import line as line_of

            console.print(f"  {line_of(record)} ({state})", highlight=False, markup=False)
        else:
            from bridge.show.printing import print_cell

            print_cell(record, console)
            how = "read back from" if record.reused else "written to"
            console.print(f"record {how} {record.folder}", highlight=False, markup=False, soft_wrap=True)

    def _prepare(self, settings: BridgeConfig) -> None:
        from bridge.session import Session

        if self.session is None or not self.session.serves(settings):
            self.session = Session(settings.paths.outputs, settings.device, settings.batch_size)
        if settings.sweep.name is not None:
            # A sweep is streamed from its records, whoever computes them.
            return
        if self.tracker is None or self.tracker_config != settings.tracker:
            self.close()
            self.tracker_config, self.tracker = settings.tracker, build(settings.tracker)
        self.tracker.open()

    def close(self) -> None:
        """Send the records that the tracker has not sent yet."""
        if self.tracker is not None:
            self.tracker.close()

    def read_records(self) -> None:
        """Read the records of a grid that this process did not compute: those of its jobs and of earlier runs."""
        from bridge.records import record
        from bridge.sweep.status import states

        manifest = self.handover.manifest
        if manifest is None or not self.handover.waited:
            return
        self._report_on(manifest)
        if stopped := self.handover.stopped:
            self.errors.insert(0, stopped)
        if not self.handover.packed:
            reused = {r.data["run_id"]: r for r in record.read_all(manifest.outputs, self.handover.reused) if r.ok}
            records = reused | {r.data["run_id"]: r for r in self.records}
            self.records = [records[run_id] for run_id in manifest.run_ids if run_id in records]
            return
        self.records = [r for r in record.read_all(manifest.outputs, manifest.run_ids) if r.ok]
        cell_states = states(manifest)
        failed: dict[str, list[str]] = {}
        for state in cell_states:
            if state.name == "failed":
                failed.setdefault(state.error, []).append(manifest.label(state.cell))
        for error, labels in failed.items():
            self.errors.append(f"{labels[0]}{f' and {len(labels) - 1} more' if labels[1:] else ''}: {error}")
        n = sum(s.name in ("missing", "running") for s in cell_states)
        if n and not stopped:
            self.errors.append(
                f"{n} of {len(cell_states)} cells were not run, because the jobs ended before; their logs are in "
                f"{manifest.folder / 'jobs'}, and the same command runs what is missing"
            )

    def read_back(self, words: Sequence[str], key: str) -> bool:
        """Read the records of a finished grid, without Hydra, which is slower.

        Args:
            words: of the command line.
            key: hash of the words and files that the grid is composed from.

        Returns:
            Whether a finished grid has this key.
        """
        from bridge.records import record
        from bridge.records.manifest import finished_grid

        values = dict(word.split("=", 1) for word in words if "=" in word)
        manifest = finished_grid(values.get("paths.outputs", "outputs"), key)
        # A tracker may still have records of it to send.
        if manifest is None or manifest.settings["tracker"]["name"] != "none":
            return False
        n = len(manifest.cells)
        print(f"{n} of {n} cells have their record already")
        self.records = record.read_all(manifest.outputs, manifest.run_ids)
        self._report_on(manifest)
        return True

    def _report_on(self, manifest: "Manifest") -> None:
        self.report_on = str(manifest.outputs) if manifest.settings["report"] else None

    def print_grid(self) -> None:
        """A table for each data set, where there is more than one cell."""
        if len(self.records) > 1:
            from bridge.show.printing import print_grid

            print_grid(self.records, _console())


def _limit_threads(settings: BridgeConfig) -> None:
    """Give small models one thread.

    A second thread does not make them faster, and on a busy machine they lose most of their time to threads that wait
    for each other.
    """
    models = (settings.pair.source, settings.pair.target)
    if all(m.zoo is not None for m in models) and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)


def _console() -> "Console":
    from rich.console import Console

    # A pipe or a log file has no width of its own.
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else 120)


def run_hydra(arguments: Sequence[str], handover: Handover | None = None) -> int:
    """Run the Hydra application on a command line.

    Args:
        arguments: the words of the command line.
        handover: the options of a named sweep; None for a plain command line.

    Returns:
        The exit status: 1 where a cell failed or was left undone.
    """
    from bridge.sweep.layers import register_resolvers
    from bridge.sweep.sources import composed_from

    register()
    register_resolvers()
    register_groups()
    application = _Application(handover or Handover())
    decorated = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(application.cell)
    # Hydra takes -m only before or after all overrides; people put it anywhere.
    first = [a for a in arguments if a in ("-m", "--multirun")]
    sys.argv = ["bridge", *first, *(quote_layer(a) for a in arguments if a not in first)]
    # Options, such as another folder of configs, may name files that are not part of the key.
    is_plain = handover is None and not any(a.startswith("-") and a not in first for a in arguments)
    key = composed_from(sys.argv[1:]) if is_plain and "hydra.searchpath" not in str(arguments) else ""
    if key and application.read_back(arguments, key):
        application.print_grid()
    else:
        _run(application, decorated, key)
    if application.report_on is not None and application.records:
        write(application.report_on)
    errors = list(dict.fromkeys(application.errors))
    for error in errors[:ERRORS_SHOWN]:
        print(f"bridge: {error}", file=sys.stderr)
    if len(errors) > ERRORS_SHOWN:
        print(f"bridge: and {len(errors) - ERRORS_SHOWN} more; bridge status lists them", file=sys.stderr)
    return 1 if errors else 0


def _run(application: _Application, decorated: Callable[[], Any], key: str) -> None:
    """Run Hydra, and show the results and errors, also after an interruption."""
    if key:
        application.handover.composed_from = key
    try:
        decorated()
        application.close()
    finally:
        application.read_records()
        application.print_grid()


def write(outputs: str, to: str | None = None, name: str | None = None) -> None:
    """Write the report and say where it is."""
    from bridge.report.document import write_report

    print(f"report written to {write_report(outputs, to, name)}")
