"""Measures of one's own under the same nulls, and options of those that there are."""

import pytest
import torch
from planted import draw, rotation
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity.canonical import canonical_correlations, svcca
from bridge.similarity.cka import linear_cka, rbf_cka
from bridge.similarity.compare import compare
from bridge.similarity.rsa import rsa
from bridge.similarity.scorer import Options
from bridge.similarity.states import clip_outliers


def own(X: Tensor, Y: Tensor) -> float:
    return linear_cka(X, Y, debiased=True)


def test_a_function_of_ones_own_is_calibrated_as_the_measure_that_it_computes() -> None:
    X, Y = [draw(40, 5), draw(40, 6, seed=1)], [draw(40, 7, seed=2) + draw(40, 7), draw(40, 3, seed=3)]
    labels = torch.arange(40) % 3
    scores = compare(X, Y, ["cka_linear_debiased"], {"own": own}, labels, n_permutations=19)
    ours, theirs = scores["own"], scores["cka_linear_debiased"]
    torch.testing.assert_close(ours.value, theirs.value)
    assert list(ours.nulls) == ["shuffled", "shuffled_within"]
    for null in ours.nulls:
        for field in ("mean", "q95", "p", "p_corrected", "calibrated"):
            torch.testing.assert_close(getattr(ours.nulls[null], field), getattr(theirs.nulls[null], field))
    again = compare(X, Y, ["cka_linear_debiased"], n_permutations=19, labels=labels)
    assert torch.equal(again["cka_linear_debiased"].nulls["shuffled"].mean, theirs.nulls["shuffled"].mean)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"measures": ["cka"]}, "got unknown measure cka; wanted some of cka_linear"),
        ({"measures": []}, "got no measures; wanted some of"),
        ({"functions": {"pwcca": own}}, "got two measures named pwcca; wanted some of"),
        (
            {"measures": [], "functions": {"f": lambda X, Y: float("nan")}},
            "f gave nan; wanted a number that is at most",
        ),
        ({"measures": [], "functions": {"f": lambda X, Y: 3.0}}, "f gave 3; wanted a number that is at most 1"),
        ({"labels": torch.zeros(3)}, r"labels has shape \(3,\); wanted \(20,\): give one label a row"),
    ],
)
def test_what_cannot_be_compared_is_refused(words: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(FitError, match=message):
        compare(draw(20, 3), draw(20, 3, seed=2), **words)


@pytest.mark.parametrize("distance", ["cosine", "correlation"])
def test_rsa_of_other_distances_is_that_of_scipy(distance: str) -> None:
    X, Y = draw(25, 5) + 0.3, draw(25, 6, seed=2)
    Y[:, :5] += X
    a, b = pdist(X.numpy(), distance), pdist(Y.numpy(), distance)
    assert rsa(X, Y, "pearson", distance) == pytest.approx(float(pearsonr(a, b)[0]), abs=1e-9)  # type: ignore[arg-type]
    assert rsa(X, Y, "spearman", distance) == pytest.approx(float(spearmanr(a, b)[0]), abs=1e-9)  # type: ignore[arg-type]


def test_rsa_refuses_what_it_does_not_know_and_rows_without_a_correlation() -> None:
    with pytest.raises(FitError, match="got correlation 'kendall' and distance 'euclidean'; wanted one of pearson"):
        rsa(draw(9, 3), draw(9, 3), "kendall")  # type: ignore[arg-type]
    X = draw(9, 3)
    X[2] = 4.0
    with pytest.raises(FitError, match="1 rows of X have the same number in every feature"):
        rsa(X, draw(9, 3), distance="correlation")


def test_equal_rows_are_tied_by_angle_too() -> None:
    X, Y = draw(5, 4)[torch.arange(30) % 5] @ rotation(4), draw(30, 4, seed=2)
    expected = spearmanr(pdist(X.numpy(), "cosine").round(8), pdist(Y.numpy(), "cosine"))[0]
    assert rsa(X, Y, distance="cosine") == pytest.approx(float(expected), abs=1e-9)


def test_svcca_keeps_as_many_components_as_it_is_told() -> None:
    X, Y = draw(80, 6), draw(80, 5, seed=2) + 0.5 * draw(80, 5)

    def kept(M: Tensor, k: int) -> Tensor:
        centered = M - M.mean(0)
        return centered @ torch.linalg.svd(centered, full_matrices=False)[2][:k].T

    expected = float(canonical_correlations(kept(X, 3), kept(Y, 3)).mean())
    assert svcca(X, Y, n_components=3) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(FitError, match="svcca n_components is 6; wanted 1 to 5, the rank of Y: change it"):
        svcca(X, Y, n_components=6)


def test_an_absolute_bandwidth_is_a_distance() -> None:
    X, Y = draw(30, 4), draw(30, 4, seed=2) + draw(30, 4)
    K, L = (torch.exp(-torch.cdist(M, M).square() / (2 * 1.7**2)) for M in (X, Y))
    H = torch.eye(30, dtype=torch.float64) - 1 / 30
    K, L = H @ K @ H, H @ L @ H
    expected = float((K * L).sum() / (K.norm() * L.norm()))
    assert rbf_cka(X, Y, bandwidth=1.7, bandwidth_unit="absolute") == pytest.approx(expected, abs=1e-9)
    # In medians a scale changes nothing, in the units of the states it does.
    assert rbf_cka(3 * X, Y) == pytest.approx(rbf_cka(X, Y), abs=1e-9)
    assert abs(rbf_cka(3 * X, Y, bandwidth=1.7, bandwidth_unit="absolute") - expected) > 0.01
    with pytest.raises(FitError, match="bandwidth is 1.0 mean; wanted a number above 0, in one of median, absolute"):
        rbf_cka(X, Y, bandwidth_unit="mean")  # type: ignore[arg-type]
    assert Options().bandwidth_unit == "median"


def test_an_outlier_feature_is_cut_to_the_size_of_the_others() -> None:
    X, Y = draw(60, 40), draw(60, 40) + 0.3 * draw(60, 40, seed=5)
    X[:, 3] = 300.0 * draw(60, 1, seed=6)[:, 0]
    cut = clip_outliers(X, 0.95)
    size = sum(sorted(abs(float(x)) for x in row)[37] for row in X) / 60
    assert float(cut.abs().max()) == pytest.approx(size, rel=0.1)
    assert torch.equal(cut[X.abs() < 0.5 * size], X[X.abs() < 0.5 * size])
    assert linear_cka(X, Y, debiased=True) < 0.2 < 0.6 < linear_cka(cut, Y, debiased=True)
    with pytest.raises(FitError, match="the quantile to clip at is 0; wanted above 0 and at most 1"):
        clip_outliers(X, 0)
