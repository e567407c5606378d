"""What is rounding in the rows follows the precision in which they were given, as in scikit-learn and torch."""

import pytest
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from bridge.maps.affine import Affine
from bridge.maps.cca import CCA
from bridge.maps.linear import Linear
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.pca_orthogonal import PCAOrthogonal
from bridge.maps.reduced_rank import ReducedRank
from bridge.maps.ridge import PENALTIES, Ridge
from bridge.maps.solvers import is_centered, resolution, row_basis
from bridge.maps.stream import fit_stream
from bridge.normalize import Normalize
from bridge.similarity.canonical import svcca
from bridge.similarity.states import LayerStates


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def few_centered(mean: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """80 float32 rows of width 200 less their mean, what they are to be mapped to, and new rows."""
    X = gaussian(120, 200) * torch.logspace(0, -2, 200) + mean
    Y = X @ gaussian(200, 6, seed=1) / 14 + 0.5 * gaussian(120, 6, seed=2)
    centers = X[:80].mean(0), Y[:80].mean(0)
    return X[:80] - centers[0], Y[:80] - centers[1], X[80:] - centers[0]


def low_rank() -> Tensor:
    """100 float32 rows of width 40 that hold 7 directions, and rounding in the others."""
    return gaussian(100, 7) @ gaussian(7, 40, seed=1)


def test_float32_rows_choose_the_penalty_that_scikit_learn_chooses():
    X, Y, _ = few_centered()
    absolute = float(X.double().square().sum()) / min(X.shape)
    theirs = RidgeCV([penalty * absolute for penalty in PENALTIES]).fit(X.numpy(), Y.numpy()).alpha_ / absolute
    assert Ridge(select="loo").fit(X, Y).penalty_ == pytest.approx(theirs)
    assert 0.1 < theirs < 100


@pytest.mark.parametrize(
    "map_", [Linear(), ReducedRank(rank=6), CCA(None, penalty=0.0)], ids=lambda m: type(m).__name__
)
def test_rounding_left_of_a_mean_is_no_direction(map_):
    X, Y, new = few_centered()
    Y = Y + 5.0  # a mean that no centered row can be mapped to
    wanted = new @ torch.linalg.lstsq(X, Y, driver="gelsd").solution
    mapped = map_.fit(X, Y).transform(new)
    assert float((mapped - wanted).abs().max()) < 1e-3
    assert float(map_.transform_permuted(X, Y, torch.arange(80)[None], new)[0].sub(mapped).abs().max()) < 1e-9
    if not isinstance(map_, ReducedRank | CCA):
        assert map_.rank_ == 79


@pytest.mark.parametrize("map_class", [Linear, Affine])
def test_the_rank_of_float32_rows_is_the_one_that_torch_finds(map_class):
    X = low_rank()
    Y = gaussian(100, 40, seed=3)
    assert int(torch.linalg.lstsq(X, Y, driver="gelsd").rank) == 7
    # an Affine map centers by itself, in float64
    assert map_class().fit(X, Y).rank_ == 7
    assert fit_stream(map_class(), zip(X.split(30), Y.split(30), strict=True), center=map_class is Affine).rank_ == 7


def test_sums_over_float32_rows_judge_rank_by_float32():
    X, Y, _ = few_centered(mean=10.0)
    assert fit_stream(Linear(), zip(X.split(30), Y.split(30), strict=True), center=False).rank_ == 79
    exact = zip(X.double().split(30), Y.double().split(30), strict=True)
    assert fit_stream(Linear(), exact, center=False).rank_ == 80


@pytest.mark.parametrize("d_target", [200, 6])
def test_a_rotation_is_not_determined_by_what_is_left_of_a_mean(d_target):
    X, Y, _ = few_centered()
    Y = X @ gaussian(200, 200, seed=5) if d_target == 200 else Y
    assert Orthogonal().fit(X, Y - Y.mean(0)).rank_ == min(79, d_target)


@pytest.mark.parametrize("d_target", [40, 10])
def test_a_rotation_is_determined_by_no_more_directions_than_either_side_holds(d_target):
    X, Y = low_rank(), gaussian(100, d_target, seed=3)
    assert Orthogonal().fit(X, Y).rank_ == Orthogonal().fit(X.T @ X, X.T @ Y).rank_ == 7
    assert Orthogonal().fit(Y, X).rank_ == 7
    assert fit_stream(Orthogonal(), zip(X.split(30), Y.split(30), strict=True), center=False).rank_ == 7
    assert Orthogonal().fit(X.double(), Y.double()).rank_ == d_target
    # Directions that are small on both sides are more than rounding.
    small = gaussian(100, 40, seed=4) * torch.logspace(0, -4, 40)
    assert Orthogonal().fit(small, small).rank_ == 40


@pytest.mark.parametrize("scale", ["none", "frobenius", "l2"])
def test_normalized_float32_rows_hold_what_they_held_before(scale):
    X, Y = low_rank(), gaussian(100, 40, seed=3)
    Z = Normalize(center=False, scale=scale).fit(X).transform(X)
    assert Linear().fit(Z, Y).rank_ == 7
    assert Linear().fit(Normalize(scale=scale).fit(X.double()).transform(X.double()), Y).rank_ > 7


def test_states_of_a_layer_hold_no_direction_of_rounding():
    X = low_rank()
    assert len(LayerStates(X).svd[1]) == 7 < len(LayerStates(X.double()).svd[1])
    # four more than three components correlate by chance, of forty all would
    assert svcca(X, gaussian(100, 3, seed=4), variance=1.0) < 0.7


def test_a_pca_takes_no_component_of_rounding():
    with pytest.raises(Exception, match=r"wanted 1 to 7, the number of directions that the source rows hold"):
        PCAOrthogonal(8).fit(low_rank(), low_rank().flip(1))


def test_float64_rows_keep_directions_that_float32_has_not():
    X = low_rank().double()
    X[:, 0] += 1e-9 * gaussian(100, seed=4)
    assert Linear().fit(X, X).rank_ > 7
    assert Linear().fit(X.float(), X.float()).rank_ == 7


def test_a_precision_is_that_of_what_was_given():
    assert resolution(torch.zeros(1)) == resolution(torch.zeros(1).half()) == torch.finfo(torch.float32).eps
    assert resolution(torch.zeros(1, dtype=torch.long)) == torch.finfo(torch.float64).eps


@pytest.mark.parametrize(("n", "mean"), [(5, 100.0), (500, 100.0), (5000, 10.0)])
def test_rows_less_their_mean_are_centered_and_rows_about_zero_are_not(n, mean):
    X = gaussian(n, 20) + mean
    eps = resolution(X)
    assert is_centered((X - X.mean(0)).double(), eps)
    assert not is_centered(gaussian(n, 20).double(), eps)
    assert not is_centered((X - X.mean(0)).double())


def test_centered_float32_rows_take_the_fast_basis():
    X = few_centered()[0].double()
    basis = row_basis(X, resolution(few_centered()[0]))
    assert (basis.solver, basis.L.shape[1]) == ("gram", 79)
    assert row_basis(X).L.shape[1] == 80


@pytest.mark.parametrize("kind", [Orthogonal, Linear, Ridge])
def test_rows_of_which_a_gradient_is_asked_are_fitted_like_others(kind: type) -> None:
    X, Y = gaussian(300, 260).double(), gaussian(300, 260, seed=1).double()
    expected = kind().fit(X, Y).transform(X)
    made = kind().fit(X.clone().requires_grad_(), Y.clone().requires_grad_()).transform(X)
    torch.testing.assert_close(made.detach(), expected)
