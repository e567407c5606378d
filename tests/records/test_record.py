"""Records: written whole or not at all, read back, and made once."""

import json
import logging
import multiprocessing
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from untrained import FAST, SMALL, untrained_model

import bridge.records.provenance
from bridge.config import compose_config, run_id
from bridge.errors import DataError, ModelError, RecordError
from bridge.records import record
from bridge.records.provenance import provenance
from bridge.records.record import Record
from bridge.run import run
from bridge.session import Session

DATA: dict[str, Any] = {"status": "done", "scores": {"fitted": {"top1": {"mean": 0.5}}}, "valid": True}
COLUMNS = {"control": ["fitted", "fitted"], "top1": [1.0, 0.0]}


def written(outputs: Path, data: dict[str, Any] = DATA, name: str = "a1") -> Record:
    return record.write(outputs, name, data, "seed: 0\n", {"items": COLUMNS}, "a line\n")


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = written(tmp_path)
    stored = record.read(tmp_path, "a1")
    assert stored is not None
    assert stored.data == made.data == {"run_id": "a1", "record_version": record.RECORD_VERSION, **DATA}
    assert (made.reused, stored.reused) == (False, True)
    assert stored.ok
    assert stored.items().to_pydict() == COLUMNS
    assert names(stored.folder) == {"record.json", "config.yaml", "items.parquet", "run.log"}
    assert (stored.folder / "run.log").read_text() == "a line\n"
    assert names(tmp_path / "runs") == {"a1"}


def test_there_is_no_record_where_none_was_written(tmp_path: Path) -> None:
    assert record.read(tmp_path, "a1") is None
    assert record.read_all(tmp_path) == []
    (tmp_path / "runs" / "a1").mkdir(parents=True)
    assert record.read(tmp_path, "a1") is None


def test_a_newer_record_replaces_the_older_whole(tmp_path: Path) -> None:
    written(tmp_path)
    failed = record.write(tmp_path, "a1", {"status": "failed", "error": "no"}, "seed: 0\n", {}, "")
    assert not failed.ok
    assert names(failed.folder) == {"record.json", "config.yaml", "run.log"}
    assert names(tmp_path / "runs") == {"a1"}


def test_a_damaged_record_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path).folder / "record.json"
    path.write_text(path.read_text()[:40])
    for read in (lambda: record.read(tmp_path, "a1"), lambda: record.read_all(tmp_path)):
        with pytest.raises(
            RecordError,
            match=rf"^{path} is damaged \(.*\); wanted a whole record: delete its folder and run the cell again$",
        ):
            read()


def test_a_record_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    runs = record.runs_folder(tmp_path)
    (runs / "old").mkdir(parents=True)
    (runs / "old" / "record.json").write_text(json.dumps({"record_version": 2, **DATA}))

    def refused() -> str:
        said = set()
        for read in (
            lambda: record.read(tmp_path, "old"),
            lambda: record.read_all(tmp_path),
            lambda: record.refuse_older(tmp_path),
            lambda: record.refuse_older(tmp_path, ["a1", "old"]),
        ):
            with pytest.raises(RecordError) as error:
                read()
            said.add(str(error.value))
        (only,) = said
        return only

    assert refused() == (
        f"1 of 1 records in {runs} are of record version 2, this bridge reads 6; wanted records of one version: move them away (mv {runs} "
        f"{runs}-version-2) and run their cells again"
    )
    written(tmp_path)
    record.refuse_older(tmp_path, ["a1", "none"])
    said = refused()
    assert said.startswith(
        f"1 of 2 records in {runs} are of record version 2, this bridge reads 6; wanted records of one version: move them away ("
    )
    command = said[said.index("(") + 1 : said.rindex(")")]
    subprocess.run(["sh", "-c", command], check=True)
    assert names(runs) == {"a1"}
    assert names(tmp_path / "runs-version-2") == {"old"}
    assert [r.data["run_id"] for r in record.read_all(tmp_path)] == ["a1"]


def test_a_number_that_json_has_not_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        written(tmp_path, {"status": "done", "value": float("nan")})
    assert names(tmp_path / "runs") == set()


def test_an_outputs_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = (
        r"^cannot write to .*/file/outputs: Not a directory; free some space or set paths.outputs to a writable folder"
    )
    with pytest.raises(RecordError, match=text):
        written(tmp_path / "file" / "outputs")
    with pytest.raises(RecordError, match=text), record.claimed(tmp_path / "file" / "outputs", "a1"):
        pass


def test_provenance_names_versions_and_the_commit_of_a_checkout() -> None:
    stored = provenance()
    assert stored["versions"].keys() >= {"bridge", "python", "torch", "transformers", "hydra-core"}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if head.returncode == 0:
        assert stored["commit"] == head.stdout.strip()
        assert isinstance(stored["dirty"], bool)


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bridge.records.provenance, "__file__", str(tmp_path / "records" / "provenance.py"))
    stored = provenance.__wrapped__()
    assert (stored["commit"], stored["dirty"]) == (None, None)
    # a folder inside somebody else's checkout is not a checkout of bridge
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert provenance.__wrapped__()["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert provenance.__wrapped__()["commit"] is None


def _other(*arguments: Any) -> None:
    logging.disable()
    _both(*arguments)


def _both(outputs: str, barrier: Any, answers: Any) -> None:
    config = compose_config(*SMALL, f"paths.outputs={outputs}")
    barrier.wait()
    answers.put(run(config).reused)


def test_two_processes_that_want_the_same_cell_compute_it_once(
    bare_outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    other = context.Process(target=_other, args=(str(bare_outputs), barrier, answers))
    other.start()
    _both(str(bare_outputs), barrier, answers)
    reused = sorted(answers.get(timeout=480) for _ in range(2))
    other.join(timeout=240)
    assert reused == [False, True]
    assert len(record.read_all(bare_outputs)) == 1


def test_a_failed_cell_is_run_again_once_it_can_be(bare_outputs: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    config = compose_config(*FAST, "dataset=json", f"dataset.path={path}", f"paths.outputs={bare_outputs}")
    path.write_text("[]")
    with pytest.raises(Exception, match=r"items\.json"):
        run(config)
    (failed,) = record.read_all(bare_outputs)
    assert failed.data["status"] == "failed"
    path.write_text(json.dumps(facts()))
    stored = run(config)
    assert stored.data["run_id"] == failed.data["run_id"]
    assert [r.ok for r in record.read_all(bare_outputs)] == [True]


def facts() -> list[dict[str, str]]:
    from bridge.data.sources import Facts

    return [{"prompt": i.prompt, "answer": i.answer, "relation": i.relation} for i in Facts(["city_country"]).load()]


def test_what_was_computed_is_kept_when_its_model_cannot_be_reached_any_more(bare_outputs: Path) -> None:
    config = compose_config(*SMALL, f"paths.outputs={bare_outputs}")
    run(config)

    class Unreachable(Session):
        def fingerprint(self, model: Any) -> str:
            raise ModelError("not reachable today")

    with pytest.raises(ModelError, match="not reachable today"):
        run(config, Unreachable(bare_outputs, "cpu", 64))
    (stored,) = record.read_all(bare_outputs)
    assert stored.ok


def test_a_damaged_record_of_the_very_cell_is_not_overwritten_by_a_failure(bare_outputs: Path) -> None:
    config = compose_config(*SMALL, f"paths.outputs={bare_outputs}")
    path = bare_outputs / "runs" / run_id(config) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(RecordError, match="is damaged"):
        run(config)
    assert path.read_text() == "{"
    assert run(compose_config(*SMALL, f"paths.outputs={bare_outputs}", "recompute=true")).ok


def test_a_feature_that_never_varies_leaves_no_nan_in_a_record(bare_outputs: Path, tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    shutil.copytree(untrained_model(bare_outputs / "artefacts", "llama"), dead)
    weights = load_file(dead / "model.safetensors")
    weights["model.embed_tokens.weight"][:, 5] = 0.0
    save_file(weights, dead / "model.safetensors", {"format": "pt"})
    models = [f"pair.{side}.name={dead}" for side in ("source", "target")]
    small = [word for word in SMALL if "zoo" not in word]
    words = [*small, "pair=custom", *models, "layer=0", "injection=late_layer", f"paths.outputs={bare_outputs}"]
    stored = run(compose_config(*words))
    assert stored.ok
    text = (stored.folder / "record.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize("map", ["orthogonal", "ridge"])
def test_states_that_do_not_vary_at_all_are_refused(bare_outputs: Path, tmp_path: Path, map: str) -> None:
    # at layer 0 the last token of every prompt is the same, so every state is
    items = [{**item, "prompt": f"{item['prompt']} is"} for item in facts()]
    (tmp_path / "items.json").write_text(json.dumps(items))
    words = ["dataset=json", f"dataset.path={tmp_path / 'items.json'}", f"paths.outputs={bare_outputs}"]
    text = (
        r"^layer 0 of tiny-llama is one and the same state for all \d+ items; wanted states that differ, and there "
        r"a prompt's last token alone decides them: choose a layer above, or prompts that end differently$"
    )
    with pytest.raises(DataError, match=text):
        run(compose_config(*FAST, *words, "layer=0", "injection=late_layer", f"map={map}"))
