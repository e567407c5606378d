"""A map that one cell leaves is put to use in another, and never on the items that it was fitted on."""

import json
import shutil
from pathlib import Path

import pytest
from declared import point
from untrained import SMALL, make_models

from bridge.config import compose_config, to_plain
from bridge.errors import BridgeError, ConfigError
from bridge.maps.adapter import Adapter
from bridge.maps.loading import load_map
from bridge.records.record import Record
from bridge.run import run
from bridge.session import Session
from bridge.tasks.translate.metrics import STATES

LATE = ("injection=late_layer", "layer=2", "dataset.split.eval_size=12", "dataset.size=40")
OTHER_WEIGHTS, OTHER_WIDTH = "pair.target.zoo.n_steps=1", "pair.target.zoo.width=48"
NOT_FITTED_AGAIN = {"shuffled", "shuffled_within", "bag_of_words", "clustered", "same_model"}


@pytest.fixture(scope="module")
def session(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    make_models(untrained, OTHER_WEIGHTS)
    make_models(untrained, OTHER_WIDTH)
    outputs = tmp_path_factory.mktemp("kept")
    (outputs / "artefacts").mkdir()
    (outputs / "artefacts" / "model").symlink_to(untrained / "model")
    return Session(outputs, "cpu", 64)


def cell(session: Session, *overrides: str) -> Record:
    return run(compose_config(*SMALL, f"paths.outputs={session.outputs}", *LATE, *overrides), session)


@pytest.fixture(scope="module")
def fitted(session: Session) -> Record:
    return cell(session, "map=ridge", "task.save_map=true")


@pytest.fixture(scope="module")
def folder(fitted: Record) -> Path:
    return Path(fitted.data["map_folder"])


def test_a_kept_map_scores_as_it_did_where_it_was_fitted(session: Session, fitted: Record, folder: Path) -> None:
    assert folder.parent == session.outputs / "artefacts" / "map"
    kept = cell(session, "map=saved", f"map.path={folder.name}")
    assert kept.data["warnings"] == []
    for name in ("fitted", "random", "identity", "mean", "lookup", "planted"):
        assert point(kept.data)["scores"][name] == point(fitted.data)["scores"][name], name
    assert "explained_variance" in point(kept.data)["scores"]["fitted"]
    assert kept.data["absent"].keys() >= NOT_FITTED_AGAIN
    assert kept.data["absent"]["shuffled"] == "the map was fitted before and is not fitted again"
    assert not point(kept.data)["scores"].keys() & NOT_FITTED_AGAIN
    assert fitted.data["fit"]["rank"] == kept.data["fit"]["rank"]
    assert kept.data["fit"]["solver"].startswith("kept: ")
    assert not {"cycle", "in_sample"} & kept.data["fit"].keys()


def test_a_kept_map_is_not_changed_by_the_rows_of_another_cell(session: Session, folder: Path) -> None:
    few = cell(session, "map=saved", f"map.path={folder}", "dataset.size=10")
    many = cell(session, "map=saved", f"map.path={folder}", "dataset.size=30")
    ours, theirs = (point(made.data)["scores"]["fitted"] for made in (few, many))
    # Scores of states are beside the mean of the cell's own fit rows.
    of_states = {metric.name for metric in STATES}
    assert ours.keys() == theirs.keys() > of_states
    assert {k: v for k, v in ours.items() if k not in of_states} == {
        k: v for k, v in theirs.items() if k not in of_states
    }
    assert point(few.data)["scores"]["mean"] != point(many.data)["scores"]["mean"]
    # what it was fitted on is known, though fewer rows are fitted here
    assert point(few.data)["parts"]["new"]["n"] == point(many.data)["parts"]["new"]["n"]


def test_another_layer_is_warned_of_in_one_line(session: Session, folder: Path) -> None:
    data = cell(session, "map=saved", f"map.path={folder}", "layer=1").data
    (line,) = data["warnings"]
    assert line == f"the map in {folder} was fitted for source_layer=2, target_layer=2"


def test_other_weights_are_warned_of_and_other_widths_are_refused(session: Session, folder: Path) -> None:
    data = cell(session, "map=saved", f"map.path={folder}", OTHER_WEIGHTS).data
    assert data["warnings"] == [f"the map in {folder} was fitted for target=tiny-mistral with other weights"]
    text = f"^the map in {folder} was fitted for widths 32 -> 32, got 32 -> 48; wanted equal widths: give the pair that it was fitted for"
    with pytest.raises(BridgeError, match=text):
        cell(session, "map=saved", f"map.path={folder}", OTHER_WIDTH)


def test_items_that_the_map_was_fitted_on_are_never_scored(session: Session, folder: Path) -> None:
    with pytest.raises(
        BridgeError, match=rf"^the map in {folder} was fitted on \d+ of the 12 eval items, so its score"
    ):
        cell(session, "map=saved", f"map.path={folder}", "seed=3")


def test_a_map_that_does_not_say_what_it_was_fitted_on_is_warned_of(
    session: Session, folder: Path, tmp_path: Path
) -> None:
    Adapter.load(folder).save(tmp_path / "mine", {"source_layer": 2})
    (line,) = cell(session, "map=saved", f"map.path={tmp_path / 'mine'}").data["warnings"]
    assert line == f"the map in {tmp_path / 'mine'} does not say what it was fitted on: eval items may be in it"


def test_a_cell_is_computed_again_when_the_map_behind_it_is_another(
    session: Session, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "map")
    words = ("map=saved", f"map.path={tmp_path / 'map'}", "control.names=[fitted,mean]")
    first = cell(session, *words)
    assert cell(session, *words).reused
    about = json.loads((tmp_path / "map" / "map.json").read_text())
    (tmp_path / "map" / "map.json").write_text(json.dumps({**about, "facts": {**about["facts"], "rank_": 1}}))
    again = cell(session, *words)
    assert not again.reused
    assert again.data["inputs"]["map"] != first.data["inputs"]["map"]
    assert again.data["fit"]["rank"] == 1


def test_a_kept_map_can_be_kept_again(session: Session, folder: Path) -> None:
    again = Path(cell(session, "map=saved", f"map.path={folder}", "task.save_map=true").data["map_folder"])
    assert again != folder
    assert type(load_map(again)).__name__ == "Ridge"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], r"^no value for map.path; wanted one: add map.path=\.\.\. to the command line$"),
        (["map.path=12ab"], r"^no map 12ab in .*/artefacts; wanted one of .+: check the key$"),
        (
            ["map.path={outputs}"],
            r"^no map in .*, as .*map.json cannot be read \(No such file or directory\); wanted a saved map: ",
        ),
        (["map.path={folder}", "map.training.loss=target"], r"^Saved cannot be trained through the target; wanted"),
    ],
)
def test_a_map_that_cannot_be_put_to_use_gets_one_line(
    session: Session, folder: Path, words: list[str], text: str
) -> None:
    words = [word.format(outputs=session.outputs, folder=folder) for word in words]
    with pytest.raises((BridgeError, ConfigError), match=text) as caught:
        cell(session, "map=saved", *words)
    assert "\n" not in str(caught.value)


def test_two_cells_that_fit_one_map_keep_it_once(session: Session, folder: Path) -> None:
    words = ("map=ridge", "task.save_map=true", "control.names=[fitted,mean]")
    assert cell(session, *words).data["map_folder"] == str(folder)
    (artefact,) = [a for a in session.artefacts.list("map") if a.folder == folder]
    assert artefact.made_from["map"] == to_plain(compose_config("map=ridge"))["map"]
