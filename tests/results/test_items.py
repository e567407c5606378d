"""Per-item scores read back from records, with the units and parts that the cell itself had."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from declared import KINDS, TASK
from declared import METRICS as DECLARED
from synthetic_records import METRICS, N_DRAWS, N_ITEMS, write_cell

from bridge.controls.names import CONTROLS
from bridge.errors import RecordError
from bridge.records.record import Record
from bridge.results.items import ItemScores, item_scores
from bridge.results.joining import comparisons
from bridge.results.scores import contrast, summarize

PARTS = ("all", "new", "known")
TOP1 = DECLARED["top1"]
STATES = ("explained_variance",)


def read(records: Sequence[Record], names: Sequence[str], metrics: Sequence[str]) -> ItemScores:
    return item_scores(records, TASK, names, [DECLARED[name] for name in metrics])


def test_what_is_read_back_gives_the_summaries_of_the_record(tmp_path: Path) -> None:
    made = write_cell(tmp_path, seed=2, metrics=(*METRICS, "token_f1"))
    (c,) = comparisons([made])
    items = read([made], ["fitted", "shuffled", "native_target"], [*METRICS, "token_f1"])
    assert items.branches["shuffled"].metrics["mrr"].shape == (N_DRAWS, N_ITEMS)
    for label in PARTS:
        part = items.part(label, 60, 2)
        scores = c.scores if label == "all" else c.parts[label]["scores"]
        for name, branch in items.branches.items():
            summary = summarize(branch, items.branches["native_target"], part, DECLARED)
            # States have no scores by item.
            assert summary == {m: score for m, score in scores[name].items() if m not in STATES}
        ranked = contrast(
            items.branches["fitted"], items.branches["shuffled"], part, DECLARED, KINDS["shuffled"], label != "known"
        )
        assert ranked == c.contrasts_of(label)["shuffled"]
        wanted = c.point["n"] if label == "all" else c.parts[label]["n"]
        assert part.sizes(TOP1)["n"] == wanted


def test_new_and_known_items_are_all_items_by_token_and_by_whole_answer(tmp_path: Path) -> None:
    items = read([write_cell(tmp_path, metrics=("top1", "token_f1"))], ["fitted"], ["top1", "token_f1"])
    every, new, known = (items.part(label, 10, 0) for label in PARTS)
    for kind in ("token", "whole"):
        masks = [part.masks["items", kind] for part in (every, new, known)]
        assert torch.equal(masks[1], ~masks[2])
        assert masks[0].all()
    token, whole = (known.masks["items", kind] for kind in ("token", "whole"))
    # Some new answers begin with a token that is known.
    assert (whole & ~token).sum() == 0 < (token & ~whole).sum()
    assert (items.part("new", 10, 0).n_resamples, items.part("new", 10, 4).seed) == (10, 4)


def test_controls_are_found_in_whichever_record_has_them(tmp_path: Path) -> None:
    whole = read([write_cell(tmp_path / "whole")], list(KINDS), ["top1"])
    parts = [write_cell(tmp_path / "parts", controls=(name,)) for name in CONTROLS]
    joined = read(parts, list(KINDS), ["top1"])
    assert joined.branches.keys() == whole.branches.keys()
    assert "gold_embedding" not in joined.branches
    for name, branch in whole.branches.items():
        assert torch.equal(joined.branches[name].metrics["top1"], branch.metrics["top1"])
    assert torch.equal(joined.units["items"], whole.units["items"])
    assert read(parts, ["fitted"], ["top1"]).branches.keys() == {"fitted"}


def test_no_record_with_such_a_control_gives_no_items(tmp_path: Path) -> None:
    items = read([write_cell(tmp_path, controls=("random",))], ["fitted"], ["top1"])
    assert items.branches == {}
    assert (items.units, items.masks) == ({}, {})


def test_a_score_that_a_control_does_not_have_is_left_out(tmp_path: Path) -> None:
    made = write_cell(tmp_path)
    table = made.items()
    column = table["kl_nats"].to_pylist()
    names = table["control"].to_pylist()
    holed = [None if name == "native_source" else value for name, value in zip(names, column, strict=True)]
    at = table.column_names.index("kl_nats")

    pq.write_table(table.set_column(at, "kl_nats", pa.array(holed)), made.folder / "items.parquet")
    items = read([made], ["fitted", "native_source"], ["top1", "kl_nats"])
    assert list(items.branches["fitted"].metrics) == ["top1", "kl_nats"]
    assert list(items.branches["native_source"].metrics) == ["top1"]


def test_a_score_that_some_records_lack_is_read_where_it_is(tmp_path: Path) -> None:
    plain, whole = write_cell(tmp_path), write_cell(tmp_path, n=50, metrics=("top1", "token_f1"))
    for made, metrics in ((plain, ["top1"]), (whole, ["top1", "token_f1"])):
        assert list(read([made], ["fitted"], ["top1", "token_f1"]).branches["fitted"].metrics) == metrics


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_record_without_its_items_says_which_and_what_to_do(tmp_path: Path, damage: str) -> None:
    made = write_cell(tmp_path)
    path = made.folder / "items.parquet"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordError, match=rf"^cannot read {path} .*; wanted a whole record: move {made.folder} away"):
        read([made], ["fitted"], ["top1"])
