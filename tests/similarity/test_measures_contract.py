"""What every measure of similarity promises, for each of them."""

from itertools import pairwise

import pytest
import torch
from planted import draw, rotation

from bridge.errors import FitError
from bridge.permutations import permutations
from bridge.similarity.calibration import calibrate
from bridge.similarity.measures import DEFAULT_MEASURES, MEASURES
from bridge.similarity.scorer import Options
from bridge.similarity.scorers import SCORERS
from bridge.similarity.states import LayerStates

OPTIONS = Options(k=8, tie_seeds=(0, 0))
NAMES = list(MEASURES)
# How far equal states may be from 1: a penalty shrinks what is predicted of them.
EQUAL = {"linear_predictivity": 0.01}


def score(name: str, X: torch.Tensor, Y: torch.Tensor) -> float:
    return SCORERS[name].of(X, Y, OPTIONS).score(name)


def test_there_are_fourteen_measures_and_each_is_what_its_scorer_computes() -> None:
    assert (len(MEASURES), len(DEFAULT_MEASURES)) == (14, 11)
    assert SCORERS.keys() == MEASURES.keys()
    for name, measure in MEASURES.items():
        assert name == measure.name
        assert name in SCORERS[name].measures


@pytest.mark.parametrize("name", NAMES)
def test_states_are_as_similar_to_themselves_as_can_be(name: str) -> None:
    X = draw(60, 12)
    assert score(name, X, X) == pytest.approx(1.0, abs=EQUAL.get(name, 1e-7))


@pytest.mark.parametrize("name", NAMES)
def test_rotation_reflection_and_isotropic_scale_change_nothing(name: str) -> None:
    X, Y = draw(60, 12) + 0.3, draw(60, 9, seed=5)
    Y[:, :6] += X[:, :6]
    moved, narrow = 3.7 * X @ rotation(12), 0.2 * Y @ rotation(9)
    if name == "rsa_correlation":
        assert "not rotation" in MEASURES[name].invariant_to
        assert abs(score(name, moved, Y) - score(name, X, Y)) > 1e-3
        assert score(name, 3.7 * X, Y) == pytest.approx(score(name, X, Y), abs=1e-7)
        return
    assert score(name, moved, Y) == pytest.approx(score(name, X, Y), abs=1e-7)
    assert score(name, Y, moved) == pytest.approx(score(name, Y, X), abs=1e-7)
    assert score(name, moved, X) == pytest.approx(1.0, abs=EQUAL.get(name, 1e-7))
    changes = [abs(score(name, X, narrow) - score(name, X, Y)), abs(score(name, narrow, X) - score(name, Y, X))]
    if "not rotation" in MEASURES[name].invariant_to:
        # The narrower side gives the weights, which add up features one by one.
        assert name == "pwcca"
        assert min(changes) > 1e-3
    else:
        assert max(changes) < 1e-7


@pytest.mark.parametrize("name", NAMES)
def test_a_shift_changes_what_says_so_and_nothing_else(name: str) -> None:
    X, Y = draw(60, 12), draw(60, 12, seed=5) + draw(60, 12)
    # Not the same in every feature, which correlations across features would not see.
    change = abs(score(name, X + torch.linspace(1.0, 3.0, 12, dtype=torch.float64), Y) - score(name, X, Y))
    if "not shift" in MEASURES[name].invariant_to:
        assert change > 1e-3
    else:
        assert change < 1e-7


@pytest.mark.parametrize("name", NAMES)
def test_an_anisotropic_map_changes_all_but_canonical_correlations(name: str) -> None:
    X, Y = draw(80, 10), draw(80, 12, seed=5)
    Y[:, :6] += 2 * X[:, :6]
    # PWCCA takes its weights from X, the narrower side.
    stretched = Y @ torch.diag(torch.linspace(0.2, 5.0, 12, dtype=torch.float64)) @ rotation(12)
    change = abs(score(name, X, stretched) - score(name, X, Y))
    if name == "pwcca":
        assert change < 1e-7
    elif name == "svcca":
        whole = [SCORERS[name].of(X, y, Options(variance=1.0)).score() for y in (Y, stretched)]
        assert whole[0] == pytest.approx(whole[1], abs=1e-7)
    else:
        assert change > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_more_shared_directions_score_higher(name: str) -> None:
    X, noise = draw(300, 16), draw(300, 16, seed=5)
    scores = []
    for k in (0, 4, 8, 12, 16):
        Y = noise.clone()
        Y[:, :k] = X[:, :k]
        scores.append(score(name, X, Y if "not rotation" in MEASURES[name].invariant_to else Y @ rotation(16)))
    assert all(a < b for a, b in pairwise(scores))
    assert scores[-1] == pytest.approx(1.0, abs=EQUAL.get(name, 1e-7))


@pytest.mark.parametrize("name", NAMES)
def test_a_permutation_by_lookup_is_one_of_the_states(name: str) -> None:
    X, Y = [draw(40, 7), draw(40, 9, seed=1)], [draw(40, 6, seed=2), draw(40, 7), draw(40, 11, seed=4)]
    scorer = SCORERS[name]([LayerStates(x) for x in X], [LayerStates(y) for y in Y], OPTIONS)
    permutation = permutations(40, 1, torch.Generator().manual_seed(3), at_once=True)[0]
    scores = scorer.scores(permutation)[scorer.measures.index(name)]
    assert scores.shape == (2, 3)
    expected = torch.tensor([[score(name, x, y[permutation]) for y in Y] for x in X], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_unrelated_states_with_a_shift_are_worth_nothing_after_calibration(name: str) -> None:
    scorer = SCORERS[name]
    values, ranks = [], []
    for seed in range(6):
        X, Y = draw(50, 20, seed=10 + seed) + 3.0, draw(50, 20, seed=50 + seed) - 4.0
        pairings = permutations(50, 19, torch.Generator().manual_seed(seed), at_once=True)
        null = calibrate([scorer.of(X, Y, OPTIONS)], {"shuffled": pairings})[name].nulls["shuffled"]
        values.append(float(null.calibrated))
        ranks.append(float(null.p))
    assert max(values) < 0.1
    assert sum(values) / 6 < 0.02
    assert max(ranks) > 0.2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (draw(3, 2), draw(3, 2), "X has 3 rows; wanted at least 4"),
        (draw(20, 2), draw(19, 2), "layers have 19 and 20 rows; wanted as many in each"),
        (draw(20, 2), torch.ones(20, 2), "all 20 rows of Y are the same; wanted rows that differ"),
        (draw(20, 2) / 0, draw(20, 2), "20 of 20 rows of X hold NaN or infinite values"),
        (draw(20, 2)[:, 0], draw(20, 2), r"X has shape \(20,\); wanted \(n, d\)"),
    ],
)
def test_states_that_cannot_be_compared_are_refused(name: str, X: torch.Tensor, Y: torch.Tensor, message: str) -> None:
    with pytest.raises(FitError, match=message):
        score(name, X, Y)
