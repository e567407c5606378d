import math

import pytest
import torch
from planted_features import planted, rotation

from bridge.errors import FitError
from bridge.sae.measures import (
    dead,
    decoder_cosines,
    explained_variance,
    firing_correlation,
    l0,
    rows_fve,
    total_variance,
)


def test_explained_variance_is_the_mean_of_its_rows_and_knows_0_and_1() -> None:
    X, g = planted().X, torch.Generator().manual_seed(0)
    mean = X.double().mean(0)
    X_hat = X + torch.randn(X.shape, generator=g)
    rows = rows_fve(X, X_hat, mean, total_variance(X, mean))
    wanted = 1 - (X - X_hat).square().sum() / (X - X.mean(0)).square().sum()
    assert rows.mean().item() == pytest.approx(wanted.item(), abs=1e-5)
    assert explained_variance(X, X_hat).item() == pytest.approx(rows.mean().item(), abs=1e-9)
    assert explained_variance(X, X).item() == 1.0
    assert explained_variance(X, X.mean(0).expand_as(X)).item() == pytest.approx(0.0, abs=1e-6)


def test_the_denominator_is_the_targets_whatever_the_branch_and_the_rows() -> None:
    X, mean = planted().X, planted(1).X.mean(0)
    branches = torch.stack([X, X + 1.0, mean.expand_as(X)])
    assert explained_variance(X, branches, mean).tolist()[::2] == pytest.approx([1.0, 0.0], abs=1e-6)
    total = total_variance(X, mean)
    half = rows_fve(X[:50], branches[:, :50], mean, total)
    torch.testing.assert_close(half, rows_fve(X, branches, mean)[:, :50])
    assert half.shape == (3, 50)


def test_a_mean_far_from_0_explains_nothing() -> None:
    X = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) + 100.0 * torch.arange(6)
    assert 1 - (X - X.mean(0)).square().mean() / X.var() > 0.99
    assert explained_variance(X, X.mean(0).expand_as(X)).item() == pytest.approx(0.0, abs=1e-4)


def test_other_rows_and_states_that_do_not_vary_are_refused() -> None:
    with pytest.raises(
        FitError, match=r"^reconstructions of \(3, 2\) and a mean of \(2,\) for states of \(4, 2\); wanted"
    ):
        rows_fve(torch.ones(4, 2), torch.ones(3, 2), torch.ones(2))
    with pytest.raises(FitError, match=r"^states that do not vary about the mean; wanted some that do"):
        rows_fve(torch.ones(4, 2), torch.ones(4, 2), torch.ones(2))


def test_features_are_counted() -> None:
    features = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.5, 0.0, 0.0]])
    assert l0(features) == 1.5
    assert dead(features) == 0.5


def test_decoder_rows_find_each_other_whatever_their_order_and_norm() -> None:
    W, g = planted().dictionary, torch.Generator().manual_seed(0)
    other = 3.0 * W[torch.randperm(len(W), generator=g)]
    best, matched = decoder_cosines(W, other)
    torch.testing.assert_close(best, torch.ones(len(W)))
    torch.testing.assert_close(matched, torch.ones(len(W)))
    turned = decoder_cosines(W @ rotation(), W).best
    unrelated = decoder_cosines(planted(1).dictionary, W).best
    assert turned.mean() == pytest.approx(unrelated.mean().item(), abs=0.05)


def test_a_matching_uses_each_row_once() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    best, matched = decoder_cosines(a, torch.eye(2))
    assert best.tolist() == pytest.approx([1.0, 0.995, 1.0], abs=1e-3)
    assert sorted(matched.tolist()) == pytest.approx([1.0, 1.0])
    assert decoder_cosines(-a[:1], a[:1]).best.item() == pytest.approx(-1.0)
    with pytest.raises(FitError, match=r"^decoders of widths 2 and 3; wanted the same"):
        decoder_cosines(a, torch.eye(3))


def test_firing_correlation_is_that_of_the_best_feature() -> None:
    g = torch.Generator().manual_seed(0)
    F_b = torch.rand(200, 7, generator=g)
    F_a = torch.stack([2.0 * F_b[:, 3] + 1.0, torch.zeros(200), -F_b[:, 0], torch.rand(200, generator=g)], 1)
    first, silent, negative, unrelated = firing_correlation(F_a, F_b).tolist()
    assert first == pytest.approx(1.0, abs=1e-5)
    assert math.isnan(silent)
    assert negative < 0.3
    wanted = torch.corrcoef(torch.cat([F_a[:, 3:], F_b], 1).T)[0, 1:].max()
    assert unrelated == pytest.approx(wanted.item(), abs=1e-5)


def test_a_feature_of_b_that_never_fires_is_no_match() -> None:
    F_a = torch.tensor([[0.0], [1.0], [2.0]])
    assert firing_correlation(F_a, torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]])).item() == pytest.approx(-1.0)
    assert firing_correlation(F_a, torch.zeros(3, 2)).item() == 0.0
    with pytest.raises(FitError, match=r"^features of 3 and of 2 rows; wanted the same rows: encode the same items$"):
        firing_correlation(F_a, torch.zeros(2, 2))
