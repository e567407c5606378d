"""Records as one table."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from declared import BASELINES, NEGATIVES
from synthetic_records import METRICS as SYNTHETIC
from synthetic_records import N_DRAWS, N_ITEMS, config, write_cell, write_failed

from bridge.controls.names import CONTROLS
from bridge.errors import ConfigError, RecordError
from bridge.export import scores_table, write_export
from bridge.records.manifest import Cell, Manifest
from bridge.records.record import read_all
from bridge.results.families import Family
from bridge.results.joining import comparisons

COLUMNS = (
    *("task", "pair", "source", "target", "injection", "map", "center", "scale", "dataset", "seed", "size"),
    *("layer_source", "layer_target", "n_fit", "unit", "n_negatives", "part", "n_items", "n_units", "control", "kind"),
    *("n_draws", "metric", "mean", "low", "high", "difference", "diff_low", "diff_high", "p", "p_draws"),
    *("p_draws_family", "p_exact", "p_holm", "valid", "verdict", "run_id"),
)
METRICS = ("top1", "top5", "top10", "mrr", "logprob_nats", "kl_nats", "agreement", "fraction_of_native")
STATES = ("explained_variance",)


def rows(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


def test_there_is_a_row_for_every_cell_part_control_and_metric_with_the_numbers_of_the_record(tmp_path: Path) -> None:
    made = [write_cell(tmp_path, layers=(i, 4), n=60 + i, seed=i, new_rates={"fitted": 0.5}) for i in (2, 3)]
    exported = rows(write_export(tmp_path, to=tmp_path / "all.parquet"))
    assert tuple(exported[0]) == COLUMNS
    n_shown = len(CONTROLS) + 3
    assert len(exported) == 2 * (3 * n_shown * len(METRICS) + len(CONTROLS) * len(STATES))
    assert {row["part"] for row in exported} == {"all", "new", "known"}
    cells = {c.data["run_id"]: c for c in Family(comparisons(read_all(tmp_path)), METRICS[:7]).cells}
    for row in exported:
        (record,) = [r for r in made if r.data["run_id"] == row["run_id"]]
        data, control, metric, part = record.data, row["control"], row["metric"], row["part"]
        (point,) = data["points"]
        of_part = point if part == "all" else point["parts"][part]
        score = of_part["scores"][control][metric]
        assert [row[k] for k in ("mean", "low", "high")] == [score[k] for k in ("mean", "low", "high")]
        lead = cells[row["run_id"]].contrasts_of(part).get(control, {}).get(metric, {})
        for name, key in (("difference", "difference"), ("diff_low", "low"), ("diff_high", "high"), ("p", "p")):
            assert row[name] == lead.get(key)
        for name in ("p_draws", "p_draws_family", "p_holm", "p_exact"):
            assert row[name] == lead.get(name)
        in_family = (*NEGATIVES, *BASELINES) if part != "known" and metric in METRICS[:7] else ()
        assert (row["p_holm"] is not None) == (control in in_family)
        assert point["n"] == N_ITEMS
        assert (row["n_items"], row["n_units"], row["unit"]) == (of_part["n"], of_part["n_units"], "answer")
        assert [row["layer_source"], row["layer_target"]] == point["axes"]["layer"]
        shared = ("tiny", "tiny-llama", "tiny-mistral", "lm_head", "orthogonal", "facts", True, 5)
        names = ("pair", "source", "target", "injection", "map", "dataset", "valid", "n_negatives")
        assert tuple(row[k] for k in names) == shared
        assert (row["n_fit"], row["size"], row["seed"]) == (*[point["axes"]["n_fit"]] * 2, data["config"]["seed"])
        assert row["verdict"] == (
            "new answers: not above shuffled_within, and not above lookup, but above bag_of_words; all answers: above every negative control, and "
            "above lookup and bag_of_words"
        )
        assert row["kind"] == {"fitted": "estimate", "mean": "negative", "lookup": "baseline", "bag_of_words": "baseline", "clustered": "mark",
                               "own_state": "reference"}.get(control, row["kind"])  # fmt: skip


def test_a_part_of_one_unit_has_no_rows_and_few_units_have_no_p(tmp_path: Path) -> None:
    write_cell(tmp_path, n_units=2)
    exported = rows(write_export(tmp_path, to=tmp_path / "all.parquet"))
    assert {row["part"] for row in exported} == {"all"}
    assert {row["n_units"] for row in exported} == {2}
    assert all(row["p"] is None and row["p_holm"] is None for row in exported)
    assert "new answers: no test, only 1 unit" in exported[0]["verdict"]


def test_records_of_an_older_version_are_refused(tmp_path: Path) -> None:
    path = write_cell(tmp_path).folder / "record.json"
    path.write_text(path.read_text().replace('"record_version": 6', '"record_version": 2', 1))
    with pytest.raises(
        RecordError, match=r"^1 of 1 records in .* are of record version 2, this bridge reads 6; wanted "
    ):
        write_export(tmp_path)
    assert not (tmp_path / "reports").exists()


def test_csv_holds_what_parquet_holds(tmp_path: Path) -> None:
    write_cell(tmp_path)
    path = write_export(tmp_path)
    assert path == tmp_path / "reports" / "export.csv"
    with path.open() as file:
        read = list(csv.DictReader(file))
    whole = rows(write_export(tmp_path, to=tmp_path / "all.parquet"))
    assert list(read[0]) == list(whole[0])
    for a, b in zip(read, whole, strict=True):
        assert float(a["mean"]) == b["mean"]
        assert a["p_holm"] == "" if b["p_holm"] is None else float(a["p_holm"]) == b["p_holm"]
        assert a["control"] == b["control"]


def test_whatever_else_was_swept_has_a_column_of_its_own(tmp_path: Path) -> None:
    write_cell(tmp_path, injection={"name": "soft_prefix", "k": 1})
    write_cell(tmp_path, injection={"name": "soft_prefix", "k": 4})
    write_cell(tmp_path, layer__position="mean", normalize={"center": True, "scale": {"odd": 1}})
    exported = rows(write_export(tmp_path, to=tmp_path / "all.parquet"))
    assert {(r["injection.k"], r["layer.position"], r["normalize.scale.odd"]) for r in exported} == {
        (1, "last", None),
        (4, "last", None),
        (None, "mean", 1),
    }


def test_an_axis_with_values_of_several_kinds_is_written_as_text(tmp_path: Path) -> None:
    for rank in (0, "one", [2]):
        write_cell(tmp_path, map__rank=rank)
    assert {r["map.rank"] for r in rows(write_export(tmp_path, to=tmp_path / "all.parquet"))} == {"0", "one", "[2]"}


def test_invalid_cells_are_marked_and_fitted_scores_without_a_negative_control_left_out(tmp_path: Path) -> None:
    write_cell(tmp_path, layers=(1, 4), failed_gate="states")
    write_cell(tmp_path, layers=(2, 4), controls=("fitted",))
    exported = rows(write_export(tmp_path, to=tmp_path / "all.parquet"))
    by_layer = {r["layer_source"]: r for r in exported if r["control"] == "fitted" and r["metric"] == "top1"}
    assert (by_layer[1]["valid"], by_layer[1]["verdict"]) == (False, "invalid: gate states failed")
    assert set(by_layer) == {1}
    alone = [r for r in exported if r["layer_source"] == 2]
    assert {r["control"] for r in alone} == {"own_state", "native_source", "native_target"}
    assert {r["n_negatives"] for r in alone} == {0}
    told = "fitted score not shown, because no negative control was scored beside it"
    assert all(r["verdict"].startswith(told) for r in alone)
    assert not any(r["p_holm"] is not None for r in exported)


def test_the_run_id_of_a_row_is_that_of_the_record_whose_score_it_is(tmp_path: Path) -> None:
    most = write_cell(tmp_path, controls=("fitted", "shuffled", "mean"))
    exported = scores_table([most, write_cell(tmp_path, controls=("random",))]).to_pylist()
    # Both scored the native references, and the record with the most conditions comes first.
    assert {row["run_id"] for row in exported if row["control"] == "native_target"} == {most.data["run_id"]}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_items_are_a_row_for_every_control_draw_and_item(tmp_path: Path, ending: str) -> None:
    write_cell(tmp_path, layers=(1, 4), controls=("fitted", "random"))
    write_cell(tmp_path, layers=(2, 4), controls=("fitted",))
    write_cell(tmp_path, layers=(2, 4), controls=("random",))
    path = write_export(tmp_path, to=tmp_path / f"items.{ending}", items=True)
    if ending == "csv":
        with path.open() as file:
            exported = list(csv.DictReader(file))
    else:
        exported = rows(path)
    assert len(exported) == 2 * (1 + N_DRAWS) * N_ITEMS + 3 * 3 * N_ITEMS
    one = [r for r in exported if int(r["layer_source"]) == 1 and r["control"] == "random"]
    assert {(int(r["draw"]), int(r["item"])) for r in one} == {(d, i) for d in range(N_DRAWS) for i in range(N_ITEMS)}
    record = next(r for r in read_all(tmp_path) if r.data["run_id"] == one[0]["run_id"])
    mean = sum(float(r["top1"]) for r in one) / len(one)
    assert mean == pytest.approx(record.data["points"][0]["scores"]["random"]["top1"]["mean"])
    assert {str(r["n_negatives"]) for r in exported} == {"1"}


def test_a_sweep_is_exported_alone(tmp_path: Path) -> None:
    inside = write_cell(tmp_path, layers=(1, 4))
    write_cell(tmp_path, layers=(2, 4))
    cell = Cell(inside.data["run_id"], ("layer=1",), {"layer.source": "1"})
    Manifest("mine", tmp_path, config(), (cell,)).write()
    path = write_export(tmp_path, "mine")
    assert path == tmp_path / "reports" / "mine.csv"
    with path.open() as file:
        assert {r["run_id"] for r in csv.DictReader(file)} == {inside.data["run_id"]}


def test_what_cannot_be_exported_is_an_error_of_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        RecordError, match=r"no finished cell in .*; wanted at least one: run bridge first, then export$"
    ):
        write_export(tmp_path)
    write_failed(tmp_path, "no", "Traceback")
    with pytest.raises(
        RecordError, match=r"no finished cell in .*; wanted at least one: run bridge first, then export$"
    ):
        write_export(tmp_path)
    write_cell(tmp_path)
    with pytest.raises(
        RecordError, match=r"which ends in '.xlsx'; wanted a file ending in .csv or .parquet: rename it$"
    ):
        write_export(tmp_path, to=tmp_path / "a.xlsx")
    with pytest.raises(ConfigError, match=r"no sweep 'other' was started"):
        write_export(tmp_path, "other")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "taken").write_text("")
    for to in (tmp_path / "folder.csv", tmp_path / "taken" / "a.csv"):
        with pytest.raises(RecordError, match=r"^cannot write to .*; free some space or set"):
            write_export(tmp_path, to=to)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.csv", "runs", "taken"]


def test_records_with_and_without_scores_of_whole_answers_are_exported_together(tmp_path: Path) -> None:
    write_cell(tmp_path)
    write_cell(tmp_path, n=50, metrics=("top1", "token_f1"))
    table = rows(write_export(tmp_path, to=tmp_path / "all.parquet"))
    fitted = [(row["n_fit"], row["metric"]) for row in table if row["control"] == "fitted" and row["part"] == "all"]
    assert (50, "token_f1") in fitted
    assert (100, "mrr") in fitted
    assert (100, "token_f1") not in fitted


def test_items_of_several_kinds_and_points_lie_below_each_other(tmp_path: Path) -> None:
    made = write_cell(tmp_path, layers=(1, 4))
    path = made.folder / "record.json"
    data = json.loads(path.read_text())
    (point,) = data["points"]
    data["points"] = [point, {**point, "axes": {"layer": [2, 4], "n_fit": 100}}]
    path.write_text(json.dumps(data))
    items = made.items()
    second = items.set_column(items.column_names.index("point"), "point", pa.array([1] * len(items)))
    pq.write_table(pa.concat_tables([items, second]), made.table_path("items"))
    pq.write_table(
        pa.table({"point": [1], "control": ["fitted"], "draw": [0], "item": [0], "exported": [0.5]}),
        made.table_path("queries"),
    )
    exported = rows(write_export(tmp_path, to=tmp_path / "items.parquet", items=True))
    assert len(exported) == 2 * len(items) + 1
    by_point = {(row["table"], row["point"]): row["layer_source"] for row in exported}
    assert by_point == {("items", 0): 1, ("items", 1): 2, ("queries", 1): 2}
    (query,) = (row for row in exported if row["table"] == "queries")
    assert (query["exported"], query["top1"], query["control"]) == (0.5, None, "fitted")
    assert {row["exported"] for row in exported if row["table"] == "items"} == {None}


def test_records_without_scores_by_item_have_no_table_of_them(tmp_path: Path) -> None:
    write_cell(tmp_path).table_path().unlink()
    with pytest.raises(
        RecordError, match=r"^task=translate has no scores by item; wanted a task that has: leave out --items$"
    ):
        write_export(tmp_path, items=True)
    assert not (tmp_path / "reports").exists()
    assert len(rows(write_export(tmp_path, to=tmp_path / "all.parquet"))) > 0


def test_records_whose_contrasts_are_all_there_are_exported_without_torch(tmp_path: Path) -> None:
    write_cell(tmp_path)
    script = f"import sys; from bridge.export import write_export; write_export({str(tmp_path)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_every_metric_has_the_number_of_its_own_items_and_units(tmp_path: Path) -> None:
    write_cell(tmp_path, metrics=(*SYNTHETIC, "exact_match"))
    exported = rows(write_export(tmp_path, to=tmp_path / "all.parquet"))
    sizes = {
        r["metric"]: (r["n_items"], r["n_units"]) for r in exported if (r["control"], r["part"]) == ("mean", "new")
    }
    assert sizes["exact_match"] == (59, 30)
    assert sizes["top1"] == sizes["mrr"] == (48, 24)


def test_both_exports_give_a_cell_the_same_verdict(tmp_path: Path) -> None:
    rates = {"fitted": 0.34, "shuffled_within": 0.2, "lookup": 0.02, "bag_of_words": 0.01}
    for i in range(12):
        write_cell(tmp_path, layers=(i, 4), rates=rates)
    verdicts = []
    for items in (False, True):
        exported = rows(write_export(tmp_path, to=tmp_path / f"{items}.parquet", items=items))
        verdicts.append({r["run_id"]: r["verdict"] for r in exported})
    assert verdicts[0] == verdicts[1]
    (alone,) = comparisons([read_all(tmp_path)[0]])
    assert alone.verdict() not in verdicts[0].values()
