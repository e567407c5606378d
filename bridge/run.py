"""run(config) -> Record: runs one cell from its config to its record."""

import io
import logging
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import yaml

from bridge.config import run_id, to_plain
from bridge.errors import BridgeError, interrupted
from bridge.records import record
from bridge.records.provenance import provenance
from bridge.records.record import Record
from bridge.schema import BridgeConfig
from bridge.session import Session
from bridge.tasks.registry import get

if TYPE_CHECKING:
    from bridge.results.points import Result

log = logging.getLogger("bridge")


def run(config: BridgeConfig, session: Session | None = None, before: Callable[[], object] = lambda: None) -> Record:
    """Run one cell, or read its record when it was run before on the same inputs.

    Args:
        config: typed, from `compose_config` or the command line.
        session: what cells share; a fresh one when None.
        before: called before anything is computed, and not where a record is read back.

    Returns:
        The record. One of status "done" is complete; on any error a record of status "failed" with the traceback
        is left on disk and the error is raised.

    Raises:
        BridgeError: something that a user can put right.
    """
    session = session or Session(config.paths.outputs, config.device, config.batch_size)
    identity = run_id(config)
    with record.claimed(config.paths.outputs, identity):
        started = time.perf_counter()
        stored = None if config.recompute else record.read(config.paths.outputs, identity)
        inputs: dict[str, str] = {}
        text = io.StringIO()
        handler = logging.StreamHandler(text)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        try:
            # Inputs that changed under an unchanged config (an edited file, other weights) are computed again.
            inputs = session.inputs(config)
            if stored is not None and stored.ok and stored.data["inputs"] == inputs:
                return stored
            before()
            result = get(config.task.name).compute(config, session, inputs)
            for warning in result.warnings:
                log.warning(warning)
            return _write(config, identity, "done", inputs, _data(result), result.items, text, started)
        except Exception as error:
            if interrupted(error):
                raise KeyboardInterrupt from error
            # A finished record is not replaced by a failed one because a model or a file cannot be reached today.
            if record.is_done(config.paths.outputs, identity):
                raise
            failed = {
                "error": str(error) or type(error).__name__,
                "traceback": traceback.format_exc(),
                "valid": False,
            }
            try:
                _write(config, identity, "failed", inputs, failed, {}, text, started)
            except BridgeError:
                log.warning("the failure could not be recorded under %s", config.paths.outputs)
            raise
        finally:
            log.removeHandler(handler)


def _data(result: "Result") -> dict[str, Any]:
    """The part of record.json that comes from a task's result."""
    return {
        **result.facts,
        "points": result.points,
        "gates": result.gates,
        "valid": all(gate["passed"] for gate in result.gates.values()),
        "absent": result.absent,
        "warnings": result.warnings,
    }


def _write(
    config: BridgeConfig,
    identity: str,
    status: str,
    inputs: dict[str, str],
    data: dict[str, Any],
    tables: dict[str, Any],
    text: io.StringIO,
    started: float,
) -> Record:
    # Status and inputs come first, so that the head of the file tells whether the cell is done.
    whole = {
        "status": status,
        "inputs": inputs,
        **data,
        "config": to_plain(config),
        **provenance(),
        "wall_s": time.perf_counter() - started,
    }
    return record.write(config.paths.outputs, identity, whole, _to_yaml(whole["config"]), tables, text.getvalue())


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes YAML that OmegaConf reads back unchanged, ten times as fast as OmegaConf writes it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    try:
        # OmegaConf reads 1e3 as a number, YAML as text; so such text needs quotes.
        float(text)
        style = "'"
    except ValueError:
        style = None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def _to_yaml(plain: dict[str, Any]) -> str:
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
