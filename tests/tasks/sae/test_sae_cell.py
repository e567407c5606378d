"""Cells of task=sae through the command line: a known answer, what is kept, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import rotation
from rotated import Cell, local, reader, run_bridge
from rotated_copy import write_rotated_copy

from bridge.data.dyck import Strings, generate, label
from bridge.models.cohort import tensors
from bridge.models.dyck import losses
from bridge.models.loading import load
from bridge.models.loss import string_losses
from bridge.sae.formats import load_sae, save_sae
from bridge.tasks.sae import kept

SMALL = ["task=sae", "task.n_steps=150", "task.expansion=4", "task.k=6", "task.n_draws=3", "task.n_resamples=100"]
DEEP = "task.sites=[resid_post_1]"


@pytest.fixture
def copied(readers: Path, tmp_path: Path) -> list[str]:
    """The words for a trained model as the source and its rotated copy as the target."""
    model = reader(readers, 100)
    return local(model, write_rotated_copy(model, tmp_path / "copy", rotation(64, 5)))


def mean(cell: Cell, condition: str, metric: str = "ev") -> float:
    return cell.scores(condition, metric)[-1]


def test_the_features_of_a_model_explain_its_rotated_copy_as_well_as_itself(
    copied: list[str], reader_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = run_bridge(reader_outputs, capsys, *SMALL, *copied, "task.sites=[resid_mid_0,resid_post_1]")
    assert (cell.code, cell.err) == (0, "")
    data = cell.record
    assert data["valid"]
    for site, ev, carried in zip(data["sites"].values(), cell.scores("rotated"), cell.scores("carried"), strict=True):
        assert ev == pytest.approx(site["ev_of_source_on_source"], abs=1e-4)
        assert carried == pytest.approx(ev, abs=1e-4)
    # Raw, and through rotations that know nothing of the pairing, far less is explained.
    for control in ("random", "shuffled", "recentred", "raw"):
        assert mean(cell, control) < mean(cell, "rotated") - 0.2, control
    assert mean(cell, "rotated", "loss_recovered") > 0.9
    # Two SAEs of one model are as alike as the source's, rotated, and the target's.
    alike = mean(cell, "rotated", "cosine_best"), mean(cell, "second", "cosine_best")
    assert alike[0] == pytest.approx(alike[1], abs=0.1)
    assert mean(cell, "recentred", "cosine_best") < alike[0] - 0.05
    assert cell.scores("rotated", "l0") == pytest.approx([6, 6], abs=0.5)
    # A crosscoder needs no rotation.
    assert mean(cell, "crosscoder") > 0.3


def test_saes_are_trained_once_and_serve_every_pair(
    copied: list[str], reader_outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*SMALL, *copied, DEEP, "task.crosscoder=false", "task.loss=false", "seed=3"]
    first = run_bridge(reader_outputs, capsys, *words)
    asked: list[int] = []
    monkeypatch.setattr(kept, "train_saes", lambda X, specs: asked.append(len(specs)))
    again = run_bridge(reader_outputs, capsys, *words, "recompute=true")
    assert not asked
    assert again.record["points"] == first.record["points"]
    assert again.record["absent"] == {"crosscoder": "task.crosscoder is false"}
    assert "loss_recovered" not in again.record["points"][0]["scores"]["rotated"]


def test_an_sae_of_a_file_takes_the_place_of_a_trained_one(
    copied: list[str], reader_outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, *copied, DEEP, "task.crosscoder=false", "task.loss=false", "seed=3"]
    trained = run_bridge(reader_outputs, capsys, *words)
    hashes = trained.record["sites"]["resid_post_1"]["weights"]
    folders = {kept.weights_hash(load_sae(path)): path for path in (reader_outputs / "artefacts/sae").glob("[!.]*")}
    save_sae(load_sae(folders[hashes["source"]]), tmp_path / "mine", "dictionary_learning")
    (reader_outputs / "runs").rename(tmp_path / "runs")
    given = run_bridge(reader_outputs, capsys, *words, f"task.source_sae={tmp_path / 'mine'}")
    assert given.scores("rotated") == pytest.approx(trained.scores("rotated"), abs=1e-6)
    assert set(given.record["absent"]) == {"crosscoder", "frozen", "shared_start"}


def test_two_saes_share_no_random_number_unless_they_shall() -> None:
    seeds = {kept.seed_of(model, role, seed) for model in "ab" for role in ("first", "second") for seed in (0, 1)}
    assert len(seeds) == 8


def test_the_loss_of_a_reader_is_the_sum_of_its_heads(readers: Path) -> None:
    lm = load(str(reader(readers, 100)), kind="dyck")
    strings = generate(40, np.random.default_rng(0), (6, 6))
    labels = tensors(strings, label(strings))
    each = []
    for i in range(40):
        one = Strings(strings.ids[i : i + 1], strings.lengths[i : i + 1])
        with torch.no_grad():
            each.append(
                float(losses(lm.model(torch.from_numpy(one.ids)), *(part[i : i + 1] for part in labels[1:])).sum())
            )
    assert string_losses(lm, labels[0]).tolist() == pytest.approx(each, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["task.source_sae=nowhere"], "no SAE in nowhere; wanted a folder of"),
        (["task.source_sae=NARROW"], "NARROW is an SAE of width 8; wanted 64, that of the models: give another one"),
        (["task.source_sae=NARROW", "task.sites=all"], "an SAE was given for 6 sites; wanted one site"),
        (["task.kind=sparse"], "kind=sparse; wanted one of topk, batch_topk, relu_l1"),
        (["task.k=4000"], "k = 4000 for 256 features; wanted at most 256"),
        (["task.n_draws=1"], "task.n_draws=1 is too few; wanted at least 2: raise it"),
        (["task.sites=[resid_mid_7]"], "site resid_mid_7 is not in"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(
    words: list[str], says: str, copied: list[str], reader_outputs: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from bridge.sae.base import SAE

    narrow = SAE("relu_l1", torch.eye(8), torch.zeros(8), torch.eye(8), torch.zeros(8))
    save_sae(narrow, tmp_path / "narrow")
    cell = run_bridge(
        reader_outputs,
        capsys,
        *SMALL,
        *copied,
        DEEP,
        *(word.replace("NARROW", str(tmp_path / "narrow")) for word in words),
    )
    assert cell.code != 0
    assert re.fullmatch(r"bridge: [^\n]+\n", cell.err), cell.err
    assert says.replace("NARROW", str(tmp_path / "narrow")) in cell.err
