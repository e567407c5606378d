"""``bridge sweep`` as a user types it, with jobs that are real processes on this machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from commands import SWEEP_FILE, Said, Shell, held, wait_for
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from untrained import SMALL

from bridge.cli import main
from bridge.config import conf_dir
from bridge.records import record
from bridge.records.manifest import read
from bridge.schema import register
from bridge.sweep.grid import expand
from bridge.sweep.sources import BRIDGE
from bridge.tasks.registry import run_id

Bridge = Callable[..., tuple[int, str, str]]
Sweeps = Callable[..., Path]
# Few items, and both layers for one injection alone.
FEW = ["dataset.size=40", "dataset.split.eval_size=20", "sweep.exclude=[{layer:1,injection:[late_layer,soft_prefix]}]"]
SMALLER = ["dataset.size=20,40", "dataset.split.eval_size=20", "hydra/launcher=basic", "report=false"]
GRID = "layer: \"'1','2'\", control: 'fitted,random,mean'"


def wall_times(outputs: Path) -> dict[str, float]:
    return {r.folder.name: r.data["wall_s"] for r in record.read_all(outputs)}


def numbers(outputs: Path) -> dict[str, object]:
    kept = ("points", "gates", "fit", "layers", "inputs")
    return {r.folder.name: {key: r.data[key] for key in kept} for r in record.read_all(outputs) if r.ok}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, untrained: Path) -> tuple[Shell, Said]:
    """A sweep that ran in two jobs, on a machine that says that it has three GPUs, and what the command answered."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "sweeps").mkdir()
    (folder / "outputs").mkdir()
    (folder / "outputs" / "artefacts").symlink_to(untrained)
    params = "layer: \"'1','2'\", control: 'fitted,random', injection: 'lm_head,late_layer,soft_prefix'"
    (folder / "sweeps" / "mine.yaml").write_text(SWEEP_FILE.format(name="mine", params=params, launcher="local"))
    shell = Shell(folder / "outputs")
    with pytest.MonkeyPatch.context() as patched:
        # Only their discovery is replaced: what a job sees is what it is started with.
        patched.setattr("bridge.sweep.launcher.visible_gpus", lambda: ["3", "GPU-5af0", "MIG-1"])
        more = ["hydra.launcher.gpus=2", "hydra.launcher.setup=['export MARK=1']"]
        return shell, shell.here("sweep", "mine", *SMALL, *FEW, *more)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory, untrained: Path) -> Shell:
    """A folder in which GRID was computed in this process."""
    folder = tmp_path_factory.mktemp("computed")
    (folder / "sweeps").mkdir()
    (folder / "outputs").mkdir()
    (folder / "outputs" / "artefacts").symlink_to(untrained)
    (folder / "sweeps" / "mine.yaml").write_text(SWEEP_FILE.format(name="mine", params=GRID, launcher="basic"))
    shell = Shell(folder / "outputs")
    said = shell.here("sweep", "mine", *SMALL)
    assert (said.code, said.err) == (0, "")
    return shell


@pytest.fixture
def grid(computed: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A copy of that folder, which is the working directory."""
    folder = tmp_path / "copied"
    shutil.copytree(computed.outputs.parent, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return Shell(folder / "outputs")


def test_a_sweep_runs_in_jobs_once_and_then_has_nothing_left_to_do(packed: tuple[Shell, Said]) -> None:
    shell, said = packed
    assert (said.code, said.err) == (0, "")
    assert "8 cells in 2 jobs on local" in said.out
    assert len(re.findall(r"^lm_head ", said.out, re.MULTILINE)) == 2
    before = wall_times(shell.outputs)
    assert len(before) == 8
    words = [*SMALL, *FEW, "hydra.launcher.gpus=2", "hydra.launcher.setup=['export MARK=1']"]
    said = shell.here("sweep", "mine", *words)
    told = "mine: 8 of 8 cells done, nothing left to do; bridge report mine shows them\n"
    assert (said.code, said.out) == (0, told)
    # The same file as plain Hydra, on another launcher: the same cells.
    basic = ["--config-dir", "sweeps", "--config-name", "mine", "-m", "hydra/launcher=basic"]
    said = shell.here(*basic, *SMALL, *FEW)
    assert said.code == 0
    assert "8 of 8 cells have their record already" in said.out
    assert wall_times(shell.outputs) == before
    manifest = read(shell.outputs, "mine")
    assert list(manifest.axes) == ["layer", "control", "injection"]
    assert manifest.axes["control"] == ["fitted", "random"]
    assert set(manifest.run_ids) == set(before)


def test_jobs_leave_the_numbers_that_one_process_leaves(
    packed: tuple[Shell, Said], bridge: Bridge, bare_outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell, _ = packed
    monkeypatch.chdir(shell.outputs.parent)
    assert bridge("sweep", "mine", *FEW, "hydra/launcher=basic")[0] == 0
    assert numbers(shell.outputs) == numbers(bare_outputs)
    assert len(numbers(bare_outputs)) == 8


def test_each_job_on_this_machine_sees_a_gpu_of_its_own(packed: tuple[Shell, Said]) -> None:
    shell, _ = packed
    assert {job["gpus"] for job in shell.jobs("mine").values()} == {"3", "GPU-5af0"}


def test_changed_words_are_composed_again_and_a_larger_grid_keeps_its_name(
    grid: Shell,
) -> None:
    before = wall_times(grid.outputs)
    said = grid.here("sweep", "mine", *SMALL, "control=fitted,random,mean,identity")
    assert said.code == 0
    assert "6 of 8 cells have their record already" in said.out
    after = wall_times(grid.outputs)
    assert len(after) == 8
    assert {k: after[k] for k in before} == before


def test_another_sweep_of_the_same_name_is_refused(grid: Shell) -> None:
    said = grid.here("sweep", "mine", *SMALL, "layer=0,1")
    assert said.code == 1
    assert said.err == (
        f"bridge: another sweep is called 'mine' in {grid.outputs}: 3 of its 6 cells are not in this one, which has 3 "
        f"others; wanted a name of its own for each: give this one sweep.name=..., or delete {grid.outputs}/sweeps/mine\n"
    )
    assert len(wall_times(grid.outputs)) == 6
    assert grid.here("sweep", "mine", *SMALL, "layer=0,1", "sweep.name=other").code == 0


def test_a_cell_that_fails_fails_alone_and_only_that_one_is_tried_again(
    bridge: Bridge, sweeps: Sweeps, bare_outputs: Path
) -> None:
    sweeps("mine", "layer: \"'1','9','2'\", control: 'mean'")
    code, out, err = bridge("sweep", "mine", "hydra.launcher.jobs=1")
    assert code == 1
    assert (
        err == "bridge: layer=9: layer 9 is out of range for tiny-llama; wanted 0..4, as it has 4 blocks: change it\n"
    )
    assert "failed: layer=9: layer 9 is out of range" in out
    found = {r.data["config"]["layer"]["source"]: r for r in record.read_all(bare_outputs)}
    assert {layer: r.data["status"] for layer, r in found.items()} == {1: "done", 9: "failed", 2: "done"}
    assert "Traceback" in found[9].data["traceback"]
    code, out, _ = bridge("status", "mine")
    assert code == 1
    assert out.startswith("mine: 2 done, 1 failed of 3 cells\n  failed: layer=9: layer 9 is out of range")
    code, out, _ = bridge("sweep", "mine", "hydra/launcher=basic")
    assert code == 1
    assert "2 of 3 cells have their record already" in out


def test_a_dry_run_says_what_would_be_done_and_leaves_nothing(
    bridge: Bridge, sweeps: Sweeps, bare_outputs: Path
) -> None:
    sweeps("mine", GRID)
    code, out, err = bridge("sweep", "mine", "--dry-run", "hydra.launcher.jobs=2")
    assert (code, err) == (0, "")
    assert "  missing  layer=1, control=fitted\n" in out
    assert "mine: 6 cells (6 missing); 6 to run\n  layer: 1, 2 (2)\n" in out
    # 4 blocks, so 5 layers, of 32 float32 numbers for every item.
    (source,) = (line for line in out.splitlines() if line.startswith("  tiny-llama, position last: "))
    told, n_bytes = source.split("last: ")[1].rsplit(", ", 1)
    bound, n, rest = re.fullmatch(r"(.*: )(\d+)( .*)", told).groups()
    # No tokenizer is loaded to see which answers are one token.
    assert bound == "at most, for no cell has read these prompts yet: "
    assert rest == " states at 5 of 5 layers"
    assert n_bytes == f"{int(n) * 5 * 32 * 4 / 1e3:.1f} kB"
    assert "jobs: 2 on local, 3 cells to begin with" in out
    assert not (bare_outputs / "sweeps").exists()
    assert not (bare_outputs / "runs").exists()
    bridge("sweep", "mine", "control=fitted", "sweep.name=part", "hydra/launcher=basic")
    code, out, _ = bridge("sweep", "mine", "--dry-run")
    assert "6 cells (2 done, 4 missing); 4 to run" in out
    assert "states: all there" in out
    # What a cell has read is counted exactly, and another model's states are still to be extracted.
    _, out, _ = bridge("sweep", "mine", "--dry-run", "injection=soft_prefix", "injection.k=2")
    (source,) = (line for line in out.splitlines() if line.startswith("  tiny-llama, position last:2: "))
    (states,) = (bare_outputs / "contexts").iterdir()
    n = 2 * len(json.loads(states.read_text())[0])
    assert source == f"  tiny-llama, position last:2: {n} states at 5 of 5 layers, {n * 5 * 32 * 4 / 1e3:.1f} kB"


def test_a_dry_run_counts_states_once_that_two_splits_share(bridge: Bridge, sweeps: Sweeps, bare_outputs: Path) -> None:
    sweeps("mine", GRID)
    _, once, _ = bridge("sweep", "mine", "--dry-run")
    _, both, _ = bridge("sweep", "mine", "--dry-run", "dataset.split.by=item,answer")
    assert "12 cells" in both
    told = [[line for line in out.splitlines() if "position last" in line] for out in (once, both)]
    assert len(told[0]) == 2
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["nothing"],
            "no sweep is called 'nothing'; wanted one of those in sweeps and of bridge itself (dataset_size, direction, ",
        ),
        (
            ["mine", "--config-dir", "elsewhere"],
            "no sweep is called 'mine'; wanted one of those in elsewhere (none): write elsewhere/",
        ),
        (["mine", "injection=lm_head,nowhere"], "Could not find 'injection/nowhere'."),
        (["mine", "seed=1,1"], "the grid has the cell layer=1 seed=1 twice"),
        (["mine", "seed=1,x"], "Value 'x' of type 'str' could not be converted to Integer"),
        (["mine", "hydra.launcher.gpu=4"], "Key 'gpu' not in 'LocalLauncherConfig'"),
        (["mine", "hydra.launcher.jobs=0"], "hydra.launcher.jobs=0; wanted at least 1: change it"),
        (["mine", "hydra.launcher.gpus=64"], "hydra.launcher.gpus=64, but this machine has "),
        (["mine", "sweep.name=a/b"], "'a/b' is no name for a sweep; wanted letters, digits"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    bridge: Bridge, sweeps: Sweeps, bare_outputs: Path, words: list[str], told: str
) -> None:
    sweeps("mine", "layer: \"'1','2'\"")
    code, out, err = bridge("sweep", *words)
    assert code == 1
    assert err.startswith("bridge: ")
    assert err.count("\n") == 1
    assert told in err
    assert "Traceback" not in out
    assert not (bare_outputs / "runs").exists()


@pytest.mark.parametrize(
    ("params", "more", "told"),
    [
        ("layr: 1", "", "layr"),
        (GRID, "datset: {size: 3}\n", "datset"),
        ('layer: "interval(1,2)"', "", "is a range; wanted a list of values: give layer=A,B,C"),
        ("control: [", "", "sweeps/typo.yaml"),
    ],
)
def test_a_typo_in_a_sweep_file_is_named(bridge: Bridge, sweeps: Sweeps, params: str, more: str, told: str) -> None:
    sweeps("typo", params, more=more)
    code, out, err = bridge("sweep", "typo")
    assert code == 1
    assert err.startswith("bridge: ")
    assert err.count("\n") == 1
    assert told in err
    assert "Traceback" not in out


def test_an_outputs_folder_that_cannot_be_written_is_named(bridge: Bridge, sweeps: Sweeps) -> None:
    sweeps("mine", "layer: \"'1','2'\"")
    code, _, err = bridge("sweep", "mine", outputs="/proc/outputs")
    assert code == 1
    assert err.startswith("bridge: cannot write")
    assert err.count("\n") == 1


def test_edited_items_are_computed_again(bridge: Bridge, sweeps: Sweeps, bare_outputs: Path, tmp_path: Path) -> None:
    sweeps("mine", "layer: \"'1','2'\"")
    from bridge.data.sources import Facts

    items = [{"prompt": i.prompt, "answer": i.answer} for i in Facts(["city_country", "animal_kind"]).load()]
    file = tmp_path / "items.json"
    words = ("sweep", "mine", "dataset=json", f"dataset.path={file}")

    def run(*launcher: str) -> None:
        small = [w for w in SMALL if not w.startswith("dataset.")]
        with pytest.raises(SystemExit, match="0"):
            main([*words, *small, f"paths.outputs={bare_outputs}", *launcher])

    file.write_text(json.dumps(items))
    run("hydra/launcher=basic")
    before = wall_times(bare_outputs)
    run("hydra/launcher=basic")
    assert wall_times(bare_outputs) == before
    file.write_text(json.dumps(items[:-5]))
    run("hydra.launcher.jobs=1")
    after = wall_times(bare_outputs)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


def spawn(*words: str, outputs: Path, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bridge", *words, *SMALL, f"paths.outputs={outputs}"],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def started(outputs: Path, name: str) -> list[int]:
    return [json.loads(p.read_text())["pid"] for p in (outputs / "sweeps" / name / "jobs").glob("*.json")]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


LONG = {"seed": ["0", "1", "2"], "layer": ["'1'", "'2'"], "control": ["fitted", "mean"]}
LONG_PARAMS = ", ".join(f'{axis}: "{",".join(values)}"' for axis, values in LONG.items())


@pytest.fixture(scope="module")
def long() -> list[str]:
    """Run ids of the cells of LONG, seed by seed."""

    def composed(overrides: Sequence[str]) -> DictConfig:
        register()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("config", [*SMALL, *overrides])

    return [run_id(config) for config in expand(LONG, composed)[1]]


def begin(outputs: Path, cwd: Path) -> "subprocess.Popen[str]":
    """Start LONG in two jobs, and wait until both are at it."""
    process = spawn("sweep", "long", "hydra.launcher.jobs=2", outputs=outputs, cwd=cwd)
    wait_for(lambda: len(started(outputs, "long")) == 2, "two jobs run")
    wait_for(lambda: len(wall_times(outputs)) > 2, "three cells are done")
    return process


def test_a_killed_worker_and_a_killed_launcher_lose_nothing(
    sweeps: Sweeps, bare_outputs: Path, tmp_path: Path, long: list[str]
) -> None:
    sweeps("long", LONG_PARAMS)
    with held(bare_outputs, long[6:]):
        process = begin(bare_outputs, tmp_path)
        process.kill()
        process.communicate()
        first, second = started(bare_outputs, "long")
        assert alive(first)
        assert alive(second)
        os.kill(first, signal.SIGKILL)
        before = wall_times(bare_outputs)
    # The other job outlives its launcher and takes over what the killed one leaves.
    wait_for(lambda: not alive(second), "the other job has ended")
    after = wall_times(bare_outputs)
    assert after.keys() == set(long)
    assert {k: after[k] for k in before} == before
    runs = bare_outputs / "runs"
    assert [p.name for p in runs.glob(".*") if p.name != ".locks"] == []


def test_ctrl_c_stops_the_jobs_and_the_command_goes_on(
    bridge: Bridge, sweeps: Sweeps, bare_outputs: Path, tmp_path: Path, long: list[str]
) -> None:
    sweeps("long", LONG_PARAMS)
    with held(bare_outputs, long[6:]):
        process = begin(bare_outputs, tmp_path)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "bridge: stopped; run the same command again to go on"
        assert "Traceback" not in err
        wait_for(lambda: not any(alive(pid) for pid in started(bare_outputs, "long")), "the jobs have ended")
    before = wall_times(bare_outputs)
    assert len(before) <= 6
    code, out, err = bridge("sweep", "long", "hydra/launcher=basic")
    assert code == 0, err
    after = wall_times(bare_outputs)
    assert after.keys() == set(long)
    assert {k: after[k] for k in before} == before
    assert f"{len(before)} of {len(long)} cells have their record already" in out


def test_what_a_finished_sweep_has_left_is_known_without_torch(computed: Shell) -> None:
    words = ["mine", *SMALL, f"paths.outputs={computed.outputs}"]
    code = (
        "import sys; from bridge.sweep.command import sweep_verb; "
        f"assert sweep_verb({words}, exit) == 0; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=computed.outputs.parent,
        # The code that computed it, whichever checkout is installed.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nothing left to do" in done.stdout
    assert not {"torch", "hydra", "transformers"} & set(done.stdout.split())


def test_a_launcher_of_ones_own_lies_beside_the_sweep_files(
    bridge: Bridge, sweeps: Sweeps, bare_outputs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweeps" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    text = "# @package hydra.launcher\ndefaults: [slurm, _self_]\ngpus: 4\npartition: h100\n"
    (folder / "h100.yaml").write_text(text)
    sweeps("mine", "layer: \"'1','2'\"")
    text = "defaults: [smoke, override hydra/launcher: h100, _self_]\nsweep: {name: derived}\n"
    (tmp_path / "sweeps" / "derived.yaml").write_text(text)
    code, out, _ = bridge("sweep", "derived", "--dry-run")
    assert code == 0
    assert "derived: 44 cells" in out
    assert "jobs: 4 on slurm" in out
    for name in ("mine", "smoke"):
        code, out, _ = bridge("sweep", name, "--dry-run", "hydra/launcher=h100", "layer=0,1,2,3", "control=fitted")
        assert code == 0
        assert "jobs: 4 on slurm, each with one GPU" in out


def test_another_sweeper_may_use_the_packed_launcher(bridge: Bridge, bare_outputs: Path) -> None:
    code, out, err = bridge("-m", "hydra/sweeper=basic", "hydra/launcher=local", "hydra.launcher.jobs=1", "layer=1,2")
    assert code == 0, err
    assert "2 cells in 1 jobs on local" in out
    assert len(wall_times(bare_outputs)) == 2


def test_an_experiment_says_what_the_axes_are_for_every_direction(
    bare_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["experiment=interlingua", "map=orthogonal,lora", f"paths.outputs={bare_outputs}", *SMALL, *SMALLER])
    assert stop.value.code == 0, capsys.readouterr()
    found = record.read_all(bare_outputs)
    told = {
        (r.data["config"]["pair"]["name"], r.data["points"][0]["axes"]["n_fit"], r.data["config"]["map"]["name"])
        for r in found
    }
    assert told == {(p, n, m) for p in ("tiny", "tiny_reverse") for n in (20, 40) for m in ("orthogonal", "lora")}
    assert {(r.data["layers"]["source"], r.data["config"]["injection"]["name"]) for r in found} == {(2, "late_layer")}


# The words of the test say how many steps the source learns and two of its seeds, so that two_worlds has fewer cells.
PLANNED = {"smoke": 44, "layer_ablation": 165, "dataset_size": 60, "direction": 30, "interlingua": 30}
PLANNED |= {"similarity": 12, "two_worlds": 48, "limits": 256}


def test_every_sweep_of_bridge_itself_is_planned_below() -> None:
    assert {path.stem for path in (BRIDGE.parent / "sweeps").glob("*.yaml")} == PLANNED.keys()


@pytest.mark.parametrize("name", PLANNED)
def test_a_sweep_of_bridge_itself_can_be_planned(
    bare_outputs: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    # Nine maps, four sizes and five seeds are axes as any other, and composing them takes its time.
    fewer = {
        "interlingua": ["map=lora_target", "dataset.size=100"],
        "two_worlds": ["pair.source.zoo.seed=0,1"],
    }.get(name, [])
    with pytest.raises(SystemExit) as stop:
        main(["sweep", name, "--dry-run", f"paths.outputs={bare_outputs}", *SMALL[:4], *fewer])
    assert stop.value.code == 0
    n = PLANNED[name]
    assert f"{name}: {n} cells ({n} missing); {n} to run" in capsys.readouterr().out
