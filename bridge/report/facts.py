"""The cells that were run, the code that ran them, and what each condition is."""

from collections.abc import Sequence
from html import escape

from bridge.records.record import Record
from bridge.report.evidence import at_key, cell_headings, cell_names, controls_label
from bridge.report.gathered import Gathered, points_of
from bridge.results.comparison import Comparison
from bridge.results.curves import place_of, places
from bridge.show.looks import swatch
from bridge.show.page import MANY, Cell, table, text


def what_was_run(one: Gathered) -> str:
    """One row per record, failed ones too; one per grid where there are many."""
    cells = points_of(one.cells)
    n_records = sum(len(points[0].records) for points in cells) + len(one.failed)
    return _by_record(one, cells) if n_records <= MANY else _by_grid(one)


def _by_record(one: Gathered, cells: Sequence[Sequence[Comparison]]) -> str:
    task = one.task
    shown = [(r, cell_names(points)) for points in cells for r in points[0].records]
    shown += [(r, _asked_for(one, r)) for r in one.failed]
    facts = [task.run_facts([r]) for r, _ in shown]
    more = list(dict.fromkeys(heading for own in facts for heading in own))
    rows = []
    for (record, names), own in zip(shown, facts, strict=True):
        config = record.data["config"]
        if "pair" in task.uses:
            names = [text(place_of(task, config), "text tight"), *names[1:]]
        controls = [text(controls_label(task, config["control"]["names"]), "text tight")] * ("control" in task.uses)
        rows.append([
            *names, str(config["seed"]), *(text(own.get(heading, "–"), "text tight") for heading in more), *controls,
            text(record.data["run_id"], "text tight"), text(_commit(record), "text tight"),
            f"{record.data['wall_s']:.1f}",
        ])  # fmt: skip
    heading = [*cell_headings(task), "seed", *more, *(["controls"] if "control" in task.uses else [])]
    heading += ["run id", "commit", "wall s"]
    return table(heading, rows, [not r.data["valid"] for r, _ in shown])


def _asked_for(one: Gathered, record: Record) -> list[str]:
    """The table columns of a failed cell: the places that its config asks for."""
    task, config = one.task, record.data["config"]
    at = [Cell(escape(str(at_key(config, axis))) if axis.keys else "–", "tight") for axis in task.axes]
    return [*([text("")] if "pair" in task.uses else []), text(task.setting(config), "text tight"), *at]


def _by_grid(one: Gathered) -> str:
    task = one.task
    rows, more = [], []
    settings = [(grid, [r for points in points_of(grid.cells) for r in points[0].records]) for grid in one.grids]
    facts = [task.run_facts(records) for _, records in settings]
    more = list(dict.fromkeys(heading for own in facts for heading in own))
    for (grid, records), own in zip(settings, facts, strict=True):
        names = (name for r in records for name in r.data["config"].get("control", {}).get("names", ()))
        rows.append([
            text(grid.heading), text(grid.title), *(text(places(axis, grid.cells)) for axis in task.axes),
            str(grid.cells[0].config["seed"]), *(text(own.get(heading, "–"), "text tight") for heading in more),
            *([text(controls_label(task, names))] if "control" in task.uses else []), str(len(records)),
            text(", ".join(dict.fromkeys(map(_commit, records)))), f"{sum(r.data['wall_s'] for r in records):.0f}",
        ])  # fmt: skip
    heading = ["pair" if "pair" in task.uses else "task", task.heading, *(axis.word for axis in task.axes), "seed"]
    heading += [*more, *(["controls"] if "control" in task.uses else []), "records", "commit", "wall s"]
    told_first = '<p class="quiet">One row per setting; bridge export has a row for every cell.</p>'
    return told_first + table(heading, rows)


def _commit(record: Record) -> str:
    return (record.data.get("commit") or "none")[:9] + (" + changes" if record.data.get("dirty") else "")


def versions(records: Sequence[Record]) -> str:
    """Every distinct set of package versions."""
    sets = dict.fromkeys(", ".join(f"{k} {v}" for k, v in r.data["versions"].items()) for r in records)
    return "".join(f"<p>{escape(line)}</p>" for line in sets)


def what_controls_rule_out(one: Gathered) -> str:
    """Every condition with its look, its kind and the sentence that says what it rules out."""
    rows = [
        [Cell(swatch(one.task, name), "text"), text(name, "text tight"), text(c.kind), text(c.rules_out, "text long")]
        for name, c in one.task.conditions.items()
    ]
    return table(["", "control", "kind", "rules out, or is"], rows)
