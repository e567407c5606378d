"""Stratified permutation against a slow loop over labels."""

import torch

from bridge.carry.draws import permutations
from bridge.permutations import stratified
from bridge.similarity.calibration import random_permutations

LABELS = torch.tensor([2, 0, 1, 0, 2, 2, 1, 0, 3])


def one_label_at_a_time(permutation: torch.Tensor) -> list[int]:
    places: dict[int, list[int]] = {}
    rows: dict[int, list[int]] = {}
    for place, (label, row) in enumerate(zip(LABELS.tolist(), permutation.tolist(), strict=True)):
        places.setdefault(label, []).append(place)
        rows.setdefault(int(LABELS[row]), []).append(row)
    result = [-1] * len(LABELS)
    for label, at in places.items():
        for place, row in zip(at, rows[label], strict=True):
            result[place] = row
    return result


def test_rows_of_a_label_come_in_the_order_of_the_free_permutation() -> None:
    free = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(seed)) for seed in range(20)])
    within = stratified(free, LABELS)
    assert within.tolist() == [one_label_at_a_time(permutation) for permutation in free]
    assert (LABELS[within] == LABELS).all()
    assert within.unique(dim=0).shape[0] > 10


def test_controls_and_similarity_stratify_their_own_free_draws_in_the_same_way() -> None:
    for draw in (
        lambda labels, generator: permutations(labels, 9, 5, generator),
        lambda labels, generator: random_permutations(9, 5, generator, labels),
    ):
        free, within = (draw(labels, torch.Generator().manual_seed(3)) for labels in (None, LABELS))
        assert torch.equal(within, stratified(free, LABELS))
        assert not torch.equal(within, free)
