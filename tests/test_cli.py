"""What a user types and what bridge answers; bad input gets one line, and leaves nothing half-written."""

import errno
import json
import logging
import logging.config
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import held, wait_for
from declared import point
from safetensors.torch import load_file, save_file
from untrained import SMALL, UNTRAINED, make_models, untrained_model

from bridge.cli import main
from bridge.config import compose_config, run_id
from bridge.controls.names import CONTROLS
from bridge.records.record import read_all
from bridge.sweep import sweeper

INJECTIONS = ("lm_head", "late_layer")
# Another width and another depth.
WIDER = ("pair.target.zoo.width=48", "pair.target.zoo.n_blocks=2")


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr of a command that failed."""
        assert self.code != 0
        assert re.fullmatch(r"bridge: [^\n]+\n", self.err), self.err
        assert "Traceback" not in self.out
        return self.err.removeprefix("bridge: ").strip()


Bridge = Callable[..., Said]


@pytest.fixture(scope="module")
def models(untrained: Path) -> None:
    """Put the models of other widths beside those that all tests share."""
    make_models(untrained, *WIDER)
    make_models(untrained, *(word.replace("target", "source") for word in WIDER))


@pytest.fixture
def bridge(bare_outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bridge:
    """Run a command in this process."""

    monkeypatch.delenv("COLUMNS", raising=False)

    def command(*words: str, outputs: Path | str = bare_outputs) -> Said:
        with pytest.raises(SystemExit) as stop:
            main([*words, f"paths.outputs={outputs}"])
        said = capsys.readouterr()
        return Said(int(stop.value.code or 0), said.out, said.err)

    return command


def spawn(*words: str, cwd: Path, **environment: str) -> "subprocess.Popen[str]":
    """Start a command as a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.Popen(
        [sys.executable, "-m", "bridge", *words],
        cwd=cwd,
        env={**inherited, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shell(*words: str, cwd: Path, **environment: str) -> Said:
    """Run a command to its end as a process of its own."""
    process = spawn(*words, cwd=cwd, **environment)
    out, err = process.communicate(timeout=480)
    return Said(process.returncode, out, err)


def records(outputs: Path) -> dict[str, dict[str, object]]:
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((outputs / "runs").glob("[!.]*/record.json"))}


def half_written(outputs: Path) -> list[Path]:
    """What a writer that was stopped would leave."""
    runs, store = outputs / "runs", outputs / "activations"
    hidden = [p for folder in (runs, store) for p in folder.glob(".*") if p.name != ".locks"]
    bare = [p for p in runs.glob("[!.]*") if not (p / "record.json").exists()]
    cut = [p for p in store.glob("[!.]*") if {f.name for f in p.iterdir()} != {"meta.json", "states.safetensors"}]
    return [*hidden, *bare, *cut]


def test_an_unknown_pair_is_refused_with_those_there_are(bridge: Bridge, bare_outputs: Path) -> None:
    line = bridge("pair=tinny").line
    assert "Could not find 'pair/tinny'" in line
    options = (
        "custom, dyck3, dyck3_fast, llama31_mistral, llama3_mistral, pythia_70m_seeds, text_seeds, tiny, tiny_same"
    )
    assert line == f"In 'config': Could not find 'pair/tinny'. Available options in 'pair': {options}"
    assert [p.name for p in bare_outputs.iterdir()] == ["artefacts"]


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "dataset.sise=3",
            "Could not override 'dataset.sise': Key 'sise' not in 'FactsConfig'",
        ),
        ("dataset.size=many", "Value 'many' of type 'str' could not be converted to Integer"),
        ("pair.source.dtype=int8", "Invalid value 'int8', expected one of [auto, float32, bfloat16, float16]"),
        ("control.names=[fitted,rotated]", "unknown control rotated; wanted some of fitted, random, shuffled"),
        (
            "map._target_=os.system",
            "_target_=os.system lies outside bridge.; wanted a class of bridge: choose it by a group option",
        ),
        ("pair=pythia_70m_seeds", "an override sets a field of something that is null here (such as pair.source.zoo"),
        ("pair=3", "Config group override must be a string or a list. Got int"),
        ("layer=0.41,0.42", "Ambiguous value for argument 'layer="),
        ("layer=nowhere", "Could not find 'layer/nowhere'"),
        ("dataset.size=0", "got a data set size of 0; wanted 1 to 79, as that many of 131 items are left to fit on"),
        ("device=tpu9", "device='tpu9' is unknown; wanted a device of torch: give auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_the_config_refuses_is_said_in_one_line(bridge: Bridge, override: str, text: str) -> None:
    assert text in bridge(*SMALL, override).line


def test_a_custom_pair_without_models_says_what_to_type(bridge: Bridge) -> None:
    line = bridge("pair=custom").line
    assert (
        line
        == "no value for pair.source.name, pair.target.name; wanted one: add pair.source.name=... to the command line"
    )


def test_a_model_that_is_nowhere_is_refused_with_what_to_do(bridge: Bridge, bare_outputs: Path) -> None:
    line = bridge("pair=custom", "pair.source.name=no/such-model", "pair.target.name=no/other").line
    assert line.startswith(
        "no/such-model is neither a local folder nor reachable on the Hugging Face hub; wanted one of the two: give a folder"
    )
    assert "`hf download no/such-model`" in line
    assert [r["status"] for r in records(bare_outputs).values()] == ["failed"]
    assert not half_written(bare_outputs)


def test_a_folder_without_weights_is_refused(bridge: Bridge, untrained: Path, tmp_path: Path) -> None:
    bare = copy_of(untrained, "llama", tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    line = bridge("pair=custom", f"pair.source.name={bare}", f"pair.target.name={bare}").line
    assert line.startswith(
        f"{bare} is a model folder without weights; wanted a *.safetensors file in it: save the model"
    )


def test_a_folder_that_is_no_model_is_refused(bridge: Bridge, tmp_path: Path) -> None:
    line = bridge("pair=custom", f"pair.source.name={tmp_path}", f"pair.target.name={tmp_path}").line
    assert (
        line
        == f"{tmp_path} is a folder without config.json; wanted a saved model: give a folder written by save_pretrained"
    )


def test_weights_that_hold_nan_are_refused_before_anything_is_stored(
    bridge: Bridge, bare_outputs: Path, tmp_path: Path
) -> None:
    broken = copy_of(bare_outputs / "artefacts", "llama", tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    names = [f"pair.source.name={broken}", f"pair.target.name={bare_outputs / 'artefacts'}"]
    line = bridge(
        "pair=custom", names[0], f"pair.target.name={broken}", *(word for word in SMALL if "zoo" not in word)
    ).line
    assert line.startswith(
        f"{broken} gave NaN or infinite states at layer 2 for 131 of 131 items; wanted finite numbers: run it in another dtype"
    )
    assert not list((bare_outputs / "activations").glob("[!.]*"))
    assert not half_written(bare_outputs)


def copy_of(artefacts: Path, name: str, to: Path) -> Path:
    folder = untrained_model(artefacts, name)
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["layer=200"], "layer 200 is out of range for tiny-llama; wanted 0..4, as it has 4 blocks"),
        (["layer=5"], "layer 5 is out of range for tiny-llama; wanted 0..4, as it has 4 blocks"),
        (
            ["layer=3", "injection=late_layer", *WIDER],
            "layer 3 is out of range for tiny-mistral; wanted 0..2, as it has 2 blocks",
        ),
        (["layer.target=7", "injection=late_layer"], "layer 7 is out of range for tiny-mistral; wanted 0..4"),
        (
            ["injection=late_layer", "injection.k=9"],
            "k=9 is out of range for tiny-mistral; wanted 0..4, as it has 4 blocks: change injection.k",
        ),
        (["injection=soft_prefix", "injection.k=0"], "k=0"),
        (
            ["dataset.size=5000"],
            "got a data set size of 5000; wanted 1 to 79, as that many of 131 items are left to fit on",
        ),
        (["layer.position=third"], "layer.position=third is unknown; wanted last, mean or aligned"),
    ],
)
def test_what_does_not_fit_the_models_or_the_items_is_refused(
    bridge: Bridge, bare_outputs: Path, overrides: list[str], text: str
) -> None:
    line = bridge(*SMALL, *overrides).line
    assert text in line
    (failed,) = records(bare_outputs).values()
    assert (failed["status"], failed["valid"]) == ("failed", False)
    assert line == failed["error"]
    assert "Error" in str(failed["traceback"])
    assert not half_written(bare_outputs)


def test_a_data_set_with_no_usable_item_says_why_each_fell_out(bridge: Bridge, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps([{"prompt": f"Item {i} is", "answer": f"quite unheard of {i}"} for i in range(7)]))
    line = bridge(*UNTRAINED, "dataset=json", f"dataset.path={path}").line
    assert "0 of 7 items" in line
    assert "dropped: 7 one token in neither" in line
    assert "wanted answers that are one known token in both tokenizers: use shorter, commoner answers" in line
    line = bridge(*UNTRAINED, "dataset=json", f"dataset.path={tmp_path / 'nothing.json'}").line
    assert "nothing.json" in line


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    "shape",
    [
        ["pair.source.zoo.width=32", *WIDER],
        [*(word.replace("target", "source") for word in WIDER), "pair.target.zoo.width=32"],
    ],
    ids=["wider", "narrower"],
)
def test_models_of_two_widths_and_two_depths_go_the_whole_way(
    bridge: Bridge, bare_outputs: Path, shape: list[str]
) -> None:
    few = ["dataset.size=40", "dataset.split.eval_size=12", "layer.source=2"]
    grid = ["map=orthogonal,linear,ridge", "injection=lm_head,late_layer,soft_prefix"]
    said = bridge(*SMALL, *few, *shape, "-m", *grid)
    assert (said.code, said.err) == (0, "")
    found = list(records(bare_outputs).values())
    assert [r["status"] for r in found] == ["done"] * 9
    widths = {(r["fit"]["d_source"], r["fit"]["d_target"]) for r in found}  # type: ignore[index]
    assert widths == {(32, 48) if shape[0] == "pair.source.zoo.width=32" else (48, 32)}
    planted = [r["gates"]["planted"]["passed"] for r in found if r["config"]["map"]["name"] != "ridge"]  # type: ignore[index]
    assert planted == [True] * 6


@pytest.mark.usefixtures("models")
def test_a_map_that_needs_equal_widths_is_refused(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.maps.orthogonal import Orthogonal

    monkeypatch.setattr(Orthogonal, "requires_equal_widths", True)
    line = bridge(*SMALL, *WIDER, "layer=2").line
    assert line.startswith(
        "Orthogonal got states of width 32 (source) and 48 (target); wanted equal widths: choose a map"
    )


def test_a_damaged_store_entry_is_warned_about_and_made_again(bridge: Bridge, bare_outputs: Path) -> None:
    bridge(*SMALL, "layer=2")
    entries = sorted((bare_outputs / "activations").glob("*-layer2/states.safetensors"))
    assert len(entries) == 2
    before = [path.read_bytes() for path in entries]
    spoilt = bytearray(before[0])
    spoilt[-9:] = b"\x00" * 9
    entries[0].write_bytes(bytes(spoilt))
    (first,) = records(bare_outputs).values()
    said = bridge(*SMALL, "layer=2", "recompute=true")
    (second,) = records(bare_outputs).values()
    assert (said.code, said.err) == (0, "")
    assert re.search(r"-layer2 is damaged \(ValueError: its checksum is wrong\) and is made again", said.out)
    assert second["points"] == first["points"]
    assert [path.read_bytes() for path in entries] == before


@pytest.mark.parametrize("where", ["under_a_file", "proc"])
def test_an_outputs_folder_that_cannot_be_written_is_named(bridge: Bridge, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    outputs = tmp_path / "file" / "outputs" if where == "under_a_file" else Path("/proc/nope")
    for words in ([*SMALL], [*SMALL, "-m", "layer=1,2"]):
        line = bridge(*words, outputs=outputs).line
        named = tmp_path / "file" if where == "under_a_file" else "/proc/nope"
        assert re.match(rf"cannot write (to )?{named}", line), line
        assert re.search("free some space,? or set paths.outputs to a writable folder", line), line
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_outputs_folder_without_write_permission_is_named(bridge: Bridge, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o555)
    assert f"cannot write {tmp_path / 'mine'}" in bridge(*SMALL, outputs=tmp_path / "mine" / "outputs").line


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[None]:
    """A disk of `size` mounted at a folder; the test is skipped where that is not allowed."""
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(at)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        # A process that was stopped may hold it for a moment longer.
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.mark.parametrize("full", ["activations", "runs", "logs", "artefacts"])
def test_a_disk_that_fills_up_leaves_nothing_half_written_and_the_command_goes_on_later(
    bridge: Bridge, bare_outputs: Path, full: str
) -> None:
    words = [*SMALL]
    if full == "artefacts":
        (bare_outputs / "artefacts").unlink()
        # One model, for each is trained by a process of its own.
        words.append("pair.target=${pair.source}")
    with small_disk(bare_outputs / full, {"activations": "64k", "runs": "16k", "logs": "4k", "artefacts": "64k"}[full]):
        if full == "logs":
            (bare_outputs / full / "filler").write_bytes(b"x" * 4096)
        line = bridge(*words).line
        if full == "activations":
            assert re.fullmatch(
                r".*/activations has no space left for \d+\.\d kB of states; wanted that much free space: free some, .*",
                line,
            ), line
        elif full == "artefacts":
            assert re.fullmatch(r"cannot write to .*/artefacts: .*No space left on device.*; free some space .*", line)
        else:
            assert re.match(r"cannot write .* ?\(?.*No space left on device", line), line
        assert not half_written(bare_outputs)
        # In the store of all tests another process may be training a model.
        if full == "artefacts":
            assert not [p for p in (bare_outputs / "artefacts").rglob("*") if p.name.endswith(".unfinished")]
        subprocess.run(["mount", "-o", "remount,size=64m", str(bare_outputs / full)], check=True)
        said = bridge(*words)
        assert (said.code, said.err) == (0, "")
        assert [r["status"] for r in records(bare_outputs).values()] == ["done"]
        logging.config.dictConfig({"version": 1})  # closes the log file on the small disk


def test_a_log_file_that_cannot_be_written_is_no_reason_to_stop(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handler: logging.FileHandler, line: logging.LogRecord) -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            handler.handleError(line)

    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(logging.FileHandler, "emit", full)
    said = bridge(*SMALL)
    assert (said.code, said.err) == (0, "")


def test_one_bad_cell_of_a_grid_fails_alone(bridge: Bridge, bare_outputs: Path) -> None:
    words = [*SMALL, "control=mean", "-m", "dataset.size=40,5000,60"]
    said = bridge(*words)
    assert said.line.startswith("got a data set size of 5000; wanted 1 to 79, as that many of 131 items are left")
    assert "  failed: got a data set size of 5000" in said.out
    by_status = {
        (r["status"], *(point["axes"]["n_fit"] for point in r.get("points", ())))
        for r in records(bare_outputs).values()
    }
    assert by_status == {("done", 40), ("done", 60), ("failed",)}
    (failed,) = [r for r in records(bare_outputs).values() if r["status"] == "failed"]
    assert "DataError" in str(failed["traceback"])
    again = bridge(*words)
    assert again.code == 1
    assert "2 of 3 cells have their record already" in again.out


def test_an_error_that_nobody_foresaw_keeps_its_traceback_and_the_other_cells(
    bridge: Bridge, bare_outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.maps.relative import Relative

    monkeypatch.setattr(Relative, "fit", lambda self, X, Y, groups=None: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*SMALL, "map=relative", "seed=1", f"paths.outputs={bare_outputs}"])
    capsys.readouterr()
    said = bridge(*SMALL, "-m", "map=orthogonal,relative,linear")
    assert said.line == "ZeroDivisionError: division by zero; the traceback is in the cell's record"
    found = [r.data for r in read_all(bare_outputs) if r.data["config"]["seed"] == 0]
    assert sorted(str(r["status"]) for r in found) == ["done", "done", "failed"]
    (failed,) = (r for r in found if r["status"] == "failed")
    assert "ZeroDivisionError: division by zero" in str(failed["traceback"])


def test_ctrl_c_stops_with_one_line_and_the_next_run_goes_on(
    bridge: Bridge, bare_outputs: Path, tmp_path: Path
) -> None:
    words = [*SMALL, "-m", "layer=1,2", f"injection={','.join(INJECTIONS)}"]
    last = [run_id(compose_config(*SMALL, "layer=2", f"injection={i}")) for i in INJECTIONS]
    with held(bare_outputs, last):
        process = spawn(*words, f"paths.outputs={bare_outputs}", cwd=tmp_path)
        wait_for(lambda: len(records(bare_outputs)) >= 2, "two cells are done")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    said = Said(process.returncode, out, err)
    assert said.line == "stopped; run the same command again to go on"
    assert said.code == 130
    finished = records(bare_outputs)
    assert len(finished) == 2
    assert {r["status"] for r in finished.values()} == {"done"}
    assert not half_written(bare_outputs)
    again = bridge(*words)
    assert (again.code, again.err) == (0, "")
    assert "2 of 4 cells have their record already" in again.out
    assert len(records(bare_outputs)) == 4


def test_ctrl_c_in_a_library_that_fails_while_it_tidies_up_is_still_ctrl_c(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, bare_outputs: Path
) -> None:
    from bridge.maps.ridge import Ridge

    def fit(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise AttributeError("half a copy")

    monkeypatch.setattr(Ridge, "fit", fit)
    said = bridge(*SMALL, "-m", "map=ridge,linear", "seed=7")
    assert (said.code, said.line) == (130, "stopped; run the same command again to go on")
    assert all(r.data["status"] == "done" for r in read_all(bare_outputs))


def test_ctrl_c_while_the_models_are_trained_stops_the_training(tmp_path: Path) -> None:
    process = spawn("pair.source.zoo.n_steps=100000", "pair.target.zoo.n_steps=100000", cwd=tmp_path)
    locks = tmp_path / "outputs" / "artefacts" / "model" / ".locks"
    wait_for(lambda: len(list(locks.glob("*"))) == 2, "both trainings have begun")
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=240)
    finally:
        # What did not stop would slow down all that comes after.
        for pid in (*map(int, children.stdout.split()), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert Said(process.returncode, out, err).line == "stopped; run the same command again to go on"
    assert process.returncode == 130
    assert len(children.stdout.split()) == 2
    assert not [pid for pid in children.stdout.split() if Path(f"/proc/{pid}").exists()]
    assert [p.name for p in (tmp_path / "outputs" / "artefacts" / "model").iterdir()] == [".locks"]


def test_a_grid_that_has_its_records_is_not_run_again_and_its_table_is_the_same(
    bridge: Bridge, bare_outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(out: str) -> list[str]:
        return out[out.rindex("tiny: top-1") :].splitlines()

    words = [*SMALL, "control=mean", "-m"]
    first = bridge(*words, "dataset.size=40,60")
    with monkeypatch.context() as without:
        # What is finished is not even composed.
        without.delattr("bridge.sweep.sweeper.plan")
        again = bridge(*words, "dataset.size=40,60")
    assert again.code == 0
    assert table(again.out) == table(first.out)
    assert "2 of 2 cells have their record already" in again.out
    assert "#0" not in again.out
    more = bridge(*words, "dataset.size=40,50,60")
    assert "2 of 3 cells have their record already" in more.out
    # The new rows stand among the old ones.
    rows = [line.split()[2] for line in table(more.out) if line.startswith("lm_head")]
    assert rows == ["40", "50", "60"]
    one = next(
        p
        for p in (bare_outputs / "runs").glob("*/record.json")
        if point(json.loads(p.read_text()))["axes"]["n_fit"] == 40
    )
    one.write_text(one.read_text().replace('"status": "done"', '"status": "failed"', 1))
    assert "1 of 2 cells have their record already" in bridge(*words, "dataset.size=40,60").out
    assert bridge(*words, "dataset.size=40,60").code == 0
    # Words that compute again, and rows that a tracker may have to send, go to Hydra.
    composed: list[object] = []
    plan = sweeper.plan
    monkeypatch.setattr(sweeper, "plan", lambda *given: composed.append(given) or plan(*given))
    bridge(*words, "dataset.size=40,60")
    assert not composed
    for _ in range(2):
        bridge(*words, "dataset.size=40,60", "recompute=true")
    assert len(composed) == 2
    bridge(*words, "dataset.size=40,60")
    assert "report written to" not in bridge(*words, "dataset.size=40,60").out
    bridge(*words, "dataset.size=40,60", "report=true")
    composed.clear()
    assert "report written to" in bridge(*words, "dataset.size=40,60", "report=true").out
    assert not composed
    for path in (bare_outputs / "sweeps").glob("*/sweep.json"):
        made = json.loads(path.read_text())
        made["settings"]["tracker"]["name"] = "wandb"
        path.write_text(json.dumps(made))
    bridge(*words, "dataset.size=40,60", "report=true")
    assert len(composed) == 1


def test_the_grid_of_the_readme_ends_in_one_table_that_joins_the_controls(bridge: Bridge) -> None:
    controls = ("fitted", "random", "shuffled", "identity", "same_model")
    said = bridge(
        *SMALL, "dataset.size=30", "-m", "layer=1,2", "injection=lm_head,late_layer", f"control={','.join(controls)}"
    )
    assert (said.code, said.err) == (0, "")
    table = said.out[said.out.rindex("tiny: top-1") :].splitlines()
    rows = [line.split() for line in table if re.match(r"(late_layer|lm_head) ", line)]
    assert [row[:2] for row in rows] == [
        *(["late_layer", f"{i}→{i}"] for i in (1, 2)),
        *(["lm_head", f"{i}→4"] for i in (1, 2)),
    ]
    assert all(re.fullmatch(r"\d\.\d\d|-", cell) for row in rows for cell in row[3:10])
    assert max(map(len, table)) <= 120
    assert "already" not in said.out


def test_a_cell_prints_every_control_its_gates_and_where_the_record_lies(bridge: Bridge, bare_outputs: Path) -> None:
    words = [*SMALL, "layer=2", "injection=late_layer", "control=all", "dataset.size=50", "seed=1"]
    said = bridge(*words)
    assert (said.code, said.err) == (0, "")
    for control in CONTROLS:
        assert re.search(rf"^{control}( x2)? +(\d\.\d\d\d \[|-)", said.out, re.MULTILINE), control
    assert "gates: states passed" in said.out
    assert "dead: the target itself gets none of these items right" in said.out
    (run_id,) = records(bare_outputs)
    assert f"record written to {bare_outputs}/runs/{run_id}" in said.out
    assert f"record read back from {bare_outputs}/runs/{run_id}" in bridge(*words).out


def test_a_fitted_score_is_not_printed_without_saying_what_is_not_scored(bridge: Bridge) -> None:
    said = bridge(*SMALL, "control=fitted")
    missing = ", ".join(name for name in CONTROLS if name != "fitted")
    assert f"not scored here: {missing} (control=all scores everything)" in " ".join(said.out.split())
    grid = bridge(*SMALL, "-m", "control=fitted", "layer=1,2")
    assert not re.search(r"fitted \d\.\d", grid.out)


def test_too_few_draws_are_said_before_the_run_and_auto_is_twenty_under_the_same_run_id(
    bridge: Bridge, bare_outputs: Path
) -> None:
    few = "rank among 5 draws has p of at least 0.17, so nothing can be found above random; give control.n_draws=19 or"
    words = [word for word in SMALL if "n_draws" not in word] + ["control.names=[fitted,random]"]
    said = bridge(*words, "control.n_draws=5")
    assert said.out.index(few) < said.out.index("tiny: layer")
    auto, twenty = (bridge(*words, f"control.n_draws={n}") for n in ("auto", "20"))
    assert "draws has p of at least" not in auto.out
    assert "random x20" in auto.out
    assert "record read back from" in twenty.out
    assert len(records(bare_outputs)) == 2


@pytest.mark.parametrize("n_draws", ["0", "-3", "many"])
def test_a_number_of_draws_that_is_none_is_refused_in_one_line(bridge: Bridge, n_draws: str) -> None:
    line = bridge(*SMALL, f"control.n_draws={n_draws}").line
    assert line.startswith(f"control.n_draws={n_draws} is no number of draws; wanted auto or at least 1")


def test_records_of_an_older_version_are_refused_by_all_that_would_read_them(
    bridge: Bridge, bare_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bridge(*SMALL)
    (path,) = (bare_outputs / "runs").glob("*/record.json")
    path.write_text(path.read_text().replace('"record_version": 6', '"record_version": 2', 1))
    runs = bare_outputs / "runs"
    told = (
        f"1 of 1 records in {runs} are of record version 2, this bridge reads 6; wanted records of one version: move them away (mv {runs} "
        f"{runs}-version-2) and run their cells again"
    )
    assert bridge(*SMALL).line == told
    before = bridge(*SMALL, "seed=7", "report=true")
    assert before.line == told
    assert len(records(bare_outputs)) == 1
    for verb in ("report", "export"):
        with pytest.raises(SystemExit, match="1"):
            main([verb, "--outputs", str(bare_outputs)])
        assert capsys.readouterr().err == f"bridge: {told}\n"


def test_many_commands_in_one_process_leave_no_handlers_and_no_files_behind(bridge: Bridge, bare_outputs: Path) -> None:
    bridge(*SMALL)
    count = [len(logging.getLogger(name).handlers) for name in (None, "bridge")]
    files = {p for p in bare_outputs.rglob("*") if "logs" not in p.parts}
    for _ in range(2):
        bridge(*SMALL)
    assert [len(logging.getLogger(name).handlers) for name in (None, "bridge")] == count
    assert {p for p in bare_outputs.rglob("*") if "logs" not in p.parts} == files
    assert os.environ.get("HYDRA_FULL_ERROR") is None


def test_help_and_cfg_answer_in_seconds_without_transformers(bridge: Bridge, tmp_path: Path) -> None:
    before = os.times().children_user
    said = shell("--help", cwd=tmp_path)
    assert said.code == 0
    assert "bridge -m layer=1,2,3" in said.out
    assert "pair: custom, dyck3, dyck3_fast, llama31_mistral" in said.out
    assert os.times().children_user - before < 5
    assert [p.name for p in tmp_path.iterdir()] == ["outputs"]  # the fixture's
    said = bridge("--cfg", "job")
    assert said.code == 0
    assert "name: tiny-llama" in said.out
    code = "import sys, bridge.cli; print(sorted(m for m in ('transformers', 'scipy', 'pyarrow', 'wandb') if m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


def test_a_folder_of_ones_own_adds_options_from_any_working_directory(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "quick.yaml").write_text("# @package _global_\ndataset: {size: 33}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    said = bridge("--config-dir", "../mine", *SMALL, "experiment=quick")
    assert (said.code, said.err) == (0, "")
    assert "n=33" in said.out
    assert not list((tmp_path / "elsewhere").iterdir())
    assert max(map(len, printed(said.out))) <= 120, said.out


def test_outputs_go_to_the_working_directory_unless_told_otherwise(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "artefacts").symlink_to(untrained)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*SMALL, "dataset.size=33"])
    out, err = capsys.readouterr()
    assert err == ""
    assert "record written to outputs/runs/" in out
    assert {p.name for p in (tmp_path / "outputs").iterdir()} == {
        "activations",
        "artefacts",
        "contexts",
        "logs",
        "runs",
    }
    assert max(map(len, printed(out))) <= 80, out


def printed(out: str) -> list[str]:
    """The lines that are as long as the console is wide, and not as long as a path."""
    return [
        line
        for line in out.splitlines()
        if not line.startswith(("record", "extracting", "training", "control.n_draws"))
    ]
