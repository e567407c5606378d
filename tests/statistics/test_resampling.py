"""Resamples and flips that are drawn once: the same numbers as one by one, for any set of scores."""

import pytest
import torch
from noise import clustered

from bridge.errors import FitError
from bridge.seeds import seeded
from bridge.statistics.flips import paired_permutation_p
from bridge.statistics.intervals import acceleration, expanded_interval, resampled_means
from bridge.statistics.resampling import Resampling


def test_means_and_p_are_those_of_the_functions_with_the_same_generators():
    values, groups = clustered(25, 3, 4, seed=0)
    resampling = Resampling(groups, 499, seed=7)
    means = resampled_means(values, 499, seeded(7, "resamples"), groups)
    assert torch.equal(resampling.means(values), means)
    assert torch.equal(
        resampling.flip_p(values + 0.2), paired_permutation_p(values + 0.2, 499, seeded(7, "flips"), groups)
    )
    assert (resampling.n_units, resampling.n_effective) == (25, pytest.approx(25.0))
    wanted = expanded_interval(means, 25.0, skew=acceleration(values, groups))
    for ours, theirs in zip(resampling.interval(means, values), wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_the_numbers_of_a_score_do_not_depend_on_what_stands_beside_it_or_was_asked_before():
    values, groups = clustered(30, 2, 5, seed=1)
    values += 0.3
    whole, other = Resampling(groups, 299, seed=0), Resampling(groups, 299, seed=0)
    p, means = whole.flip_p(values), whole.means(values)
    for i in reversed(range(5)):
        torch.testing.assert_close(other.means(values[:, [i]]), means[:, [i]], rtol=1e-12, atol=1e-12)
        assert other.flip_p(values[:, [i]]).item() == p[i].item()
    assert torch.equal(whole.means(values), means)


def test_another_seed_gives_other_resamples_and_flips():
    values, groups = clustered(30, 2, 1, seed=1)
    first, second = Resampling(groups, 999, seed=0), Resampling(groups, 999, seed=1)
    assert not torch.equal(first.means(values), second.means(values))
    assert first.flip_p(values) != second.flip_p(values)


def test_no_resamples_are_refused():
    with pytest.raises(FitError, match=r"^number of resamples is 0; wanted at least 1: give 1000 or more$"):
        Resampling(torch.arange(3), 0, seed=0)
