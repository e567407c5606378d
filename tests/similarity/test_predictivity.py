"""Linear predictivity against a loop over folds with scikit-learn."""

import pytest
import torch
from planted import draw
from sklearn.linear_model import Ridge
from torch import Tensor

from bridge.similarity.predictivity import linear_predictivity


def slow(X: Tensor, Y: Tensor, penalty: float) -> float:
    errors = totals = 0.0
    place = torch.arange(len(X)) % 5
    for fold in range(5):
        fit, held = place != fold, place == fold
        centered = X[fit] - X[fit].mean(0)
        absolute = penalty * float(centered.square().sum()) / min(centered.shape)
        model = Ridge(absolute).fit(X[fit].numpy(), Y[fit].numpy())
        errors += float((torch.tensor(model.predict(X[held].numpy())) - Y[held]).square().sum())
        totals += float((Y[held] - Y[fit].mean(0)).square().sum())
    return 1.0 - errors / totals


@pytest.mark.parametrize("d", [6, 60])
def test_it_is_the_held_out_share_of_the_variance(d: int) -> None:
    X, Y = draw(43, d) + 2.0, draw(43, 4, seed=2) - 1.0
    Y[:, :2] += X[:, :2]
    for penalty in (0.01, 1.0):
        assert linear_predictivity(X, Y, penalty) == pytest.approx(slow(X, Y, penalty), abs=1e-10)
    assert linear_predictivity(X, Y) != pytest.approx(linear_predictivity(Y, X), abs=0.01)


def test_unrelated_states_are_predicted_no_better_than_by_the_mean() -> None:
    assert linear_predictivity(draw(60, 30), draw(60, 10, seed=3)) < 0.0
