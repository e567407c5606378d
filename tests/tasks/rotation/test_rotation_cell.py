"""Cells of task=rotation through the command line: a known answer, models that learnt nothing, models that did."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from planted import rotation
from rotated import FEW, READERS, Cell, local, reader, rotated
from rotated_copy import write_rotated_copy

import bridge.models.dyck  # noqa: F401
from bridge.config import compose_config
from bridge.results.verdicts import is_beaten
from bridge.rotations.fits import axes, fit_rotations
from bridge.rotations.states import site_states
from bridge.session import Session
from bridge.tasks.rotation import TASK

SITES = ["embed", "resid_pre_0", "resid_mid_0", "resid_post_0", "resid_mid_1", "resid_post_1"]
NEGATIVE = ("random", "shuffled", "shuffled_within", "spectrum", "identity", "mean", "inputs")
D = 64
R = rotation(D, 5)


@pytest.fixture
def copied(readers: Path, tmp_path: Path) -> list[str]:
    """The words for a trained model as the source and its rotated copy as the target."""
    model = reader(readers, 100)
    return local(model, write_rotated_copy(model, tmp_path / "copy", R))


def beaten(cell: Cell) -> list[set[str]]:
    """The negative controls that are beaten at each site, taken alone."""
    return [
        {name for name in NEGATIVE if is_beaten(point["contrasts"][name]["ev"], TASK.by_name["ev"])}
        for point in cell.record["points"]
    ]


def verdicts(cell: Cell) -> list[str]:
    """The last column of the printed table, at each site."""
    return re.findall(r"^rotation +\S+ .* (yes|no) *$", cell.out, flags=re.M)


def test_a_rotated_copy_computes_the_same_function(copied: list[str]) -> None:
    source, target = (
        transformers.AutoModel.from_pretrained(word.partition("=")[2]) for word in copied if ".name=" in word
    )
    ids = torch.randint(0, 9, (8, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, two = source(ids), target(ids)
    for head in ("bracket", "depth", "validity"):
        torch.testing.assert_close(one[head], two[head], atol=1e-5, rtol=0)
    rotated_back = two.last_hidden_state.double() @ R.T
    torch.testing.assert_close(rotated_back, one.last_hidden_state.double(), atol=1e-5, rtol=0)


def test_the_rotation_of_a_copy_is_recovered_wherever_states_vary(copied: list[str], tmp_path: Path) -> None:
    config = compose_config(*FEW, *copied, f"paths.outputs={tmp_path}")
    states = site_states(config, Session(tmp_path, "cpu", 64), "all")
    ranks = []
    for depth in states.depths:
        X, Y = (part - part.mean(0) for part in states.at(depth, states.fit))
        variances, Q = (X @ axes(X)).square().sum(0), axes(X)
        # Weaker directions are below what single precision keeps of the states.
        there = Q[:, variances > 1e-4 * variances[0]]
        ranks.append(there.shape[1])
        error = (there.T @ (fit_rotations(X, Y) - R)).abs().max()
        assert float(error) < 1e-6, depth
    assert ranks[0] <= 9
    assert min(ranks[2:]) > 20


def test_a_model_and_its_rotated_copy_are_one_up_to_a_rotation(
    copied: list[str], reader_outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "planted.npy", R.numpy())
    cell = rotated(reader_outputs, capsys, *copied, f"task.matrix={tmp_path / 'planted.npy'}")
    assert (cell.code, cell.err) == (0, "")
    data = cell.record
    assert (data["valid"], list(data["sites"])) == (True, SITES)
    assert all(gate["passed"] for gate in data["gates"].values())
    for condition in ("rotated", "given", "linear"):
        assert cell.scores(condition) == pytest.approx([1.0] * 6, abs=1e-9), condition
    for control in ("random", "shuffled", "spectrum", "identity", "mean"):
        assert max(cell.scores(control)) < 0.9, control
    # What the embeddings give is the token alone, and the first two sites are linear in what was read.
    assert cell.scores("shuffled_within")[0] == pytest.approx(1.0, abs=1e-9)
    assert cell.scores("inputs")[:2] == pytest.approx([1.0, 1.0], abs=1e-6)
    assert beaten(cell)[2:] == [set(NEGATIVE)] * 4
    assert "shuffled_within" not in beaten(cell)[0]
    assert verdicts(cell)[0] == "no"
    # R is determined after the first block, and so has its distance and determinant.
    distance = float((R - torch.eye(D, dtype=R.dtype)).norm())
    assert cell.scores("given", "distance") == pytest.approx([distance] * 6, rel=1e-5)
    assert cell.scores("rotated", "distance")[3:] == pytest.approx([distance] * 3, rel=1e-4)
    facts = [data["sites"][site] for site in SITES]
    assert [about["determinant"] for about in facts[3:]] == [round(float(torch.linalg.det(R)))] * 3
    assert [about["rank"]["source"] for about in facts] == [about["rank"]["target"] for about in facts]
    for about in facts:
        assert about["split_half"]["n_stable"] == about["rank"]["source"]
        assert about["null_share"] == pytest.approx(1 - about["rank"]["source"] / D)
    assert facts[-1]["split_half"]["distance"] < 1e-3
    assert data["n_rows"]["fit"] > data["n_rows"]["held"] > 300


def test_models_that_were_never_trained_are_above_the_controls_nowhere(
    reader_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = rotated(reader_outputs, capsys, *READERS, "pair.source.zoo.checkpoint=0")
    assert (cell.code, cell.err) == (0, "")
    assert verdicts(cell) == ["no"] * 6
    assert not any(is_above == set(NEGATIVE) for is_above in beaten(cell))
    assert [point["axes"]["step"] for point in cell.record["points"]] == [0] * 6
    # A rotation explains much of what they compute, and what was read explains all of it.
    assert min(cell.scores("rotated")) > 0.5
    assert min(cell.scores("inputs")) > 0.9
    assert cell.record["valid"]


def test_trained_models_are_above_the_controls_at_the_last_site(
    reader_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*READERS, "task.sites=[resid_pre_0,resid_post_0,resid_post_1]"]
    cell = rotated(reader_outputs, capsys, *words)
    assert (cell.code, cell.err) == (0, "")
    assert [point["axes"] for point in cell.record["points"]] == [
        {"depth": 0.0, "step": 300}, {"depth": 1.0, "step": 300}, {"depth": 2.0, "step": 300},
    ]  # fmt: skip
    assert beaten(cell)[-1] == set(NEGATIVE)
    last = {name: cell.scores(name)[-1] for name in ("rotated", "linear", *NEGATIVE)}
    assert 0.8 < last["rotated"] < last["linear"] < 1.0
    assert max(last[name] for name in NEGATIVE) < last["rotated"] - 0.05
    assert "no given: no task.matrix was named" in cell.out
    assert max(len(line) for line in cell.out.splitlines() if str(reader_outputs) not in line) <= 120


def test_each_condition_is_what_plain_numbers_give(
    reader_outputs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "given.npy", R.numpy())
    words = [*READERS, "task.sites=[resid_post_1]", f"task.matrix={tmp_path / 'given.npy'}"]
    cell = rotated(reader_outputs, capsys, *words)
    (tmp_path / "again" / "artefacts").parent.mkdir()
    (tmp_path / "again" / "artefacts").symlink_to(reader_outputs / "artefacts")
    config = compose_config(*FEW, *words, f"paths.outputs={tmp_path / 'again'}")
    session = Session(tmp_path / "again", "cpu", 64)
    session.locate(config.pair)
    states = site_states(config, session, ["resid_post_1"])
    X, Y = (part.numpy() for part in states.at(2.0, states.fit))
    X_new, Y_new = (part.numpy() for part in states.at(2.0, states.held))
    mean, own = X.mean(0), Y.mean(0)
    U, _, Vh = np.linalg.svd((X - mean).T @ (Y - own))
    linear = np.linalg.lstsq(X - mean, Y - own, rcond=None)[0]
    mapped = {
        "rotated": (X_new - mean) @ U @ Vh + own,
        "given": (X_new - mean) @ R.numpy() + own,
        "linear": (X_new - mean) @ linear + own,
        "identity": X_new - mean + own,
        "raw": X_new,
        "mean": np.broadcast_to(own, Y_new.shape),
    }
    for name, guess in mapped.items():
        expected = 1 - np.square(guess - Y_new).sum() / np.square(Y_new - own).sum()
        assert cell.scores(name) == pytest.approx([expected], abs=1e-6), name
