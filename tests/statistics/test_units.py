"""Units of inference: how many there are, and how many they are worth."""

import pytest
import torch
from noise import clustered, gaussian

from bridge.errors import FitError
from bridge.statistics.units import Units, effective_units, n_units, unit_sums


def test_units_are_counted_whatever_their_labels_and_order():
    assert n_units(torch.tensor([7, -2, 7, 900, -2])) == 3
    assert n_units(torch.tensor([4])) == 1
    assert n_units(torch.tensor([], dtype=torch.long)) == 0


def test_units_of_equal_size_count_whole_and_a_large_one_takes_from_the_rest():
    assert effective_units(torch.arange(12) // 3) == pytest.approx(4.0)
    assert effective_units(torch.arange(9)) == pytest.approx(9.0)
    assert effective_units(torch.zeros(5)) == pytest.approx(1.0)
    # 8 of one unit and 2 of others: 100 / (64 + 1 + 1)
    assert effective_units(torch.tensor([0] * 8 + [1, 2])) == pytest.approx(100 / 66)


def test_the_mean_of_items_that_are_alike_within_units_varies_as_that_of_so_many_units():
    groups = torch.arange(12).repeat_interleave(torch.tensor([1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 6, 9]))
    means = gaussian(12, 40_000)[groups].mean(0)
    assert float(means.var()) == pytest.approx(1.0 / effective_units(groups), rel=0.03)


def test_sums_and_sizes_are_those_of_each_unit_in_the_order_of_the_labels():
    values = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums, sizes = unit_sums(values, torch.tensor([5, -1, 5]))
    assert sums.tolist() == [[2.0, 20.0], [5.0, 50.0]]
    assert sizes.tolist() == [[1.0], [2.0]]
    alone, ones = unit_sums(values, None)
    assert alone.tolist() == values.tolist()
    assert ones.tolist() == [[1.0]] * 3


def test_labels_that_are_not_one_an_item_are_refused():
    values, _ = clustered(3, 2, 1, seed=0)
    for groups in (torch.zeros(2), Units(torch.zeros(2))):
        with pytest.raises(FitError, match=r"^groups have shape \(2,\); wanted \(6,\): give one label an item$"):
            unit_sums(values, groups)
