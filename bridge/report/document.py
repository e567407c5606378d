"""One offline HTML file from the records: every estimate beside its controls."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from bridge.errors import RecordError
from bridge.records import manifest
from bridge.records.provenance import source_hash
from bridge.records.record import Record, read_all, runs_folder, write_whole
from bridge.report import evidence, facts
from bridge.report.definitions import definitions
from bridge.report.gathered import Gathered, gather
from bridge.report.headline import cards, head
from bridge.report.sections import common_sections
from bridge.show.looks import swatches
from bridge.show.page import page
from bridge.tasks.base import Section

GATES = "A cell whose gates fail is invalid, here and in every plot."


def write_report(outputs: str | Path, to: str | Path | None = None, name: str | None = None) -> Path:
    """Write the report of all records under `outputs`, or of one sweep.

    A report that exists already and would be the same is not rewritten.

    Args:
        outputs: the outputs folder.
        to: the file to write; `outputs`/reports/report.html, or the sweep's name in place of `report`, when None.
        name: a sweep; its cells without a record are listed as missing.

    Returns:
        Where it is.

    Raises:
        RecordError: there is no record, one is damaged, or the file cannot be written.
        ConfigError: there is no such sweep.
    """
    sweep = None if name is None else manifest.read(outputs, name)
    records = read_all(outputs, None if sweep is None else sweep.run_ids)
    if not records:
        first = "run bridge first, or give --outputs another folder" if sweep is None else f"run bridge sweep {name}"
        raise RecordError(
            f"no records {'' if sweep is None else f'of sweep {name} '}under {runs_folder(outputs)}; wanted at least "
            f"one: {first}"
        )
    recorded = {r.folder.name for r in records}
    missing = [] if sweep is None else [sweep.config(cell) for cell in sweep.cells if cell.run_id not in recorded]
    path = Path(outputs) / "reports" / f"{name or 'report'}.html" if to is None else Path(to)
    mark = f"<!-- {_made_from(records, name, missing)} -->\n".encode()
    if not (path.is_file() and path.read_bytes().endswith(mark)):
        write_whole(path, render(records, name, missing).encode() + mark)
    return path


def _made_from(records: Sequence[Record], name: str | None, missing: Sequence[dict[str, Any]]) -> str:
    """A sha256 over everything that determines the text of a report: records, and the code that draws them."""
    total = hashlib.sha256(source_hash().encode())
    for part in (name, missing, *(r.data for r in records)):
        total.update(json.dumps(part, sort_keys=True).encode())
    return total.hexdigest()


def render(records: Sequence[Record], name: str | None = None, missing: Sequence[dict[str, Any]] = ()) -> str:
    """The report as one HTML document; the same records give the same text.

    Args:
        records: done and failed cells.
        name: the sweep they are of, or None.
        missing: configs of the sweep's cells that have no record.
    """
    every = gather(records)
    common = [one for one in every if one.is_common]
    own = {one.task.name: one.task.sections(one.cells) for one in every if one.cells}
    body, sections = [], []
    for one in common:
        prefix = f"{one.task.name}-" if len(common) > 1 else ""
        further = [replace(section, name=f"{prefix}{section.name}") for section in own[one.task.name]]
        before = [section for section in further if section.first and not section.within]
        after = [replace(section, name=f"{prefix}{section.name}") for section in common_sections(one)]
        after += [section for section in further if not section.first and not section.within]
        heading = [f"<h2>{escape(f'task={one.task.name}')}</h2>"] if prefix else []
        body += [*heading, *map(_html, before), cards(one), *map(_html, after)]
        sections += [*before, *after]
    for one in every:
        if one.cells and one.task.own_report:
            alone = [section for section in own[one.task.name] if not section.within]
            body += map(_html, alone)
            sections += alone
    last = [
        Section("gates", "Gates, warnings, failures", _checks(records, common, own, name, missing), GATES,
                "gates, missing, failed"),
        Section("run", "What was run", _run(records, common, own), "", "what was run"),
    ]  # fmt: skip
    links = "".join(f'<a href="#{s.name}">{escape(s.link or s.title)}</a>' for s in (*sections, *last))
    parts = [swatches(one.task for one in common), head(records, every, name, len(missing)), f"<nav>{links}</nav>"]
    title = "bridge report" if name is None else f"bridge report: {name}"
    return page(title, "\n".join([*parts, *body, *map(_html, last)]))


def _html(section: Section) -> str:
    lead = f'<p class="quiet">{escape(section.lead)}</p>' if section.lead else ""
    return f'<section id="{section.name}"><h2>{escape(section.title)}</h2>{lead}\n{section.body}</section>'


def _checks(
    records: Sequence[Record],
    common: Sequence[Gathered],
    own: dict[str, list[Section]],
    name: str | None,
    missing: Sequence[dict[str, Any]],
) -> str:
    of_sweep = "" if name is None else "<h3>Missing cells</h3>" + evidence.missing(missing, name)
    return (
        _each(common, evidence.gates)
        + "<h3>Warnings</h3>" + evidence.warnings([c for one in common for c in one.cells])
        + of_sweep
        + "<h3>Failed cells</h3>" + evidence.failures(records)
        + _within("gates", own)
    )  # fmt: skip


def _run(records: Sequence[Record], common: Sequence[Gathered], own: dict[str, list[Section]]) -> str:
    return (
        (_each(common, facts.what_was_run) or '<p class="quiet">none</p>')
        + "<h3>Versions</h3>" + facts.versions(records)
        + ("<h3>What each control rules out</h3>" + _each(common, facts.what_controls_rule_out)
           + "<h3>How the numbers are defined</h3>" + _each(common, definitions) if common else "")
        + _within("run", own)
    )  # fmt: skip


def _each(some: Sequence[Gathered], draw: Callable[[Gathered], str]) -> str:
    """The output of `draw` for each task, under its name if there are several."""
    return "".join((f"<h4>{escape(f'task={one.task.name}')}</h4>" if len(some) > 1 else "") + draw(one) for one in some)


def _within(name: str, own: dict[str, list[Section]]) -> str:
    """The sections of tasks that end a common section."""
    return "".join(
        f"<h3>{escape(s.title)}</h3>{s.body}" for sections in own.values() for s in sections if s.within == name
    )
