"""What is shown of similarity: on a terminal, in a report, in a table, at W&B; never without its nulls."""

import csv
import io
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from comparable import compared
from rich.console import Console
from synthetic_records import write_cell, write_failed
from wandb_files import WANDB, sent, wandb_files

from bridge.export import write_export
from bridge.records.record import Record, read_all
from bridge.report.document import write_report
from bridge.results.joining import comparisons
from bridge.similarity.measures import MEASURES
from bridge.tasks.registry import get
from bridge.tasks.similarity.matrices import best, final, flat_scores, layer_pairs, measures, short, verdict
from bridge.tasks.similarity.page import layer_map
from bridge.tasks.similarity.tables import matrices_table, print_matrices
from bridge.tracking.plan import Plan
from bridge.tracking.wandb import WandbTracker

FEW = ("task.measures=[cka_linear,mutual_knn,procrustes]", "task.n_permutations=19")


def point_at(
    source: int, target: int, value: float, calibrated: float | None, free: float, within: float
) -> dict[str, Any]:
    """One point of a record of one measure, with corrected p among rows permuted freely and inside relations."""
    null = {"mean": 0.1, "low": None, "high": None, "q95": 0.2}

    def lead(p: float) -> dict[str, Any]:
        difference = value - 0.1
        return {"difference": difference, "low": None, "high": None, "p": p, "p_searched": p, "calibrated": calibrated}

    return {
        "axes": {"source_layer": source, "target_layer": target, "n_rows": 50},
        **{"n": 50, "n_units": 50, "n_effective": 50.0, "unit": "row", "parts": {}},
        "scores": {
            "observed": {"cka_linear": {"mean": value, "low": None, "high": None}},
            **{name: {"cka_linear": null} for name in ("shuffled", "shuffled_within")},
        },
        "contrasts": {"shuffled": {"cka_linear": lead(free)}, "shuffled_within": {"cka_linear": lead(within)}},
    }


def made_up(
    cells: dict[tuple[int, int], tuple[float, float | None, float, float]], valid: bool = True
) -> dict[str, Any]:
    """record.json of one measure: (source, target) -> value, calibrated, corrected p free and inside relations."""
    sources, targets = (sorted({key[side] for key in cells}) for side in (0, 1))
    return {
        "run_id": "0" * 16,
        "config": {"task": {"name": "similarity"}, "pair": {"name": "tiny"}, "seed": 0},
        "layers": {"source": sources, "target": targets},
        "gates": {"planted": {"passed": valid, "value": 0.0, "threshold": 1e-6}},
        "valid": valid,
        "n_rows": 50,
        "n_permutations": 99,
        "points": [point_at(s, t, *cells[s, t]) for s in sources for t in targets],
        "over_layers": {"cka_linear": {}},
    }


GRID = {
    (0, 0): (0.99, 0.98, 0.01, 0.01),
    (0, 4): (0.30, 0.10, 0.20, 0.60),
    (4, 0): (0.31, 0.11, 0.20, 0.60),
    (4, 4): (0.60, 0.40, 0.01, 0.30),
    (0, 2): (0.30, 0.10, 0.20, 0.60),
    (4, 2): (0.55, 0.50, 0.01, 0.04),
}


def test_the_best_layers_are_the_furthest_above_the_null_and_never_layer_0() -> None:
    chosen = best(made_up(GRID), "cka_linear")
    assert (chosen.source, chosen.target, chosen.value) == (4, 2, 0.55)
    assert final(made_up(GRID), "cka_linear").label == "4→4"
    assert best(made_up({(0, 0): GRID[0, 0]}), "cka_linear").label == "0→0"
    # Where the null leaves no room, the value decides, after all others.
    assert best(made_up(GRID | {(4, 4): (1.0, None, 1.0, 1.0)}), "cka_linear").label == "4→2"
    assert best(made_up({(4, 4): (0.9, None, 1.0, 1.0), (4, 2): (1.0, None, 1.0, 1.0)}), "cka_linear").label == "4→2"


def test_the_verdict_counts_the_measures_that_are_above_each_null() -> None:
    assert verdict(made_up(GRID)) == (
        "1 of 1 measures above rows permuted freely; 1 of 1 measures above rows permuted inside their relation"
    )
    weak = made_up({(4, 4): (0.6, 0.4, 0.01, 0.30)})
    assert verdict(weak).endswith("0 of 1 measures above rows permuted inside their relation")
    assert short(weak) == "of 1 measures 1 above shuffled, 0 above shuffled_within (this cell alone)"
    assert verdict(made_up(GRID, valid=False)) == short(made_up(GRID, valid=False)) == "invalid: gate planted failed"


def told_over_layers(data: dict[str, Any], measure: str) -> list[float | None]:
    """What is to be shown over all pairs of layers: mean and largest, each with calibrated and p of both nulls."""
    told = []
    for statistic in ("mean", "max"):
        over = data["over_layers"][measure][statistic]
        told.append(over["value"])
        for null in ("shuffled", "shuffled_within"):
            told += [over["nulls"][null]["calibrated"], over["nulls"][null]["p"]]
    return told


@pytest.mark.parametrize("width", [80, 110])
def test_the_table_fits_the_terminal_and_has_both_nulls_beside_each_value(bare_outputs: Path, width: int) -> None:
    record = compared(bare_outputs, "task.n_permutations=19", f"task.measures=[{','.join(MEASURES)}]")
    console = Console(width=width, record=True, file=io.StringIO())
    print_matrices(record, console)
    text = console.export_text()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for name, measure in MEASURES.items():
        line, over = [line for line in lines if line.startswith(f"{measure.label} ")]
        wanted = [f"{x:.2f}" for x in told_over_layers(record.data, name) if x is not None]
        assert [word for word in over.removeprefix(measure.label).split() if word != "-"] == wanted
        chosen, deepest = best(record.data, name), final(record.data, name)
        numbers = [f"{deepest.value:.3f}", chosen.label, f"{chosen.value:.3f}"]
        assert [word for word in line.split() if word in numbers] == numbers or deepest.value == chosen.value
        assert f"{chosen.nulls['shuffled']['q95']:.2f}" in line
        assert f"{chosen.nulls['shuffled_within']['q95']:.2f}" in line
    assert verdict(record.data)[:30] in text
    assert "planted passed" in text


def test_many_cells_are_one_table_of_calibrated_scores(bare_outputs: Path) -> None:
    record = [compared(bare_outputs, *FEW, f"dataset.size={n}") for n in (40, 60)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(matrices_table(record))
    rows = [line.split() for line in console.export_text().splitlines() if line.startswith("tiny")]
    assert [row[:3] for row in rows] == [["tiny", "40", "0"], ["tiny", "60", "0"]]
    for row, r in zip(rows, record, strict=True):
        assert row[3:] == [f"{best(r.data, m).nulls['shuffled']['calibrated']:.2f}" for m in measures(r.data)]


def test_the_report_maps_every_measure_and_mistakes_no_record_for_another(bare_outputs: Path) -> None:
    record = compared(bare_outputs, *FEW)
    alone = write_report(bare_outputs).read_text()
    assert alone.count('class="plot" role="img"') == 3
    assert "No cell was finished" not in alone
    assert "1 of task=similarity finished" in alone
    assert verdict(record.data) in alone
    assert "What each control rules out" not in alone
    (over,) = re.findall(r"<h3>Over all layers</h3>(.*?)</table>", alone, flags=re.DOTALL)
    for measure in measures(record.data):
        mean, largest = (
            re.findall(r"<tr[^>]*>.*?</tr>", over, flags=re.DOTALL)[1:][i] for i in places(record, measure)
        )
        for row, statistic in ((mean, "mean"), (largest, "max")):
            told = record.data["over_layers"][measure][statistic]
            assert MEASURES[measure].label in row
            assert f"{told['value']:.3f}" in row
            assert f"{told['nulls']['shuffled_within']['calibrated']:.2f}".replace("-", "−") in row
    write_cell(bare_outputs)
    write_failed(bare_outputs, "no", "Traceback", task__name="similarity")
    both = write_report(bare_outputs).read_text()
    per_task = Counter(c.task.name for c in comparisons(read_all(bare_outputs)))
    assert per_task == {"similarity": 25, "translate": 1}
    for section in ("best", "scores", "similarity", "gates", "run"):
        assert f'<section id="{section}">' in both
    assert "tiny, similarity, number of rows 100" in both
    assert "1 cell finished, 1 valid, 0 dead, 0 otherwise invalid, 1 of task=similarity finished, 1 failed" in both


def places(record: Record, measure: str) -> tuple[int, int]:
    """Rows of a measure in the table over all layers."""
    first = 2 * measures(record.data).index(measure)
    return first, first + 1


def test_a_map_writes_the_calibrated_scores_into_its_fields_bold_above_both_nulls() -> None:
    drawn = layer_map(made_up(GRID), "cka_linear", 0.5)
    texts = re.findall(r"<text[^>]*>(−?\.\d\d)</text>", drawn)
    assert sorted(texts) == sorted([".98", ".10", ".11", ".40", ".10", ".50"])
    bold = re.findall(r'<text style="[^"]*(?:bold|700)[^"]*"[^>]*>(\S+)</text>', drawn)
    assert sorted(bold) == [".50", ".98"]


def test_an_export_has_a_row_for_every_condition_measure_and_pair_of_layers(bare_outputs: Path) -> None:
    record = compared(bare_outputs, *FEW)
    with write_export(bare_outputs).open() as file:
        rows = list(csv.DictReader(file))
    # The angle as well as the three measures, of what was observed and of both nulls.
    assert len(rows) == 25 * 3 * (3 + 1)
    pairs = {(m, p.source, p.target): p for m in measures(record.data) for p in layer_pairs(record.data, m)}
    for row in rows:
        assert (row["task"], row["n_rows"], row["run_id"]) == ("similarity", "60", record.data["run_id"])
        if row["metric"] not in measures(record.data):
            continue
        pair = pairs[row["metric"], int(row["source_layer"]), int(row["target_layer"])]
        if row["kind"] == "estimate":
            assert float(row["mean"]) == pair.value
        else:
            null = pair.nulls[row["control"]]
            assert [float(row[k]) for k in ("mean", "q95", "p")] == [null[k] for k in ("mean", "q95", "p")]
            assert float(row["p_searched"]) == null["p_corrected"]
    with write_export(bare_outputs, to=bare_outputs / "draws.csv", items=True).open() as file:
        draws = list(csv.DictReader(file))
    assert len(draws) == 25 * 3 * 2 * 19
    assert {(row["source_layer"], row["target_layer"]) for row in draws} == {(str(i), str(j)) for _, i, j in pairs}
    assert {row["control"] for row in draws} == {"shuffled", "shuffled_within"}
    at = ("control", "source_layer", "target_layer")
    angles: dict[tuple[str, ...], list[float]] = {}
    for row in draws:
        if row["metric"] == "procrustes":
            angles.setdefault(tuple(row[k] for k in at), []).append(math.acos(min(1.0, float(row["score"]))))
    of_nulls = [r for r in rows if r["metric"] == "procrustes_angle_rad" and r["control"] != "observed"]
    assert len(of_nulls) == len(angles) == 50
    for row in of_nulls:
        drawn = angles[tuple(row[k] for k in at)]
        wanted = [sum(drawn) / 19, min(drawn), max(drawn)]
        assert [float(row[k]) for k in ("mean", "low", "high")] == pytest.approx(wanted, abs=1e-6)
    write_cell(bare_outputs)
    with write_export(bare_outputs).open() as file:
        mixed = list(csv.DictReader(file))
    assert {row["control"] for row in mixed if row["task"] == "similarity"} == set(get("similarity").conditions)
    assert {"fitted", "mean"} <= {row["control"] for row in mixed if row["task"] == "translate"}


def test_wandb_gets_scalars_and_a_table_from_one_cell_and_a_run_of_its_own_from_one_of_many(bare_outputs: Path) -> None:
    record = compared(bare_outputs, *FEW)
    flat = flat_scores(record.data)
    assert flat["value/cka_linear"] == final(record.data, "cka_linear").value
    assert flat["best/procrustes"] == best(record.data, "procrustes").value
    assert flat["p_shuffled_within/mutual_knn"] == final(record.data, "mutual_knn").nulls["shuffled_within"]["p"]
    WandbTracker("bridge", None, None, "offline", 2.0).send(record)
    (path,) = wandb_files(bare_outputs)
    (history,) = sent(path)[2]
    table = {k.removeprefix("points/"): history.pop(k) for k in list(history) if k.startswith("points/")}
    assert (table["_type"], table["nrows"]) == ("table-file", 300)
    assert {k: v for k, v in history.items() if k != "_step"} == flat
    ((curve, row),) = Plan("s", WANDB, ("dataset.size",)).rows(record.data["config"], ("dataset.size=60",), record.data)
    assert (curve.x, curve.control, curve.name) == (None, "cell", "dataset.size=60")
    assert row.values == flat == get("similarity").flat(record.data)
    curves = Plan("s", WANDB | {"x": "source_layer"}, ()).rows(record.data["config"], (), record.data)
    assert len({curve.id for curve, _ in curves}) == 3 * 5
    assert {row.x for _, row in curves} == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_a_failed_cell_is_sent_as_one(bare_outputs: Path) -> None:
    failed = write_failed(bare_outputs, "no", "Traceback", task__name="similarity")
    assert flat_scores(failed.data) == {"valid": 0.0}


def test_a_record_is_whole_json_without_any_nan(bare_outputs: Path) -> None:
    record = compared(bare_outputs, "task.measures=[pwcca]", "dataset.size=30")
    text = (record.folder / "record.json").read_text()
    assert "NaN" not in text
    last = json.loads(text)["points"][-1]
    assert last["axes"] == {"source_layer": 4, "target_layer": 4, "n_rows": 30}
    assert last["contrasts"]["shuffled"]["pwcca"]["calibrated"] is None
    assert not (record.folder / "items.parquet").exists()
    assert isinstance(record, Record)
