import json
from pathlib import Path
from typing import Any

import pytest
from wandb_account import no_account, server
from wandb_files import arrive, sent, sweep, wandb_files
from wandb_server import Server

from bridge.records.manifest import Manifest
from bridge.records.record import read_all
from bridge.tracking import overview as summary
from bridge.tracking import stream
from bridge.tracking.curves import Curve, Row
from bridge.tracking.ledger import Entry

__all__ = ["no_account", "server"]


def summaries(manifest: Manifest) -> list[Path]:
    return [path for path in wandb_files(manifest.folder) if sent(path)[0].job_type == "summary"]


def table(path: Path) -> list[dict[str, Any]]:
    (file,) = (path.parent / "files" / "media" / "table").glob("cells_*.table.json")
    whole = json.loads(file.read_text())
    return [dict(zip(whole["columns"], row, strict=True)) for row in whole["data"]]


def test_a_complete_sweep_is_summed_up_once_with_every_cell_and_control(tmp_path: Path) -> None:
    manifest = sweep(tmp_path, sizes=(100, 200), written=False)
    arrive(manifest, 5)
    stream.sync(tmp_path, "ablation", "offline")
    assert summaries(manifest) == []
    arrive(manifest)
    for _ in range(2):
        stream.sync(tmp_path, "ablation", "offline")
    (path,) = summaries(manifest)
    run, config, _ = sent(path)
    assert (run.run_group, run.display_name, config["sweep"]) == ("ablation", "summary of ablation", "ablation")
    rows = {(row["fixed"], row["layer"]): row for row in table(path)}
    assert len(rows) == 6
    for made in read_all(tmp_path, manifest.run_ids):
        (point,) = made.data["points"]
        size, layer = point["axes"]["n_fit"], point["axes"]["layer"][0]
        row = rows[f"pair:tiny, injection:lm_head, dataset.size:{size}", layer]
        scores = {f"top1/{control}": found["top1"]["mean"] for control, found in point["scores"].items()}
        new = point["parts"]["new"]["scores"]
        scores |= {f"new/top1/{control}": found["top1"]["mean"] for control, found in new.items()}
        assert row == row | scores | {"valid": True}
    (image,) = (path.parent / "files" / "media" / "images").glob("heat_map_*.png")
    assert image.read_bytes()[:4] == b"\x89PNG"


def test_a_fitted_score_without_a_negative_control_is_not_summed_up(tmp_path: Path) -> None:
    manifest = sweep(tmp_path, controls=[("fitted", "same_model")])
    stream.sync(tmp_path, "ablation", "offline")
    (path,) = summaries(manifest)
    assert {key for row in table(path) for key in row} == {
        "fixed", "layer", "valid", *(f"{part}top1/{control}" for part in ("new/", "")
                                     for control in ("same_model", "own_state", "native_source", "native_target")),
    }  # fmt: skip


def entry(**values: float) -> Entry:
    config = {"task": {"name": "translate"}}
    curve = Curve("id", "base", "fitted", "name", "group", (), config, "layer")
    return Entry(curve, [Row("scores", 1.0, "run", {key.replace("_", "/"): value for key, value in values.items()})])


def test_heat_maps_show_new_answers_first_and_all_answers_where_they_are_others() -> None:
    facts, invented, known = [entry(new_top1=0.1, top1=0.6)], [entry(new_top1=0.5, top1=0.5)], [entry(top1=0.6)]
    assert summary.maps([facts, invented, known]) == [
        ("new/top1", facts),
        ("new/top1", invented),
        ("top1", facts),
        ("top1", known),
    ]


def test_a_server_that_does_not_take_the_table_has_the_curves_and_the_table_is_in_a_file(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = sweep(tmp_path)
    state = stream.sync(tmp_path, "ablation", "online")
    assert (state["n_left"], state["mode"]) == (0, "online")
    (line,) = [r.message for r in caplog.records if r.name == "bridge"]
    assert line.startswith("W&B did not take the summary (")
    assert {tuple(run.steps) for run in server.runs.values() if run.created["jobType"] != "summary"} == {(0, 1, 2)}
    (path,) = summaries(manifest)
    assert len(table(path)) == 3
