import json
from pathlib import Path

import pytest
from wandb_account import no_account, server
from wandb_files import sweep
from wandb_server import Server

from bridge.cli import main
from bridge.tasks.registry import get
from bridge.tracking.dashboard import build, spec

# wandb-workspaces and what it imports are not ready for the pydantic that is current
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
__all__ = ["no_account", "server"]
TASK = get("translate")


def test_the_workspace_is_built_and_read_back_without_a_network() -> None:
    plain = spec(build(TASK, "bridge", "team", "smoke"))
    sections = {s["name"]: s["panels"] for s in plain["section"]["panelBankConfig"]["sections"]}
    assert list(sections) == [
        "scores beside their controls",
        "estimate minus control",
        "heat map",
        "sizes",
        "runs side by side",
        "validity",
    ]
    first = sections["scores beside their controls"]
    assert [p["config"]["metrics"] for p in first] == [
        ["new/top1"],
        ["top1"],
        ["top10"],
        ["mrr"],
        ["logprob_nats"],
        ["explained_variance"],
    ]
    assert {p["config"]["xAxis"] for p in first} == {"layer"}
    assert sections["estimate minus control"][0]["config"]["metrics"] == ["lead/new/top1"]
    assert [p["viewType"] for p in sections["runs side by side"]] == ["Run Comparer"]
    assert sections["heat map"][0]["config"]["mediaKeys"] == ["heat_map"]
    assert sections["sizes"][0]["config"]["xAxis"] == "config:dataset.value.size"
    (runs,) = plain["section"]["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "jobType"}]
    (only,) = runs["filters"]["filters"]
    assert (only["key"], only["value"]) == ({"section": "run", "name": "group"}, "smoke")
    colors = plain["section"]["customRunColors"]
    assert sorted(colors.values()) == sorted(TASK.conditions.look(name).color for name in TASK.conditions)


def test_curves_that_no_mean_should_join_have_views_of_their_own(tmp_path: Path) -> None:
    manifest = sweep(tmp_path)
    manifest.axes = {"layer": ["'0'", "'1'"], "injection": ["lm_head", "late_layer"], "seed": ["0", "1"]}
    manifest.write()
    with pytest.raises(SystemExit, match="0"):
        main(["dashboard", "ablation", "--outputs", str(tmp_path)])
    paths = sorted(manifest.folder.glob("dashboard*.json"))
    assert [p.name for p in paths] == ["dashboard-injection_late_layer.json", "dashboard-injection_lm_head.json"]
    (runs,) = json.loads(paths[1].read_text())["section"]["runSets"]
    assert json.dumps(runs["filters"]).count('"injection:lm_head"') == 1
    assert '"summary"' in json.dumps(runs["filters"])
    assert "late_layer" not in json.dumps(runs["filters"])


def test_a_sweep_along_sizes_has_its_size_curves_as_lines() -> None:
    plain = spec(build(TASK, "bridge", None, "dataset_size", x="dataset.size"))
    sections = {s["name"]: s["panels"] for s in plain["section"]["panelBankConfig"]["sections"]}
    assert {p["config"]["xAxis"] for p in sections["sizes"]} == {"dataset_size"}


def test_without_a_key_the_workspace_lies_beside_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = sweep(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["dashboard", "ablation", "--outputs", str(tmp_path)])
    assert stop.value.code == 0
    path = manifest.folder / "dashboard.json"
    assert capsys.readouterr().out == (
        f"no W&B key: the workspace is in {path}; after wandb login the same command saves it at W&B\n"
    )
    assert json.loads(path.read_text())["section"]["runSets"]


def test_with_a_key_the_workspace_is_saved(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["dashboard", "ablation", "--outputs", str(tmp_path), "--entity", "team"])
    assert stop.value.code == 0
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("team", "bridge", "bridge: ablation")
    assert "workspace saved: " in capsys.readouterr().out


def test_a_dead_server_leaves_the_workspace_on_disk(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb.apis.public.Api._HTTP_TIMEOUT", 2)
    manifest = sweep(tmp_path)
    server.close()
    with pytest.raises(SystemExit) as stop:
        main(["dashboard", "ablation", "--outputs", str(tmp_path)])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("bridge: W&B did not take the workspace (")
    assert said.count("\n") == 1
    assert (manifest.folder / "dashboard.json").exists()
