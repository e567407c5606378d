"""What task=rotation cannot compute is refused in one line, and leaves a record that says so."""

import re
from pathlib import Path

import numpy as np
import pytest
from planted import rotation
from rotated import READERS, local, reader, rotated
from untrained import UNTRAINED

from bridge.models.cohort import make_reader, make_tokenizer
from bridge.models.recipe import DyckSpec


def refusal(outputs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that failed."""
    cell = rotated(outputs, capsys, *words)
    assert cell.code != 0
    assert re.fullmatch(r"bridge: [^\n]+\n", cell.err), cell.err
    assert (cell.record["status"], cell.record.get("points", [])) == ("failed", [])
    return cell.err.removeprefix("bridge: ").strip()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["task.sites=[resid_post_2]"],
            "site resid_post_2 is not in dyck3-fast-seed101; wanted embed, or resid_pre_B, resid_mid_B or resid_post_B with "
            "B from 0 to 1: change task.sites",
        ),
        (["task.sites=[resid_0]"], "site resid_0 is not in dyck3-fast-seed101; wanted embed, or resid_pre_B"),
        (["task.sites=nowhere"], "site nowhere is not in dyck3-fast-seed101; wanted embed, or resid_pre_B"),
        (
            ["task.sites=[]"],
            "task.sites is empty; wanted all or names such as [resid_mid_0,resid_post_1]: give some",
        ),
        (["task.sites=3"], "task.sites=3 is no list of names; wanted all or names such as [resid_mid_0,resid_post_1]"),
        (["task.sites=null"], "task.sites=None is no list of names; wanted all or names"),
        (["task.n_draws=1"], "task.n_draws=1 is too few; wanted at least 2: raise it"),
        (["task.n_haar=5"], "task.n_haar=5 is too few; wanted at least 19: raise it"),
        (["task.n_resamples=0"], "task.n_resamples=0 is too few; wanted at least 100: raise it"),
        (
            ["task.matrix=nowhere.npy"],
            "no file nowhere.npy; wanted a matrix in one of .npy, .safetensors, .txt, .csv: correct the path",
        ),
        (
            ["task.matrix_name=R"],
            "task.matrix_name=R names a tensor of no file; wanted task.matrix as well: give both or neither",
        ),
    ],
)
def test_options_out_of_range_are_refused(
    reader_outputs: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert refusal(reader_outputs, capsys, *READERS, *words).startswith(text)


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (
            np.ones((64, 64)),
            "holds no rotation (R'R differs from I by up to 64); wanted at most 0.0001: give an orthog",
        ),
        (np.eye(64)[:, :63], "holds no rotation (a matrix of shape (64, 63)); wanted a square one of width 2 or more"),
        (rotation(48).numpy(), "has shape (48, 48); wanted (64, 64), the width of both models: give another file"),
    ],
    ids=["not orthogonal", "not square", "of another width"],
)
def test_a_matrix_that_is_no_rotation_of_the_states_is_refused(
    reader_outputs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, matrix: np.ndarray, text: str
) -> None:
    np.save(tmp_path / "matrix.npy", matrix)
    words = [*READERS, f"task.matrix={tmp_path / 'matrix.npy'}", "task.sites=[embed]"]
    assert text in refusal(reader_outputs, capsys, *words)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ({"width": 32}, "has width 64 and {} 32; wanted equal widths, as a rotation is square: choose another pair"),
        (
            {"n_blocks": 3},
            "has 2 blocks and {} 3; wanted as many, as each site is compared with itself: choose another pair",
        ),
    ],
    ids=["width", "blocks"],
)
def test_models_of_another_shape_are_refused(
    reader_outputs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, shape: dict[str, int], text: str
) -> None:
    other = tmp_path / "other"
    make_reader(DyckSpec(**shape)).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    capsys.readouterr()
    own = reader(reader_outputs / "artefacts", 100)
    assert refusal(reader_outputs, capsys, *local(own, other)) == f"{own} {text.format(other)}"


def test_models_of_two_tokenizers_are_refused(bare_outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*UNTRAINED, "pair=tiny", "dataset=facts"]
    line = refusal(bare_outputs, capsys, *words)
    assert re.fullmatch(
        r"'.*' has \d+ tokens for tiny-llama and \d+ for tiny-mistral; wanted as many for both, as states are matched "
        r"token by token: give models of one tokenizer",
        line,
    )
