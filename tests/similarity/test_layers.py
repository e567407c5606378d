"""Linear CKA of all layers at once, and float32 where one number is asked for."""

import pytest
import torch
from planted import draw
from torch import Tensor

from bridge.errors import FitError
from bridge.similarity import layers as layers_module
from bridge.similarity.cka import LinearCka, linear_cka
from bridge.similarity.layers import cka_matrix
from bridge.similarity.neighbours import mutual_knn, near_rows
from bridge.similarity.shape import Procrustes, procrustes_similarity
from bridge.similarity.states import LayerStates

SIDES = (
    [draw(40, 30) + 2.0, draw(40, 5, seed=1), draw(40, 90, seed=2)],
    [draw(40, 30) @ draw(30, 20, seed=3), draw(40, 70, seed=4)],
)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("way", ["_by_kernels", "_by_features"])
@pytest.mark.parametrize("block", [7, 64])
def test_every_pair_of_layers_scores_as_it_does_alone(
    way: str, debiased: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers_module, "_features_are_less", lambda sides, n: way == "_by_features")
    monkeypatch.setattr(layers_module, "LEAST_BLOCK", block)
    name = "cka_linear_debiased" if debiased else "cka_linear"
    expected = [[LinearCka.of(X, Y).score(name) for Y in SIDES[1]] for X in SIDES[0]]
    matrix = cka_matrix(*SIDES, debiased=debiased)
    torch.testing.assert_close(matrix, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_no_layer_is_refused() -> None:
    with pytest.raises(FitError, match="got 0 and 2 layers; wanted at least one of each"):
        cka_matrix([], SIDES[1])


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("n", [300, 600])
def test_float32_states_score_as_in_float64_but_for_its_rounding(n: int, mean: float) -> None:
    X, Y = (M.float() for M in (draw(n, 400) + mean, draw(n, 400, seed=2) + 0.5 * draw(n, 400) - mean))
    for debiased in (False, True):
        exact = linear_cka(X.double(), Y.double(), debiased)
        assert linear_cka(X, Y, debiased) == pytest.approx(exact, abs=1e-5)
        assert float(cka_matrix([X, Y], [Y], debiased)[0, 0]) == pytest.approx(exact, abs=1e-5)
    assert procrustes_similarity(X, Y) == pytest.approx(procrustes_similarity(X.double(), Y.double()), abs=1e-5)
    assert mutual_knn(X, Y, k=5) == mutual_knn(X.double(), Y.double(), k=5)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_one_pair_of_procrustes_is_the_one_of_many(shape: tuple[int, int]) -> None:
    X, Y = draw(*shape), draw(shape[0], 50, seed=2)
    Y[:, :20] += X[:, :20]
    assert procrustes_similarity(1e9 * X, Y) == pytest.approx(Procrustes.of(X, Y).score(), abs=1e-12)


@pytest.mark.parametrize("spread", [1e-4, 2e-3])
def test_neighbours_that_float32_cannot_tell_apart_are_told_in_float64(spread: float) -> None:
    # All rows are near to each other: cosines differ in their ninth digit, or in their sixth.
    X = 1.0 + spread * draw(300, 20)
    cosines = LayerStates(X).cosines.clone().fill_diagonal_(-1.0)
    levels = (cosines / 1e-7).round()
    near = near_rows(LayerStates(X), 6, seed=0)
    chosen = levels.gather(1, near).sort(dim=1).values
    torch.testing.assert_close(chosen, levels.topk(6, dim=1).values.flip(1))
    if spread == 1e-4:
        # Which of equal ones are near is drawn.
        assert not torch.equal(near.sort(dim=1).values, near_rows(LayerStates(X), 6, seed=1).sort(dim=1).values)


def test_the_way_with_less_work_is_taken() -> None:
    narrow, wide = torch.zeros(100, 10), torch.zeros(100, 1000)
    assert layers_module._features_are_less([[narrow], [narrow]], 100)
    assert not layers_module._features_are_less([[wide], [wide]], 100)
    assert not layers_module._features_are_less([[torch.zeros(100, 90)] * 30] * 2, 100)


def unbiased_in_numpy(X: Tensor, Y: Tensor) -> float:
    """Song's estimator as it is written, of the kernels as they are."""

    def hsic(K: Tensor, L: Tensor) -> float:
        K, L = K.clone().fill_diagonal_(0), L.clone().fill_diagonal_(0)
        n = len(K)
        return float((K * L).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * (K.sum(0) @ L.sum(0)) / (n - 2))

    K, L = X.double() @ X.double().T, Y.double() @ Y.double().T
    return hsic(K, L) / (hsic(K, K) * hsic(L, L)) ** 0.5


@pytest.mark.parametrize("shape", [(300, 260), (400, 600)])
@pytest.mark.parametrize("times", [30.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_debiased_alignment_bears_one_huge_row(dtype: torch.dtype, times: float, shape: tuple[int, int]) -> None:
    X = draw(*shape)
    Y = X @ draw(shape[1], shape[1], seed=1) / shape[1] ** 0.5 + draw(*shape, seed=2)
    X[3] *= times
    Y[3] *= times
    X, Y = X.to(dtype), Y.to(dtype)
    expected = unbiased_in_numpy(X, Y)
    assert linear_cka(X, Y, debiased=True) == pytest.approx(expected, abs=1e-5)
    assert float(cka_matrix([Y, X], [Y], debiased=True)[1, 0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scale", [1e18, 1e30])
def test_float32_states_whose_squares_overflow_are_compared_in_float64(scale: float) -> None:
    X = draw(300, 260).float()
    assert linear_cka(X * scale, X) == pytest.approx(1.0)


def test_states_of_which_a_gradient_is_asked_are_compared_like_others() -> None:
    X, Y = draw(300, 260), draw(300, 260, seed=1)
    expected = cka_matrix([X, Y], [Y])
    assert torch.equal(cka_matrix([X.clone().requires_grad_(), Y], [Y.clone().requires_grad_()]), expected)
