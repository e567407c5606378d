"""Truths by construction: every map recovers what it can express, and the selection table ranks it first."""

import pytest
import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.affine import Affine
from bridge.maps.base import Map
from bridge.maps.cca import CCA
from bridge.maps.identity import IdentityMap
from bridge.maps.linear import Linear
from bridge.maps.lora import LoRA
from bridge.maps.mlp import MLP
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.pca_orthogonal import PCAOrthogonal
from bridge.maps.reduced_rank import ReducedRank
from bridge.maps.relative import Relative
from bridge.maps.ridge import Ridge
from bridge.maps.selection import Selection, select
from bridge.maps.semi_orthogonal import SemiOrthogonal
from bridge.maps.solvers import fit_width

N, NOISE = 500, 0.3
WIDTHS = [(128, 128), (96, 128), (128, 96)]


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ladder() -> dict[str, Map]:
    return {
        "identity": IdentityMap(),
        "orthogonal": Orthogonal(),
        "scaled": Orthogonal(scale=True),
        "semi_orthogonal": SemiOrthogonal(),
        "pca_orthogonal": PCAOrthogonal(32),
        "linear": Linear(),
        "affine": Affine(),
        "ridge_loo": Ridge(select="loo"),
        "reduced_rank": ReducedRank(8),
        "lora": LoRA(8),
        "cca": CCA(32),
        "relative": Relative(64),
    }


def semi_orthogonal(d_source: int, d_target: int) -> Tensor:
    return torch.linalg.qr(gaussian(max(d_source, d_target), max(d_source, d_target), seed=1)).Q[:d_source, :d_target]


def states(n: int, d: int, seed: int = 0) -> Tensor:
    """Rows whose variance falls off by a factor of 25 from the first direction to the last."""
    return gaussian(n, d, seed=seed) * torch.logspace(0, -0.7, d, dtype=torch.float64)


def planted(truth: str, d_source: int, d_target: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """X, Y, Y without noise, and the relative error that the noise alone makes."""
    X = states(N, d_source) @ semi_orthogonal(d_source, d_source)
    if truth == "rotation":
        Y = X @ semi_orthogonal(d_source, d_target)
    elif truth == "scale and rotation":
        Y = 3.0 * X @ semi_orthogonal(d_source, d_target)
    elif truth == "affine":
        Y = X @ gaussian(d_source, d_target, seed=2) / d_source**0.5 + gaussian(1, d_target, seed=3)
    elif truth == "reduced rank":
        Y = X @ gaussian(d_source, 8, seed=2) @ gaussian(8, d_target, seed=3) / d_source
    else:
        Y = fit_width(X, d_target) + X @ gaussian(d_source, 8, seed=2) @ gaussian(8, d_target, seed=3) / d_source
    noise = gaussian(N, d_target, seed=4) * NOISE * (Y - Y.mean(0)).std()
    total = (Y + noise - (Y + noise).mean(0)).norm()
    return X, Y + noise, Y, float(noise.norm() / total)


OWN = {
    "rotation": "orthogonal",
    "scale and rotation": "scaled",
    "affine": "affine",
    "reduced rank": "reduced_rank",
    "low-rank update": "lora",
}
CASES = [(truth, *widths) for truth in OWN for widths in WIDTHS if (truth, widths) != ("scale and rotation", (128, 96))]


@pytest.mark.parametrize(("truth", "d_source", "d_target"), CASES)
def test_the_selection_table_ranks_the_class_of_the_truth_first(truth, d_source, d_target):
    X, Y, _, floor = planted(truth, d_source, d_target)
    ranking = select(ladder(), X, Y, center=truth != "affine")
    # where directions are dropped, only least squares under R'R = I is of the truth's class
    own = "semi_orthogonal" if truth == "rotation" and d_source > d_target else OWN[truth]
    assert ranking[0].name == ranking.chosen == own
    assert floor < ranking[0].relative_error < 1.25 * floor
    classes_that_do_not_hold_it = {"identity", "pca_orthogonal", "relative"}
    assert all(row.relative_error > 1.25 * floor for row in ranking if row.name in classes_that_do_not_hold_it)


@pytest.mark.parametrize(("truth", "d_source", "d_target"), CASES)
def test_least_squares_reaches_the_noise_of_every_linear_truth_and_the_class_of_the_truth_is_nearer_to_it(
    truth, d_source, d_target
):
    X, Y, clean, _ = planted(truth, d_source, d_target)
    maps = ladder()
    own = maps["semi_orthogonal" if truth == "rotation" and d_source > d_target else OWN[truth]].fit(X[:400], Y[:400])
    free = Affine().fit(X[:400], Y[:400])
    to_truth = [float((fitted.transform(X[400:]) - clean[400:]).norm() / clean[400:].norm()) for fitted in (own, free)]
    assert to_truth[1] < 0.3
    assert to_truth[0] < (to_truth[1] * 1.000001 if truth == "affine" else 0.75 * to_truth[1])


def exactly(d_source: int, d_target: int) -> dict[str, tuple[Map, Tensor, Tensor]]:
    """A map that can express the truth exactly, fit rows, and the matrix that made the target."""
    X, R, W = states(200, d_source), semi_orthogonal(d_source, d_target), gaussian(d_source, d_target, seed=2)
    low = gaussian(d_source, 8, seed=2) @ gaussian(8, d_target, seed=3)
    few = gaussian(200, 8) @ gaussian(8, d_source, seed=5)
    cases: dict[str, tuple[Map, Tensor, Tensor]] = {
        "linear": (Linear(), X, W),
        "ridge": (Ridge(1e-14), X, W),
        "affine": (Affine(), X, W),
        "cca": (CCA(None, penalty=0.0), X, W),
        "reduced_rank": (ReducedRank(8), X, low),
        "lora": (LoRA(8, penalty=0.0), X, fit_width(torch.eye(d_source, dtype=torch.float64), d_target) + low),
        "semi_orthogonal": (SemiOrthogonal(2000, 1e-16), X, R),
    }
    if d_source <= d_target:
        cases["orthogonal"] = (Orthogonal(), X, R)
        cases["scaled"] = (Orthogonal(scale=True), X, 2.5 * R)
        cases["pca_orthogonal"] = (PCAOrthogonal(8), few, R)
        cases["relative"] = (Relative(d_target, tolerance=1e-9), X, 3.0 * R)
    return cases


@pytest.mark.parametrize(("name", "widths"), [(name, widths) for widths in WIDTHS for name in exactly(*widths)])
def test_without_noise_a_map_recovers_the_truth_on_rows_never_seen(name, widths):
    map_, X, W = exactly(*widths)[name]
    offset = gaussian(1, widths[1], seed=6) if name == "affine" else 0.0
    X_new = X[150:] if name == "pca_orthogonal" else states(50, widths[0], seed=9)
    fitted = map_.fit(X[:150], X[:150] @ W + offset)
    wanted = X_new @ W + offset
    tolerance = 1e-4 if name == "semi_orthogonal" and widths[0] > widths[1] else 1e-8
    assert float((fitted.transform(X_new) - wanted).norm() / wanted.norm()) < tolerance


@pytest.mark.parametrize(("d_source", "d_target"), [(12, 12), (16, 12)])
def test_no_linear_map_reaches_the_noise_of_a_network_and_the_network_does_best(d_source, d_target):
    X = gaussian(800, d_source)
    hidden = torch.relu(X @ gaussian(d_source, 16, seed=2) / d_source**0.5)
    clean = hidden @ gaussian(16, d_target, seed=3) / 4
    noise = 0.1 * clean.std() * gaussian(800, d_target, seed=4)
    Y = clean + noise
    floor = float(noise.norm() / (Y - Y.mean(0)).norm())
    maps = {
        k: v for k, v in ladder().items() if k in ("orthogonal", "linear", "affine", "ridge_loo", "semi_orthogonal")
    }
    ranking = select({**maps, "mlp": MLP(width=64, lr=3e-3, n_steps=400)}, X, Y, n_folds=3)
    assert ranking[0].name == ranking.chosen == "mlp"
    assert all(row.relative_error > 2.5 * floor for row in ranking[1:])
    assert ranking[0].relative_error < 0.8 * ranking[1].relative_error


def test_a_simpler_map_within_one_standard_error_of_the_best_is_chosen_and_marked():
    X, Y, _, _ = planted("rotation", 96, 96)
    ranking = select({"linear": Linear(), "scaled": Orthogonal(scale=True), "orthogonal": Orthogonal()}, X, 0.98 * Y)
    assert ranking[0].name == "scaled"
    assert ranking.chosen == "orthogonal"
    assert isinstance(ranking, Selection)
    lines = ranking.table().splitlines()
    assert len(lines) == 4
    assert [line.split()[1] for line in lines if line.startswith("*")] == ["orthogonal"]
    assert ranking[0].relative_error == pytest.approx((1 - ranking[0].explained_variance) ** 0.5)


def test_rows_of_one_group_are_held_out_together():
    X = gaussian(30, 40).repeat_interleave(4, dim=0)
    Y = gaussian(30, 40, seed=1).repeat_interleave(4, dim=0)
    groups = torch.arange(30).repeat_interleave(4)
    alone = select({"linear": Linear()}, X, Y)
    together = select({"linear": Linear()}, X, Y, groups)
    assert alone[0].explained_variance > 0.8
    assert together[0].explained_variance < 0.1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"maps": {}}, "got no maps to select from; wanted at least one"),
        ({"n_folds": 1}, "n_folds is 1 and there are 20 groups; wanted 2 to as many folds as groups"),
        ({"n_folds": 6, "groups": torch.arange(20) % 5}, "n_folds is 6 and there are 5 groups"),
        ({"groups": torch.arange(7)}, r"groups has shape \(7,\); wanted \(20,\): one label a row"),
        ({"Y": torch.ones(20, 3)}, "every held-out row of Y is the mean; wanted rows that differ"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, text):
    with pytest.raises(FitError, match=text):
        select(**{"maps": {"linear": Linear()}, "X": gaussian(20, 3), "Y": gaussian(20, 3, seed=1), **arguments})
