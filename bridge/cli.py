"""The command line: ``bridge`` is a Hydra application; verbs such as ``bridge sweep`` stand beside it."""

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from bridge.errors import BridgeError, interrupted

if TYPE_CHECKING:
    from bridge.sweep.handover import Handover

# Errors of the file system; a folder that cannot be made under /proc gives "not found".
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
# OmegaConf's assertion where `pair.source.zoo.width=32` overrides a pair whose zoo is null.
BELOW_NULL = "Unexpected type for root: NoneType"
# Hydra's message for `pair=3`, a plain ValueError.
NOT_A_NAME = "Config group override must be a string or a list"
OPTIONS_SHOWN = 30
STOPPED = "bridge: stopped; run the same command again to go on"


def _hydra(arguments: Sequence[str], handover: "Handover | None" = None) -> int:
    from bridge.application import run_hydra
    from bridge.shell.completion import complete, is_query

    if is_query(arguments):
        return complete(arguments, run_hydra, list(VERBS))
    return run_hydra(arguments, handover)


def _sweep(arguments: Sequence[str]) -> int:
    from bridge.sweep.command import sweep_verb

    return sweep_verb(arguments, _hydra)


def _status(arguments: Sequence[str]) -> int:
    from bridge.sweep.status import status_verb

    return status_verb(arguments)


def _sync(arguments: Sequence[str]) -> int:
    from bridge.tracking.stream import sync_verb

    return sync_verb(arguments)


def _dashboard(arguments: Sequence[str]) -> int:
    from bridge.tracking.dashboard import dashboard_verb

    return dashboard_verb(arguments)


def _report(arguments: Sequence[str]) -> int:
    import argparse

    from bridge.application import write

    parser = argparse.ArgumentParser("bridge report", description="Write one offline HTML file from the records.")
    parser.add_argument("name", nargs="?", help="a sweep; without it, all records")
    parser.add_argument("--outputs", default="outputs", help="the outputs folder (default: outputs)")
    parser.add_argument("--to", help="the file to write (default: OUTPUTS/reports/report.html, or NAME.html)")
    chosen = parser.parse_args(list(arguments))
    write(chosen.outputs, chosen.to, chosen.name)
    return 0


def _export(arguments: Sequence[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser("bridge export", description="Write scores with their controls as a table.")
    parser.add_argument("name", nargs="?", help="a sweep; without it, all records")
    parser.add_argument("--outputs", default="outputs", help="the outputs folder (default: outputs)")
    parser.add_argument("--to", help="a .csv or .parquet file (default: OUTPUTS/reports/NAME.csv)")
    parser.add_argument("--items", action="store_true", help="one row an item instead of means")
    chosen = parser.parse_args(list(arguments))
    from bridge.export import write_export

    print(f"table written to {write_export(chosen.outputs, chosen.name, chosen.to, chosen.items)}")
    return 0


def _haar(arguments: Sequence[str]) -> int:
    from bridge.shell.haar import haar_verb

    return haar_verb(arguments)


def _list(name: str, arguments: Sequence[str]) -> int:
    from bridge.shell.listing import LISTS

    return LISTS[name](arguments)


# Each verb imports its modules when it is called, so that verbs without heavy imports answer at once.
VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "sweep": _sweep,
    "status": _status,
    "report": _report,
    "export": _export,
    "sync": _sync,
    "dashboard": _dashboard,
    "haar": _haar,
    **{name: partial(_list, name) for name in ("tasks", "maps", "controls")},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command ``bridge``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # With this setting Hydra re-raises errors unchanged, so that they can be printed as one line here.
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # On a full disk logging would print a traceback for every line that cannot be written.
    logging.raiseExceptions = False
    verb = VERBS.get(words[0]) if words else None
    try:
        code = verb(words[1:]) if verb else _hydra(words)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader of `bridge | head` has ended; nothing more may be written when Python closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except YAMLError as error:
        print(f"bridge: a YAML file cannot be read: {' '.join(str(error).split())}; put it right", file=sys.stderr)
        code = 1
    except (BridgeError, HydraException, OmegaConfBaseException, OSError, AssertionError, ValueError) as error:
        if interrupted(error):
            print(STOPPED, file=sys.stderr)
            sys.exit(130)
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
