"""The one function that permutes rows: published numbers rest on its draws."""

import pytest
import torch

from bridge.errors import FitError
from bridge.permutations import permutations, stratified

LABELS = torch.tensor([0, 0, 1, 1, 1])
NINE = torch.tensor([2, 0, 1, 0, 2, 2, 1, 0, 3])


def drawn(n: int = 5, n_draws: int = 2, **options: object) -> list[list[int]]:
    return permutations(n, n_draws, torch.Generator().manual_seed(0), **options).tolist()  # type: ignore[arg-type]


def test_the_draws_are_those_that_records_were_computed_with() -> None:
    assert drawn() == [[4, 0, 1, 3, 2], [3, 4, 0, 1, 2]]
    assert drawn(at_once=True) == [[2, 4, 1, 3, 0], [1, 4, 2, 3, 0]]
    assert drawn(labels=LABELS) == [[0, 1, 4, 3, 2], [0, 1, 3, 4, 2]]
    assert drawn(labels=LABELS, at_once=True) == [[1, 0, 2, 4, 3], [1, 0, 4, 2, 3]]


@pytest.mark.parametrize("at_once", [False, True])
def test_every_permutation_holds_every_row_once_and_labels_hold_their_rows(at_once: bool) -> None:
    labels = torch.tensor([2, 0, 1, 0, 2, 1, 1, 2, 0])
    for draw in drawn(9, 50, labels=labels, at_once=at_once):
        assert sorted(draw) == list(range(9))
        assert labels[draw].tolist() == labels.tolist()
    assert len({tuple(draw) for draw in drawn(9, 50, at_once=at_once)}) > 40


def test_no_permutation_is_refused() -> None:
    with pytest.raises(FitError, match="n_permutations is 0; wanted at least 1"):
        drawn(n_draws=0)


def one_label_at_a_time(permutation: torch.Tensor) -> list[int]:
    places: dict[int, list[int]] = {}
    rows: dict[int, list[int]] = {}
    for place, (label, row) in enumerate(zip(NINE.tolist(), permutation.tolist(), strict=True)):
        places.setdefault(label, []).append(place)
        rows.setdefault(int(NINE[row]), []).append(row)
    result = [-1] * len(NINE)
    for label, at in places.items():
        for place, row in zip(at, rows[label], strict=True):
            result[place] = row
    return result


def test_rows_of_a_label_come_in_the_order_of_the_free_permutation() -> None:
    free = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(seed)) for seed in range(20)])
    within = stratified(free, NINE)
    assert within.tolist() == [one_label_at_a_time(permutation) for permutation in free]
    assert (NINE[within] == NINE).all()
    assert within.unique(dim=0).shape[0] > 10
