"""Axes that move together, combinations that are left out, and several grids in one sweep."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Said

from bridge.errors import ConfigError
from bridge.records import record
from bridge.records.manifest import names, read
from bridge.sweep.axes import Exclusions, product, steps

Bridge = Callable[..., Said]
Sweeps = Callable[..., Path]

FILE = """\
defaults: [config, override hydra/launcher: basic, _self_]
sweep:
  name: mine
  zip: [[layer.source, layer.target]]
  exclude: [{injection: soft_prefix, layer.source: [2, 9]}]
  grids:
    - {injection: [lm_head, soft_prefix], layer.source: [1, 2, 3], layer.target: "2,3,4"}
    - {pair: [tiny, tiny_same], layer: "${all_layers:}", map: ridge}
hydra: {mode: MULTIRUN, sweeper: {params: {seed: 5}}}
"""


def labels(out: str) -> list[str]:
    """The cells of a dry run, in words."""
    return re.findall(r"^  missing  (.*)$", out, re.MULTILINE)


@pytest.fixture
def mine(sweeps: Sweeps, tmp_path: Path) -> Callable[[str], None]:
    """Write the sweep file `mine`."""

    def write(text: str) -> None:
        (tmp_path / "sweeps" / "mine.yaml").write_text(text)

    return write


def test_axes_that_move_together_are_one_axis() -> None:
    axes = {"seed": ["0", "1"], "map": ["ridge", "cca"], "layer": ["4", "2"]}
    together = steps(axes, [["layer", "map"]])
    assert together == [[("seed=0",), ("seed=1",)], [("layer=4", "map=ridge"), ("layer=2", "map=cca")]]
    assert product(together)[1] == ("seed=0", "layer=2", "map=cca")
    assert len(product(steps(axes))) == 8
    # What is fixed in one grid has nothing to move with there.
    assert steps({"layer": ["4"], "seed": ["0"]}, [["layer", "map"]]) == [[("layer=4",)], [("seed=0",)]]


def test_what_is_left_out_is_told_by_value_however_it_is_written() -> None:
    excluded = Exclusions([{"layer": [1, 0.5], "map.penalty": 0.001}, {"dataset.size": None, "task.save_map": True}])
    kept = [
        (("layer='1'", "map.penalty=1e-3"), False),
        (("layer=0.5", "map.penalty=0.001"), False),
        (("layer=1.0", "map.penalty=1e-3"), True),
        (("layer=1",), True),
        (("dataset.size=null", "task.save_map=true"), False),
        (("dataset.size=10", "task.save_map=true"), True),
    ]
    for overrides, stays in kept:
        assert excluded.keeps(overrides) is stays, overrides
    assert excluded.n_matched == [2, 1]


def test_several_grids_zipped_and_with_cells_left_out_make_one_sweep(
    mine: Callable[[str], None], bridge: Bridge
) -> None:
    mine(FILE)
    said = bridge("sweep", "mine", "--dry-run")
    assert (said.code, said.err) == (0, "")
    first = [f"injection=lm_head, layer.source={k}, layer.target={k + 1}" for k in (1, 2, 3)]
    first += [f"injection=soft_prefix, layer.source={k}, layer.target={k + 1}" for k in (1, 3)]
    second = [f"pair={pair}, layer={k}, map=ridge" for pair in ("tiny", "tiny_same") for k in range(5)]
    assert labels(said.out) == first + second
    assert "  layer.source: 1, 2, 3 (3)\n" in said.out
    # The command line replaces axes in every grid, and what it leaves nothing of need not be left out.
    said = bridge("sweep", "mine", "--dry-run", "injection=late_layer", "pair=tiny")
    assert (said.code, said.err) == (0, "")
    assert labels(said.out) == [
        *(f"layer.source={k}, layer.target={k + 1}" for k in (1, 2, 3)),
        *(f"layer={k}, map=ridge" for k in range(5)),
    ]


def test_a_pair_can_move_with_another_axis(mine: Callable[[str], None], bridge: Bridge) -> None:
    grid = "seed: [0, 1], pair: [tiny, tiny_same], injection: [lm_head, late_layer]"
    mine(
        "defaults: [config, _self_]\nsweep: {name: mine, zip: [[injection, pair]]}\n"
        f"hydra: {{mode: MULTIRUN, sweeper: {{params: {{{grid}}}}}}}\n"
    )
    said = bridge("sweep", "mine", "--dry-run")
    assert said.code == 0, said.err
    assert sorted(labels(said.out)) == sorted(
        f"seed={seed}, pair={pair}, injection={injection}"
        for seed in (0, 1)
        for pair, injection in (("tiny", "lm_head"), ("tiny_same", "late_layer"))
    )


@pytest.mark.parametrize("launcher", ["hydra/launcher=basic", "hydra.launcher.jobs=1"])
def test_the_cells_run_on_any_launcher_and_do_not_know_of_the_axes(
    mine: Callable[[str], None], bridge: Bridge, bare_outputs: Path, launcher: str
) -> None:
    mine(
        "defaults: [config, override hydra/launcher: local, _self_]\n"
        "sweep: {name: mine, zip: [[layer.source, layer.target]], grids: [{layer.source: [1, 2], layer.target: [3, 4]}, "
        "{layer: final, map: [ridge]}], exclude: [{layer.source: 1}]}\n"
        "hydra: {mode: MULTIRUN}\n"
    )
    said = bridge("sweep", "mine", launcher)
    assert (said.code, said.err) == (0, "")
    found = [r.data["config"] for r in record.read_all(bare_outputs)]
    told = {(c["layer"]["source"], c["layer"]["target"], c["map"]["name"]) for c in found}
    assert told == {(2, 4, "orthogonal"), ("final", None, "ridge")}
    nothing = {"name": "mine", "fail_fast": None, "zip": [], "exclude": [], "grids": []}
    assert [config["sweep"] for config in found] == [nothing] * 2
    assert set(read(bare_outputs, "mine").run_ids) == {r.folder.name for r in record.read_all(bare_outputs)}
    assert "nothing left to do" in bridge("sweep", "mine", launcher).out


def test_a_grid_of_the_shell_is_zipped_and_left_out_alike(bridge: Bridge, bare_outputs: Path) -> None:
    axes = ["layer.source=1,2,3", "layer.target=2,3,4", "sweep.zip=[[layer.source,layer.target]]"]
    said = bridge("-m", *axes, "sweep.exclude=[{layer.source:2}]")
    assert (said.code, said.err) == (0, "")
    (name,) = names(bare_outputs)
    assert [cell.overrides for cell in read(bare_outputs, name).cells] == [
        ("layer.source=1", "layer.target=2"),
        ("layer.source=3", "layer.target=4"),
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["layer.source=1,2", "layer.target=2,3,4", "sweep.zip=[[layer.source,layer.target]]"],
            "of axes that move together layer.source has 2, layer.target has 3 values; wanted as many of each: change one, or ",
        ),
        (
            ["layer.source=1,2", "sweep.zip=[[layer.source,layer.targt]]"],
            "sweep.zip names layer.targt; wanted axes of this sweep: name some of layer.source\n",
        ),
        (
            ["seed=1,2", "sweep.zip=[[seed]]"],
            "sweep.zip has the group [seed]; wanted at least two axes in a group: name another",
        ),
        (
            ["seed=1,2", "batch_size=1,2", "sweep.zip=[[seed,batch_size],[batch_size,seed]]"],
            "sweep.zip names seed twice; wanted each axis in one group: leave one of them out",
        ),
        (
            ["seed=1,2", "sweep.exclude=[{seed:3}]"],
            "sweep.exclude leaves out seed=3, which no cell has; wanted values that are swept: change the entry, or ",
        ),
        (
            ["seed=1,2", "sweep.exclude=[{sed:1}]"],
            "sweep.exclude names sed; wanted axes of this sweep: name some of seed\n",
        ),
        (["seed=1,2", "sweep.exclude=[{}]"], "sweep.exclude has an entry without axes, which every cell matches"),
        (["seed=1,2", "sweep.exclude=[{seed:1},{seed:2}]"], "sweep.exclude leaves no cell of the grid"),
        (
            ["sweep.grids=[{seed:[1,2]},{seed:[2,3]}]"],
            "the grid has the cell seed=2 twice; wanted each once: leave out the value that is given twice",
        ),
        (
            [
                "seed=1,2",
                "sweep.zip=[[seed,batch_size]]",
                "batch_size=1,2",
                "hydra/sweeper=basic",
                "hydra/launcher=local",
            ],
            "sweep.zip has no effect here; wanted hydra/sweeper=grid: leave the other sweeper or sweep.zip out",
        ),
    ],
)
def test_axes_that_cannot_be_meant_get_one_line_and_leave_nothing(
    bridge: Bridge, bare_outputs: Path, words: list[str], told: str
) -> None:
    said = bridge("-m", *words)
    assert said.code == 1
    assert said.err.startswith(f"bridge: {told}"), said.err
    assert said.err.count("\n") == 1
    assert not (bare_outputs / "runs").exists()
    assert not (bare_outputs / "sweeps").exists()


def test_an_entry_of_the_file_that_leaves_nothing_out_is_refused(mine: Callable[[str], None], bridge: Bridge) -> None:
    mine(FILE.replace("[2, 9]", "[8, 9]"))
    said = bridge("sweep", "mine", "--dry-run", "seed=6")
    assert said.code == 1
    assert "sweep.exclude leaves out injection=soft_prefix, layer.source=8,9, which no cell has;" in said.err


def test_a_combination_that_makes_no_sense_can_be_left_out(mine: Callable[[str], None], bridge: Bridge) -> None:
    # dataset.wordings=all is refused with dataset.split.by=item, and all cells are composed apart from each other.
    grid = "dataset.wordings: [all, held_out], dataset.split.by: [item, subject], seed: [0, 1, 2, 3, 4, 5]"
    text = f"defaults: [config, _self_]\nhydra: {{mode: MULTIRUN, sweeper: {{params: {{{grid}}}}}}}\nsweep:\n  name: mine\n"
    mine(text)
    assert "dataset.wordings=all asks each fact several times" in bridge("sweep", "mine", "--dry-run").err
    mine(text + "  exclude: [{dataset.wordings: all, dataset.split.by: item}]\n")
    said = bridge("sweep", "mine", "--dry-run")
    assert said.code == 0, said.err
    assert "mine: 18 cells (18 missing)" in said.out


def test_unequal_numbers_are_refused_by_the_function_too() -> None:
    with pytest.raises(ConfigError, match="map has 2, layer has 0"):
        steps({"map": ["ridge", "cca"]}, [["map", "layer"]])


def test_the_examples_of_the_page_are_sweeps(mine: Callable[[str], None], bridge: Bridge) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    depth, depths = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    mine(depth)
    said = bridge("sweep", "mine", "--dry-run")
    assert "depth: 6 cells" in said.out, said.err
    assert "layer=final, dataset.size=200" in said.out
    mine(f"defaults: [config, _self_]\n{depths}hydra: {{mode: MULTIRUN}}\n")
    assert "depths: 14 cells" in bridge("sweep", "mine", "--dry-run").out
    assert "depths: 13 cells" in bridge("sweep", "mine", "--dry-run", "injection=lm_head").out
    (command,) = re.findall(r"```\nbridge (.*?)\n```", page)
    said = bridge("sweep", "mine", *shlex.split(command)[1:], "sweep.grids=[]", "--dry-run")
    assert "depths: 2 cells" in said.out, said.err
