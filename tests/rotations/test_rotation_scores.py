"""Explained variance by string and by band, the baseline of inputs, and what a rotation looks like."""

import numpy as np
import pytest
import torch
from planted import draw, rotation

from bridge.rotations import inputs
from bridge.rotations.fits import axes, fit_rotations
from bridge.rotations.inputs import InputFeatures, predict
from bridge.rotations.scores import BANDS, by_band, by_string
from bridge.rotations.shape import distance, rank, split_half
from bridge.rotations.states import Side

# Tokens of five strings, of unequal lengths.
STRINGS = ([5, 7, 7, 9], [5], [7, 5, 7], [9, 9, 5, 7, 9, 11], [5, 9])


def side(strings: tuple[list[int], ...] = STRINGS) -> Side:
    string = torch.tensor([i for i, tokens in enumerate(strings) for _ in tokens])
    token = torch.tensor([token for tokens in strings for token in tokens])
    texts = [tuple(tokens) for tokens in strings]
    places = [list(range(len(tokens))) for tokens in strings]
    return Side([], torch.arange(len(strings)), string, token, torch.arange(len(token)), texts, places)


def test_the_mean_over_strings_is_the_explained_variance_of_all_rows() -> None:
    string, Y = side().string, draw(16, 4)
    mapped = torch.stack([Y + 0.5 * draw(16, 4, seed=1), torch.zeros_like(Y)])
    scores = by_string(mapped - Y, Y, string, 5)
    assert scores.shape == (2, 5)
    for one, own in zip(scores, mapped.numpy(), strict=True):
        expected = 1 - np.square(own - Y.numpy()).sum() / np.square(Y.numpy()).sum()
        assert float(one.mean()) == pytest.approx(expected)
    # A string's score is of its own rows alone.
    error = torch.zeros(16, 4, dtype=torch.float64)
    error[string == 2] = 1.0
    assert (by_string(error, Y, string, 5) < 1).tolist() == [False, False, True, False, False]


def test_the_bands_together_are_the_whole() -> None:
    X, d = draw(50, 16) * torch.linspace(4, 0.1, 16), 16
    Y = X @ rotation(d)
    error, Q = 0.3 * draw(50, d, seed=2), axes(Y)
    scores = by_band(error, Y, Q)
    assert scores.shape == (len(BANDS),)
    variances = (Y @ Q).square().sum(0)
    shares = torch.stack([part.sum() for part in variances.split([2, 2, 4, 8])]) / variances.sum()
    assert float((scores * shares).sum()) == pytest.approx(float(1 - error.square().sum() / Y.square().sum()))
    # An error along the first axis is in the first band alone.
    first = draw(50, 1) * Q[:, 0]
    assert (by_band(first, Y, Q) < 1 - 1e-9).tolist() == [True, False, False, False]
    torch.testing.assert_close(by_band(torch.stack([error, first]), Y, Q)[0], scores)


def test_a_band_without_variance_has_no_score() -> None:
    Y = torch.zeros(20, 16, dtype=torch.float64)
    Y[:, :4] = draw(20, 4)
    scores = by_band(0.1 * draw(20, 16, seed=1), Y, torch.eye(16, dtype=torch.float64))
    assert scores.isnan().tolist() == [False, False, True, True]


def slow(strings: tuple[list[int], ...], ids: list[int]) -> list[list[float]]:
    """The features of every token, one at a time."""
    rows = []
    for tokens in strings:
        for t, token in enumerate(tokens):
            here = [float(token == other) for other in ids] + [float(token not in ids)]
            last = tokens[t - 1] if t else None
            before = [float(last == other) for other in ids] + [float(t > 0 and last not in ids)]
            read = tokens[: t + 1]
            counts = [float(read.count(i)) for i in ids] + [float(sum(other not in ids for other in read))]
            place = [float(min(t, inputs.N_POSITIONS - 1) == k) for k in range(inputs.N_POSITIONS)]
            rows.append([*here, *before, *counts, *(count / (t + 1) for count in counts), *place])
    return rows


def test_the_features_of_what_was_read_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    some = side()
    features = InputFeatures.of(some)
    assert features.vocabulary.tolist() == [5, 7, 9, 11]
    expected = torch.tensor(slow(STRINGS, [5, 7, 9, 11]), dtype=torch.float64)
    torch.testing.assert_close(features(some), expected)
    # Rare tokens, and late positions, share a feature; tokens of other strings may be unknown.
    monkeypatch.setattr(inputs, "N_TOKENS", 3)
    monkeypatch.setattr(inputs, "N_POSITIONS", 4)
    few = InputFeatures.of(some)
    assert few.vocabulary.tolist() == [5, 7, 9]
    others = ([5, 6, 30, 9, 11, 11], [11, 9])
    expected = torch.tensor(slow(others, [5, 7, 9]), dtype=torch.float64)
    torch.testing.assert_close(few(side(others)), expected)


def test_a_linear_function_of_the_features_is_predicted_on_new_rows() -> None:
    F, new, W = draw(60, 7), draw(20, 7, seed=1), draw(7, 3, seed=2)
    Y = F @ W
    torch.testing.assert_close(predict(F, Y - Y.mean(0), new), new @ W - Y.mean(0), atol=1e-4, rtol=1e-4)
    # Features that are the same, or always 0, do no harm.
    twice = [torch.cat([part, part[:, :2], torch.zeros(len(part), 1)], dim=1) for part in (F, new)]
    torch.testing.assert_close(predict(twice[0], Y - Y.mean(0), twice[1]), new @ W - Y.mean(0), atol=1e-4, rtol=1e-4)


def test_halves_without_noise_agree_in_every_direction_that_varies() -> None:
    X = draw(80, 6)
    X -= X.mean(0)
    half = torch.arange(80) % 2 == 0
    found = split_half(X, X @ rotation(6), half, axes(X), 0)
    assert found.distance == pytest.approx(0, abs=1e-9)
    assert found.n_stable == 6
    # Of five directions the last is the same or turned about, whatever the rows; it never counts.
    flat = X.clone()
    flat[:, 5] = 0
    assert {split_half(flat, flat @ rotation(6), half, axes(flat), seed).n_stable for seed in range(8)} == {5}


def test_halves_of_unrelated_rows_agree_in_next_to_nothing() -> None:
    X, Y = draw(400, 40), draw(400, 40, seed=1)
    found = split_half(X, Y, torch.arange(400) % 2 == 0, axes(X), 0)
    assert found.distance == pytest.approx(1, abs=0.1)
    assert found.n_stable == 0


def test_a_rotation_has_the_distance_of_its_matrix() -> None:
    eye = torch.eye(16, dtype=torch.float64)
    assert (distance(eye), distance(-eye)) == (0.0, pytest.approx(8.0))
    unrelated = fit_rotations(draw(99, 16), draw(99, 16, seed=1))
    assert distance(unrelated) == pytest.approx(32**0.5, rel=0.2)


def test_the_rank_is_the_number_of_directions_that_rows_vary_in() -> None:
    X = draw(50, 3) @ draw(3, 8, seed=1)
    X -= X.mean(0)
    assert rank(X) == 3
    # What single precision leaves of zeros is no direction, and a weak direction is one.
    assert rank(X + 1e-8 * draw(50, 8, seed=2)) == 3
    assert rank(X + 1e-4 * draw(50, 8, seed=2)) == 8
