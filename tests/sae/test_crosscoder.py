import pytest
import torch
from planted_features import planted, rotation, spec
from torch import Tensor

from bridge.errors import FitError
from bridge.sae.crosscoder import Crosscoder, train_crosscoder
from bridge.sae.measures import decoder_cosines, explained_variance


def ev(X: Tensor, X_hat: Tensor) -> float:
    return float(explained_variance(X, X_hat))


@pytest.fixture(scope="module")
def rotated() -> Crosscoder:
    X = planted().X
    return train_crosscoder(X, 7.0 * X @ rotation() + 3.0, spec(n_steps=800))


@pytest.fixture(scope="module")
def unrelated() -> Crosscoder:
    return train_crosscoder(planted().X, planted(1).X, spec(n_steps=800, k=6))


def test_models_that_are_rotations_of_each_other_share_all_features(rotated: Crosscoder) -> None:
    X, R = planted().X, rotation()
    Y = 7.0 * X @ R + 3.0
    assert rotated.shares().shared > 0.95
    own = rotated.decode(rotated.encode(X, Y))
    assert min(ev(X, own[0]), ev(Y, own[1])) > 0.85
    assert ev(Y, rotated.across(X, 0)) > ev(Y, own[1]) - 0.05
    assert ev(X, rotated.across(Y, 1)) > ev(X, own[0]) - 0.05
    source, target = (half[rotated.alive] for half in rotated.joint.W_dec.split(rotated.widths, dim=1))
    cosines = torch.nn.functional.cosine_similarity(source @ R, target, dim=1)
    assert cosines.median() > 0.95
    assert decoder_cosines(planted().dictionary, source).best.median() > 0.95


def test_unrelated_models_have_features_of_their_own(unrelated: Crosscoder) -> None:
    X, Y = planted().X, planted(1).X
    shares = unrelated.shares()
    assert shares.source_only + shares.target_only > 0.6
    assert min(shares.source_only, shares.target_only) > 0.2
    assert shares.shared < 0.3
    source, target = unrelated.decode(unrelated.encode(X, Y))
    assert min(ev(X, source), ev(Y, target)) > 0.85
    assert ev(Y, unrelated.across(X, 0)) < 0.05
    assert ev(X, unrelated.decode(unrelated.encode_one(X, 0))[0]) > 0.8


def test_features_that_never_fire_are_not_counted_as_shared(rotated: Crosscoder) -> None:
    assert 0.3 < rotated.alive.double().mean() < 1.0
    one_dead = torch.zeros_like(rotated.alive)
    one_dead[rotated.relative_norms.argmax()] = True
    before, rotated.alive = rotated.alive, one_dead
    share, rotated.alive = rotated.shares().shared, before
    assert share == float(rotated.relative_norms.max() < 0.7)
    X = planted().X
    fires = (rotated.encode(X, 7.0 * X @ rotation() + 3.0) > 0).any(0)
    torch.testing.assert_close(rotated.alive, fires)


def test_models_of_other_widths_have_a_crosscoder_too() -> None:
    X = planted().X
    made = train_crosscoder(X, X[:, :10], spec(n_steps=20))
    features = made.encode(X[:5], X[:5, :10])
    assert features.shape == (5, 96)
    assert [part.shape for part in made.decode(features)] == [(5, 24), (5, 10)]
    assert made.across(X[:5], 0).shape == (5, 10)


def test_rows_without_a_pair_and_other_widths_are_refused(rotated: Crosscoder) -> None:
    X = planted().X
    with pytest.raises(
        FitError, match=r"^3000 rows of the source and 9 of the target; wanted pairs: give the same items$"
    ):
        train_crosscoder(X, X[:9], spec())
    with pytest.raises(FitError, match=r"^states of width 9; wanted 24: give that model's own$"):
        rotated.across(X[:, :9], 0)
