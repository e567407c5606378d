"""What every exported map must do, found by walking the exports and not by listing them."""

import pytest
import torch

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.identity import IdentityMap
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.registry import map_class, maps

MAPS = [IdentityMap, *(c for name in maps() if (c := map_class(name)).refits)]
# What a class needs on states as small as these, where its defaults are for wider ones.
SMALL: dict[str, dict[str, object]] = {
    "CCA": {"n_components": 2},
    "LoRA": {"rank": 2},
    "PCAOrthogonal": {"n_components": 2},
    "ReducedRank": {"rank": 2},
    "Relative": {"n_anchors": 4},
}
# (n, d_source, d_target): fewer rows than both widths, than one of them, than none
SHAPES = [(5, 9, 9), (5, 7, 9), (5, 9, 7), (8, 7, 9), (8, 9, 7), (30, 9, 9), (30, 7, 9), (30, 9, 7)]

every_map = pytest.mark.parametrize("map_class", MAPS)
every_shape = pytest.mark.parametrize(("n", "d_source", "d_target"), SHAPES)


def make(map_class: type[Map]) -> Map:
    return map_class(**SMALL.get(map_class.__name__, {}))


def pair(n: int, d_source: int, d_target: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X, Y, X_new = (
        torch.randn(rows, d, dtype=torch.float64, generator=generator)
        for rows, d in ((n, d_source), (n, d_target), (4, d_source))
    )
    return X - X.mean(0), Y - Y.mean(0), X_new


def test_the_contract_covers_every_class_that_the_package_exports():
    assert {map_class.__name__ for map_class in MAPS} == {
        *("Affine", "CCA", "IdentityMap", "Linear", "LoRA", "MLP", "Orthogonal"),
        *("PCAOrthogonal", "ReducedRank", "Relative", "Ridge", "SemiOrthogonal"),
    }
    assert len(MAPS) == 12
    assert {map_class.__name__ for map_class in MAPS} >= SMALL.keys()


@every_map
@every_shape
def test_a_map_fits_and_transforms_any_shape_in_float64_without_touching_its_inputs(map_class, n, d_source, d_target):
    X, Y, X_new = (states.float() for states in pair(n, d_source, d_target))
    before = [states.clone() for states in (X, Y, X_new)]
    fitted = make(map_class)
    assert fitted.fit(X, Y) is fitted
    mapped = fitted.transform(X_new)
    assert mapped.shape == (4, d_target)
    assert mapped.dtype == torch.float64
    assert torch.isfinite(mapped).all()
    assert isinstance(fitted.rank_, int)
    assert 0 <= fitted.rank_ <= min(n, d_source)
    assert isinstance(fitted.solver_, str)
    assert all(torch.equal(now, then) for now, then in zip((X, Y, X_new), before, strict=True))


@every_map
@every_shape
def test_permuted_fits_equal_the_loop_over_fresh_maps(map_class, n, d_source, d_target):
    X, Y, X_new = pair(n, d_source, d_target)
    generator = torch.Generator().manual_seed(1)
    permutations = torch.stack([torch.randperm(n, generator=generator) for _ in range(6)])
    loop = torch.stack([make(map_class).fit(X, Y[order]).transform(X_new) for order in permutations])
    together = make(map_class).transform_permuted(X, Y, permutations, X_new)
    torch.testing.assert_close(together, loop, rtol=0.0, atol=1e-9)


@every_map
def test_permuted_fits_leave_a_fitted_map_as_it_was(map_class):
    X, Y, X_new = pair(8, 6, 6)
    fitted = make(map_class).fit(X, Y)
    before = fitted.transform(X_new)
    fitted.transform_permuted(X[:, :5], Y, torch.arange(8).flip(0)[None], X_new[:, :5])
    assert torch.equal(fitted.transform(X_new), before)


@every_map
@every_shape
def test_the_same_fit_twice_gives_the_same_numbers(map_class, n, d_source, d_target):
    X, Y, X_new = pair(n, d_source, d_target)
    again = make(map_class).fit(Y[:, :2], X[:, :2]).fit(X, Y)
    assert torch.equal(make(map_class).fit(X, Y).transform(X_new), again.transform(X_new))


@every_map
def test_changing_the_inputs_after_the_fit_changes_nothing(map_class):
    for n in (5, 30):
        X, Y, X_new = pair(n, 9, 9)
        fitted = make(map_class).fit(X, Y)
        before = fitted.transform(X_new)
        again = make(map_class).fit(X, Y)
        X.zero_()
        Y.zero_()
        assert torch.equal(again.transform(X_new), before)


@every_map
def test_states_with_leading_dimensions_are_mapped_row_by_row(map_class):
    X, Y, X_new = pair(8, 6, 7)
    fitted = make(map_class).fit(X, Y)
    torch.testing.assert_close(fitted.transform(X_new.reshape(2, 2, 6)).reshape(4, 7), fitted.transform(X_new))
    torch.testing.assert_close(fitted.transform(X_new[0]), fitted.transform(X_new)[0])


@every_map
def test_states_that_no_map_can_take_are_refused_in_one_line(map_class):
    X, Y, X_new = pair(200, 6, 7)
    broken = X.clone()
    broken[[3, 5, 8], 2] = torch.tensor([float("nan"), float("inf"), -float("inf")], dtype=torch.float64)
    name = map_class.__name__
    order = torch.arange(200)
    cases = [
        (
            lambda: make(map_class).fit(broken, Y),
            "3 of 200 rows of X hold NaN or infinite values; wanted finite ones",
        ),
        (
            lambda: make(map_class).fit(Y, broken),
            "3 of 200 rows of Y hold NaN or infinite values; wanted finite ones",
        ),
        (lambda: make(map_class).fit(X, Y).transform(broken), "3 of 200 rows of X hold NaN"),
        (
            lambda: make(map_class).fit(X[:9], Y),
            "X has 9 rows and Y has 200; wanted as many: row i of both must be",
        ),
        (lambda: make(map_class).fit(X[0], Y[0]), r"X has shape \(6,\); wanted \(n, d\)"),
        (
            lambda: make(map_class).transform(X),
            rf"{name} is not fitted; wanted a fitted map: call fit\(X, Y\) first",
        ),
        (
            lambda: make(map_class).fit(X, Y).transform(Y),
            "states to map have width 7; wanted 6, the width of the fit",
        ),
        (
            lambda: make(map_class).transform_permuted(X, Y, torch.zeros(2, 200, dtype=torch.long), X_new),
            r"permutations has shape \(2, 200\); wanted \(p, 200\): give permutations of 0..199",
        ),
        (lambda: make(map_class).transform_permuted(X, Y, order, X_new), r"permutations has shape \(200,\)"),
        (lambda: make(map_class).transform_permuted(X, Y, order[None], Y), "have width 7; wanted 6"),
    ]
    for call, text in cases:
        with pytest.raises(FitError, match=text) as refused:
            call()
        assert "\n" not in str(refused.value)


class Square(IdentityMap):
    requires_equal_widths = True


def test_a_map_that_needs_equal_widths_names_both_and_another_map():
    X, Y, _ = pair(5, 128, 64)
    text = r"Square got states of width 128 \(source\) and 64 \(target\); wanted equal widths: .*map=orthogonal"
    with pytest.raises(FitError, match=text):
        Square().fit(X, Y)
    assert Square().fit(X, X).transform(X).shape == (5, 128)


class Slow(Orthogonal):
    _transform_permuted = Map._transform_permuted


def test_a_map_without_a_shortcut_gets_the_loop():
    X, Y, X_new = pair(5, 9, 7)
    orders = torch.stack([torch.arange(5), torch.arange(5).flip(0)])
    quick = Orthogonal().transform_permuted(X, Y, orders, X_new)
    torch.testing.assert_close(Slow().transform_permuted(X, Y, orders, X_new), quick, rtol=0.0, atol=1e-9)


def test_the_identity_keeps_the_first_coordinates():
    X = torch.arange(6.0).reshape(2, 3)
    wider, narrower = IdentityMap().fit(X, torch.zeros(2, 4)), IdentityMap().fit(X, X[:, :2])
    assert wider.transform(X).tolist() == [[0.0, 1.0, 2.0, 0.0], [3.0, 4.0, 5.0, 0.0]]
    assert narrower.transform(X).tolist() == [[0.0, 1.0], [3.0, 4.0]]
    assert narrower.inverse(X[:, :2]).tolist() == [[0.0, 1.0, 0.0], [3.0, 4.0, 0.0]]
