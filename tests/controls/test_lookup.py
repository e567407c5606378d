"""The table of known answers against one that goes through its rows one by one."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from bridge.carry.nearest import NEIGHBOURS
from bridge.carry.nearest import NearestAnswers as Lookup


def table(seed: int, n: int = 60, d: int = 6, n_answers: int = 8, spread: float = 1.0) -> tuple[Tensor, ...]:
    """States about one centre for each answer, with answers and groups of the rows."""
    g = torch.Generator().manual_seed(seed)
    answers = torch.randint(n_answers, (n,), generator=g)
    centres = torch.randn(n_answers, d, generator=g, dtype=torch.float64)
    Z = centres[answers] + spread * torch.randn(n, d, generator=g, dtype=torch.float64)
    Y = torch.randn(n, 4, generator=g, dtype=torch.float64) + 3.0
    groups = torch.randint(n // 3, (n,), generator=g)
    return Z, Y, answers, groups


def named(z: Tensor, rows: list[int], Z: Tensor, answers: Tensor, k: int) -> int | None:
    """The commonest answer of the k of `rows` nearest to z, the nearest one's among the commonest."""
    near = sorted(rows, key=lambda i: -float(z @ Z[i] / (z.norm() * Z[i].norm())))[:k]
    if not near:
        return None
    votes = Counter(int(answers[i]) for i in near)
    return max((int(answers[i]) for i in near), key=lambda a: votes[a])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_lookup_equals_a_search_row_by_row(seed: int, spread: float) -> None:
    Z, Y, answers, groups = table(seed, spread=spread)
    lookup = Lookup(Z, Y, answers, groups)
    hits = {
        k: sum(
            named(Z[i], [j for j in range(len(Z)) if groups[j] != groups[i]], Z, answers, k) == answers[i]
            for i in range(len(Z))
        )
        for k in NEIGHBOURS
    }
    assert lookup.k_ == min(k for k in NEIGHBOURS if hits[k] == max(hits.values()))
    new = table(seed + 100)[0]
    wanted = [named(z, list(range(len(Z))), Z, answers, lookup.k_) for z in new]
    assert lookup.answers(new).tolist() == wanted
    means = torch.stack([Y[answers == a].mean(0) for a in wanted])
    torch.testing.assert_close(lookup.states(new), means)


def test_several_neighbours_are_asked_where_single_ones_err_and_one_where_they_do_not() -> None:
    def neighbours(spread: float) -> set[int]:
        return {Lookup(*table(seed, n=120, n_answers=3, spread=spread)).k_ for seed in range(5)}

    assert neighbours(0.01) == {1}
    assert max(neighbours(1.5)) > 1


def test_rows_of_ones_own_group_have_no_vote_where_other_groups_have_few() -> None:
    """Of two groups of one answer each neither can name the other's, with any number of neighbours."""
    Z, groups = torch.eye(8, dtype=torch.float64) + 1.0, torch.tensor([0] * 7 + [1])
    assert Lookup(Z, Z, groups, groups).k_ == 1


def test_a_new_answer_is_never_named() -> None:
    Z, Y, answers, groups = table(1)
    some = answers < 5
    lookup = Lookup(Z[some], Y[some], answers[some], groups[some])
    assert set(lookup.answers(Z[~some]).tolist()) <= set(answers[some].tolist())


def test_one_row_and_one_group_still_make_a_table() -> None:
    one = torch.ones(1, 2, dtype=torch.float64)
    assert Lookup(one, one, torch.tensor([7]), torch.tensor([0])).states(one).tolist() == [[1.0, 1.0]]
    Z, Y, answers, _ = table(2)
    assert Lookup(Z, Y, answers, torch.zeros(len(Z), dtype=torch.long)).k_ == 1
