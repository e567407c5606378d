"""Rows that are held back to choose by share no group with the rows that are fitted on."""

import pytest
import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.holdout import hold_back
from bridge.maps.least_squares import design_of_rows
from bridge.maps.linear import Linear
from bridge.maps.mlp import MLP
from bridge.maps.ridge import HELD_OUT, PENALTIES, Ridge, _loo_errors
from bridge.maps.schedule import Schedule
from bridge.maps.selection import select

N = 60
GROUPS = torch.arange(N) // 4 + 100
# one network of many steps, small ones, so that training moves the weights
MAPS = [MLP(width=8, lr=1e-2, weight_decay=0.0, n_steps=40), Ridge(select="split"), Ridge(select="loo")]
every_holding_map = pytest.mark.parametrize("map", MAPS, ids=["mlp", "split", "loo"])


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def clustered(d_source: int = 12, d_target: int = 5) -> tuple[Tensor, Tensor]:
    """Rows of one group are alike in both spaces, and groups agree on nothing."""
    members = GROUPS - 100
    X = gaussian(15, d_source)[members] + 0.1 * gaussian(N, d_source, seed=1)
    return X, gaussian(15, d_target, seed=2)[members] + 0.1 * gaussian(N, d_target, seed=3)


@pytest.mark.parametrize("fraction", [0.15, 0.5, 0.99])
@pytest.mark.parametrize("n_groups", [2, 3, 20])
def test_no_group_is_on_both_sides_and_the_share_is_about_the_wanted_one(fraction: float, n_groups: int) -> None:
    for seed in range(20):
        labels = torch.randint(n_groups, (100,), generator=torch.Generator().manual_seed(seed)) * 7
        kept, held = hold_back(100, fraction, seed, labels)
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(100))
        assert not set(labels[kept].tolist()) & set(labels[held].tolist())
        assert len(kept)
        assert len(held)
        if n_groups == 20:
            assert abs(len(held) - 100 * min(fraction, 0.95)) < 10


def test_one_large_group_is_not_held_back_where_small_ones_will_do() -> None:
    labels = torch.tensor([0] * 60 + [i // 4 for i in range(4, 44)])
    for seed in range(20):
        _, held = hold_back(100, 0.15, seed, labels)
        assert len(held) == 16
        assert not bool((labels[held] == 0).any())


def test_without_groups_each_row_is_its_own() -> None:
    kept, held = hold_back(20, 0.25, seed=3)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(20))
    assert len(held) == 5
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    assert held.tolist() == order[:5].tolist()


def test_one_group_alone_cannot_be_held_back() -> None:
    with pytest.raises(FitError, match=r"^got 1 groups among 6 fit rows; wanted at least 2, one of them to hold back"):
        Schedule().inner_split(6, 0, torch.ones(6))
    X, Y = clustered()
    for map in MAPS:
        with pytest.raises(FitError, match="got 1 groups among 60 fit rows; wanted at least 2") as refused:
            map.fit(X, Y, torch.ones(N))
        assert "\n" not in str(refused.value)


def test_labels_that_do_not_fit_the_rows_are_refused() -> None:
    X, Y = clustered()
    short, order = torch.arange(7), torch.arange(N)[None]
    for call in (lambda: Linear().fit(X, Y, short), lambda: Linear().transform_permuted(X, Y, order, X, short)):
        with pytest.raises(FitError, match=r"^groups has shape \(7,\); wanted \(60,\): one label a row"):
            call()


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["rows", "groups"])
def test_the_rows_held_back_are_not_trained_on(groups: Tensor | None) -> None:
    """What rows held back alone have, nothing is learnt of: its weights stay at zero."""
    X = gaussian(N, 4)
    Y = X.square()
    _, held = Schedule(inner_fraction=0.15).inner_split(N, 0, groups)
    marked = torch.zeros(N, 1, dtype=torch.float64)
    marked[held] = 3.0
    fitted = MLP(width=8, lr=1e-2, weight_decay=0.0, n_steps=40, patience=9).fit(torch.cat([X, marked], 1), Y, groups)
    assert fitted.best_step_ > 0
    assert torch.count_nonzero(fitted._net.skip.weight[:, -1]) == 0


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["rows", "groups"])
def test_an_mlp_starts_at_the_ridge_regression_of_the_rows_that_are_not_held_back(groups: Tensor | None) -> None:
    X, Y = clustered()
    train, _ = Schedule(inner_fraction=0.15).inner_split(N, 0, groups)
    start = MLP(width=8, penalty=0.5, n_steps=1, lr=1e-12, weight_decay=0.0).fit(X, Y, groups)
    torch.testing.assert_close(start.transform(X), Ridge(0.5).fit(X[train], Y[train]).transform(X), rtol=0, atol=1e-8)


def test_the_penalty_by_a_split_goes_by_whole_groups() -> None:
    X, Y = clustered()
    kept, held = hold_back(N, HELD_OUT, 4, GROUPS)
    errors = [float((Ridge(p).fit(X[kept], Y[kept]).transform(X[held]) - Y[held]).norm()) for p in PENALTIES]
    fitted = Ridge(select="split", seed=4).fit(X, Y, GROUPS)
    assert fitted.penalty_ == PENALTIES[errors.index(min(errors))]
    # rows of a group tell on each other, so that a split of rows wants next to no penalty
    assert fitted.penalty_ > 10 * Ridge(select="split", seed=4).fit(X, Y).penalty_


@pytest.mark.parametrize(("n", "d"), [(24, 6), (20, 30)])
@pytest.mark.parametrize("center", [True, False])
def test_leaving_a_group_out_is_refitting_without_it(n: int, d: int, center: bool) -> None:
    labels = torch.arange(n) // 5 % 4
    labels[0] = 9
    X = gaussian(10, d)[labels] + 0.3 * gaussian(n, d, seed=1)
    Y = X @ gaussian(d, 4, seed=2) + 3.0 * gaussian(10, 4, seed=3)[labels]
    if center:
        X, Y = X - X.mean(0), Y - Y.mean(0)
    errors = []
    for penalty in PENALTIES:
        absolute = penalty * float(X.square().sum()) / min(n, d)
        error = 0.0
        for label in labels.unique():
            out = labels == label
            A, B = X[~out], Y[~out]
            shift = (A.mean(0), B.mean(0)) if center else (0.0, 0.0)
            A, B = A - shift[0], B - shift[1]
            W = torch.linalg.solve(A.T @ A + absolute * torch.eye(d, dtype=torch.float64), A.T @ B)
            error += float(((X[out] - shift[0]) @ W + shift[1] - Y[out]).square().sum())
        errors.append(error)
    design = design_of_rows(X)
    without_refit = _loo_errors(design, design.coordinates(Y), Y, labels)
    torch.testing.assert_close(without_refit, torch.tensor(errors, dtype=torch.float64), rtol=1e-6, atol=0.0)
    assert Ridge(select="loo").fit(X, Y, labels).penalty_ == PENALTIES[errors.index(min(errors))]


@every_holding_map
def test_permuted_fits_with_groups_equal_the_loop_over_fresh_maps(map: Map) -> None:
    X, Y = clustered()
    orders = torch.stack([torch.arange(N), torch.randperm(N, generator=torch.Generator().manual_seed(1))])
    draws = map.transform_permuted(X, Y, orders, X[:9], GROUPS)
    for draw, order in zip(draws, orders, strict=True):
        torch.testing.assert_close(draw, map.fit(X, Y[order], GROUPS).transform(X[:9]), rtol=0.0, atol=1e-9)


@every_holding_map
def test_the_groups_of_one_fit_are_not_those_of_the_next(map: Map) -> None:
    X, Y = clustered()
    before = map.fit(X, Y).transform(X)
    assert not torch.equal(map.fit(X, Y, GROUPS).transform(X), before)
    assert torch.equal(map.fit(X, Y).transform(X), before)


def test_maps_that_are_compared_hold_back_whole_groups_themselves() -> None:
    class Watched(Linear):
        seen: list[list[int]] = []  # noqa: RUF012

        def _fit(self, X: Tensor, Y: Tensor) -> None:
            assert self._groups is not None
            assert len(self._groups) == len(X)
            self.seen.append(self._groups.tolist())
            super()._fit(X, Y)

    X, Y = clustered()
    select({"watched": Watched()}, X, Y, GROUPS, n_folds=5)
    *folds, whole = Watched.seen
    assert whole == GROUPS.tolist()
    left_out = [set(GROUPS.tolist()) - set(fold) for fold in folds]
    assert sum(len(labels) for labels in left_out) == len(set.union(*left_out)) == 15
