"""The command line: ``bridge`` is a Hydra application; ``bridge report`` and ``bridge models`` stand beside it."""

import logging
import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from bridge.comparison import comparisons
from bridge.config import build, conf_dir, quote_layer, typed
from bridge.errors import BridgeError
from bridge.record import Record
from bridge.schema import register

log = logging.getLogger("bridge")


class _Application:
    """Runs cells one after the other in this process and remembers what came out."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.errors: list[str] = []
        self.session: object = None

    def cell(self, config: DictConfig) -> None:
        """Run one cell. A failure is said in one line and recorded; the other cells of a multirun go on."""
        # Imported here so that --help and --cfg need not wait for torch and transformers.
        from bridge.run import run
        from bridge.session import Session
        from bridge.tables import print_comparison

        console = _console()
        multirun = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            settings = typed(config)
            if not isinstance(self.session, Session) or not self.session.serves(settings):
                self.session = Session(settings.paths.outputs, settings.device, settings.batch_size)
            tracker = build(settings.tracker)
            found = run(settings, self.session)
            tracker.send(found)
            tracker.close()
        except BridgeError as error:
            self.errors.append(str(error))
            console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
            return
        self.records.append(found)
        (compared,) = comparisons([found])
        if multirun:
            state = "read back" if found.reused else f"{found.data['wall_s']:.1f} s"
            fitted = compared.mean("fitted")
            score = "" if fitted is None else f", fitted top-1 {fitted:.2f}"
            console.print(f"  {compared.label}{score} ({state})", highlight=False, markup=False)
        else:
            print_comparison(compared, console)
            how = "read back from" if found.reused else "written to"
            console.print(f"record {how} {found.folder}", highlight=False, markup=False, soft_wrap=True)


def _console() -> Console:
    # A pipe or a log file has no width of its own.
    return Console(width=None if sys.stdout.isatty() else 120)


def _hydra(arguments: Sequence[str]) -> int:
    register()
    application = _Application()
    decorated = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(application.cell)
    sys.argv = ["bridge", *(quote_layer(a) for a in arguments)]
    decorated()
    if len(application.records) > 1:
        from bridge.tables import grid_table

        _console().print(grid_table(comparisons(application.records)))
    for error in application.errors:
        print(f"bridge: {error}", file=sys.stderr)
    return 1 if application.errors else 0


def _report(arguments: Sequence[str]) -> int:
    import argparse

    from bridge.report import write_report

    parser = argparse.ArgumentParser("bridge report", description="Write one offline HTML file from the records.")
    parser.add_argument("--outputs", default="outputs", help="the outputs folder (default: outputs)")
    parser.add_argument("--to", default=None, help="the file to write (default: OUTPUTS/reports/report.html)")
    chosen = parser.parse_args(list(arguments))
    print(f"report written to {write_report(chosen.outputs, chosen.to)}")
    return 0


VERBS = {"report": _report}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command ``bridge``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Hydra then hands errors on as they are, and one clear line can be made of them here.
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    verb = VERBS.get(words[0]) if words else None
    try:
        code = verb(words[1:]) if verb else _hydra(words)
    except KeyboardInterrupt:
        print("bridge: stopped; run the same command again to go on", file=sys.stderr)
        code = 130
    except (BridgeError, HydraException, OmegaConfBaseException, OSError) as error:
        if wants_traceback:
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        print(f"bridge: {' '.join(lines)}", file=sys.stderr)
        code = 1
    sys.exit(code)
