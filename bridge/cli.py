"""The command line: ``bridge`` is a Hydra application; ``bridge report`` stands beside it."""

import errno
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from bridge.config import build, conf_dir, quote_layer, typed
from bridge.errors import BridgeError
from bridge.schema import BridgeConfig, register

if TYPE_CHECKING:
    from bridge.comparison import Comparison

# What the file system refuses; a folder that cannot be made under /proc is "not found".
REFUSED = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
}
# What OmegaConf asserts where `pair.source.zoo.width=32` meets a pair whose zoo is null.
BELOW_NULL = "Unexpected type for root: NoneType"
# What Hydra says of `pair=3`, as a plain ValueError.
NOT_A_NAME = "Config group override must be a string or a list"
OPTIONS_SHOWN = 30


class _Application:
    """Runs cells one after the other in this process and remembers what came out."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.errors: list[str] = []
        self.session: Any = None
        self.tracker: Any = None
        self.tracker_config: Any = None
        self.report_on: str | None = None

    def cell(self, config: DictConfig) -> None:
        """Run one cell. A failure is said in one line and recorded; the other cells of a multirun go on."""
        # Imported here so that --help and --cfg need not wait for transformers.
        from bridge.comparison import comparisons
        from bridge.run import run
        from bridge.tables import print_comparison

        console = _console()
        multirun = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            settings = typed(config)
            self.report_on = settings.paths.outputs if settings.report else None
            self._prepare(settings)
            found = run(settings, self.session)
            self.tracker.send(found)
        except BridgeError as error:
            self.errors.append(str(error))
            if multirun:
                console.print(f"  failed: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
            return
        self.records.append(found)
        (compared,) = comparisons([found])
        if multirun:
            state = "read back" if found.reused else f"{found.data['wall_s']:.1f} s"
            console.print(f"  {compared.label}{_scores(compared)} ({state})", highlight=False, markup=False)
        else:
            print_comparison(compared, console)
            how = "read back from" if found.reused else "written to"
            console.print(f"record {how} {found.folder}", highlight=False, markup=False, soft_wrap=True)

    def _prepare(self, settings: BridgeConfig) -> None:
        import torch

        from bridge.session import Session

        models = (settings.pair.source, settings.pair.target)
        if all(m.zoo is not None for m in models) and "OMP_NUM_THREADS" not in os.environ:
            # Models this small gain nothing from a second thread, and on a busy machine they lose most of their time
            # to threads that wait for each other.
            torch.set_num_threads(1)
        if self.session is None or not self.session.serves(settings):
            self.session = Session(settings.paths.outputs, settings.device, settings.batch_size)
        if self.tracker is None or self.tracker_config != settings.tracker:
            self.close()
            self.tracker_config, self.tracker = settings.tracker, build(settings.tracker)
        self.tracker.open()

    def close(self) -> None:
        """Send what the tracker still holds back."""
        if self.tracker is not None:
            self.tracker.close()

    def print_grid(self) -> None:
        """One table of all cells, where there is more than one."""
        if len(self.records) > 1:
            from bridge.comparison import comparisons
            from bridge.tables import grid_footer, grid_table

            console, found = _console(), comparisons(self.records)
            console.print(grid_table(found, width=console.width))
            console.print(grid_footer(found), highlight=False)


def _scores(c: "Comparison") -> str:
    """The fitted score with the highest negative control; nothing where they are cells of their own."""
    from bridge.comparison import NEGATIVES

    fitted = c.mean("fitted")
    negative = {name: score for name in NEGATIVES if (score := c.mean(name)) is not None}
    if fitted is None or not negative:
        return ""
    highest = max(negative, key=negative.__getitem__)
    return f", top-1: fitted {fitted:.2f}, highest negative control {negative[highest]:.2f} ({highest})"


def _console() -> Console:
    # A pipe or a log file has no width of its own.
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else 120)


def _hydra(arguments: Sequence[str]) -> int:
    register()
    application = _Application()
    decorated = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(application.cell)
    # Hydra takes -m only before or after all overrides; people put it anywhere.
    first = [a for a in arguments if a in ("-m", "--multirun")]
    sys.argv = ["bridge", *first, *(quote_layer(a) for a in arguments if a not in first)]
    try:
        decorated()
        application.close()
    finally:
        application.print_grid()
    if application.report_on is not None and application.records:
        _write_report(application.report_on, None)
    for error in dict.fromkeys(application.errors):
        print(f"bridge: {error}", file=sys.stderr)
    return 1 if application.errors else 0


def _report(arguments: Sequence[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser("bridge report", description="Write one offline HTML file from the records.")
    parser.add_argument("--outputs", default="outputs", help="the outputs folder (default: outputs)")
    parser.add_argument("--to", default=None, help="the file to write (default: OUTPUTS/reports/report.html)")
    chosen = parser.parse_args(list(arguments))
    _write_report(chosen.outputs, chosen.to)
    return 0


def _write_report(outputs: str, to: str | None) -> None:
    from bridge.report import write_report

    print(f"report written to {write_report(outputs, to)}")


VERBS = {"report": _report}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command ``bridge``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Hydra then hands errors on as they are, and one clear line can be made of them here.
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # A log file on a full disk would print a traceback for every line that it cannot take.
    logging.raiseExceptions = False
    verb = VERBS.get(words[0]) if words else None
    try:
        code = verb(words[1:]) if verb else _hydra(words)
    except KeyboardInterrupt:
        print("bridge: stopped; run the same command again to go on", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader of `bridge | head` has gone; nothing more may be written when Python closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (BridgeError, HydraException, OmegaConfBaseException, OSError, AssertionError, ValueError) as error:
        foreseen = not isinstance(error, AssertionError | ValueError) or isinstance(error, HydraException)
        if before == "1" or not (foreseen or BELOW_NULL in str(error) or NOT_A_NAME in str(error)):
            raise
        print(f"bridge: {_one_line(error)}", file=sys.stderr)
        code = 1
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
    sys.exit(code)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in REFUSED:
        return (
            f"cannot write {error.filename or 'to the outputs folder'} ({error.strerror}); free some space, or set "
            "paths.outputs to a writable folder"
        )
    if isinstance(error, AssertionError):
        return (
            "an override sets a field of something that is null here (such as pair.source.zoo of a pair that bridge "
            "does not train); leave it out, or choose an option that has it"
        )
    # The options are on indented lines; where Hydra looked, and adding keys that no schema has, are of no use here.
    text = re.sub(r"\s+To append to your config use \S+", "", str(error).partition("Config search path:")[0])
    options = [line.strip() for line in text.splitlines() if line.startswith("\t")]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\t")]
    if options:
        lines[:-1] = [f"{line}." for line in lines[:-1]]
        lines.append(", ".join(options[:OPTIONS_SHOWN]) + (", ..." if len(options) > OPTIONS_SHOWN else ""))
    # Hydra says which override is wrong, and what is wrong with it only in the cause.
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        lines = [f"{' '.join(lines).rstrip('.')}:", *str(cause).splitlines()[:1]]
    return " ".join(lines)
