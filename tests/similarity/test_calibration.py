"""Nulls from permutations: what they are worth, and that they are paid for by no unrelated data."""

import pytest
import torch
from planted import draw
from torch import Tensor

from bridge.errors import FitError
from bridge.permutations import permutations as drawn
from bridge.similarity.calibration import calibrate
from bridge.similarity.cka import LinearCka
from bridge.similarity.scorer import Options, Scorer
from bridge.similarity.shape import Procrustes
from bridge.similarity.states import LayerStates


class Chosen(Scorer):
    """Scores that were chosen: 0.9, 0.2 as observed; 0.1, 0.2, ... under permutations, in order."""

    measures = ("chosen",)

    def _prepare(self, source: list[LayerStates], target: list[LayerStates]) -> None:  # type: ignore[override]
        self.n_asked = 0

    def scores(self, permutation: Tensor) -> Tensor:
        self.n_asked += 1
        values = [0.9, 0.2] if self.n_asked == 1 else [0.1 * (self.n_asked - 1), 0.1 * self.n_asked]
        return torch.tensor(values, dtype=torch.float64).view(1, 1, 2)


def permutations(n: int, n_permutations: int, labels: Tensor | None = None, seed: int = 0) -> Tensor:
    return drawn(n, n_permutations, torch.Generator().manual_seed(seed), labels, at_once=True)


def test_p_mean_quantile_and_calibrated_score_are_their_definitions() -> None:
    null = calibrate([Chosen.of(draw(5, 2), draw(5, 2))], {"shuffled": permutations(5, 4)})["chosen"].nulls["shuffled"]
    # Draws 0.1, 0.2, 0.3, 0.4 against 0.9, and 0.2, 0.3, 0.4, 0.5 against 0.2: ties count.
    assert null.p.tolist() == [[1 / 5, 5 / 5]]
    assert null.mean.flatten().tolist() == pytest.approx([0.25, 0.35])
    # Of five scores the fifth: with so few none is above it.
    assert null.q95.flatten().tolist() == pytest.approx([0.9, 0.5])
    assert null.calibrated.flatten().tolist() == pytest.approx([0.0, (0.2 - 0.5) / 0.5])
    assert null.p_corrected.tolist() == [[1 / 5, 5 / 5]]


class Fine(Chosen):
    """0.9, 0.2 as observed; 0.01, 0.02, ... and 0.02, 0.03, ... under permutations."""

    def scores(self, permutation: Tensor) -> Tensor:
        scores = super().scores(permutation)
        return scores if self.n_asked == 1 else scores / 10.0


def test_the_quantile_is_a_score_in_its_place_among_all_of_them() -> None:
    scores = calibrate([Fine.of(draw(5, 2), draw(5, 2))], {"shuffled": permutations(5, 39)})["chosen"]
    null = scores.nulls["shuffled"]
    # The 38th of 40: of 0.01 to 0.39 and 0.9, and of 0.02 to 0.4 and another 0.2.
    assert null.q95.flatten().tolist() == pytest.approx([0.38, 0.38])
    assert null.calibrated.flatten().tolist() == pytest.approx([0.52 / 0.62, -0.18 / 0.62])
    # The same of the larger of both, 0.9 against 0.02 to 0.4, and of their mean, 0.55 against 0.015 to 0.395.
    largest, mean = scores.over_layers["max"], scores.over_layers["mean"]
    assert (float(largest.value), float(mean.value)) == pytest.approx((0.9, 0.55))
    assert float(largest.nulls["shuffled"].q95) == pytest.approx(0.39)
    assert float(mean.nulls["shuffled"].q95) == pytest.approx(0.385)
    assert float(mean.nulls["shuffled"].calibrated) == pytest.approx((0.55 - 0.385) / (1 - 0.385))
    assert float(largest.nulls["shuffled"].p) == float(mean.nulls["shuffled"].p) == pytest.approx(1 / 40)


def test_pairs_of_layers_that_do_not_count_are_neither_observed_nor_in_the_null() -> None:
    counted = torch.tensor([[False, True]])
    scores = calibrate([Fine.of(draw(5, 2), draw(5, 2))], {"shuffled": permutations(5, 39)}, counted=counted)["chosen"]
    for over in scores.over_layers.values():
        # The second pair of layers alone: 0.2 against 0.02 to 0.4.
        assert float(over.value) == pytest.approx(0.2)
        assert float(over.nulls["shuffled"].mean) == pytest.approx(0.21)
        assert float(over.nulls["shuffled"].q95) == pytest.approx(0.38)


class Noise(Chosen):
    """The same noise as observed and under permutations, at 100 x 300 pairs of layers that know nothing of each other."""

    def scores(self, permutation: Tensor) -> Tensor:
        return 0.1 * torch.randn(1, 100, 300, dtype=torch.float64, generator=self.options.k)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_permutations", "expected"), [(18, 0.0), (19, 1 / 20), (50, 2 / 51), (200, 10 / 201)])
def test_under_the_null_a_calibrated_score_is_above_zero_one_time_in_twenty_at_most(
    n_permutations: int, expected: float
) -> None:
    options = Options(k=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    scorer = Noise.of(draw(5, 2), draw(5, 2), options)
    null = calibrate([scorer], {"shuffled": permutations(5, n_permutations)})["chosen"].nulls["shuffled"]
    share = float((null.calibrated > 0).double().mean())
    # 30,000 draws: three standard errors are 0.004.
    assert share == pytest.approx(expected, abs=0.004)
    assert expected <= 0.05


def test_the_largest_of_all_layers_is_above_zero_one_time_in_twenty_at_most() -> None:
    above = {"max": 0, "mean": 0}
    for seed in range(100):
        source, target = ([LayerStates(draw(14, 4, seed=1000 * seed + s + o)) for s in range(3)] for o in (0, 500))
        null = calibrate([LinearCka(source, target, Options())], {"shuffled": permutations(14, 19, seed=seed)})
        for name, over in null["cka_linear_debiased"].over_layers.items():
            above[name] += float(over.nulls["shuffled"].calibrated) > 0
    # One of 20 of 100, and three standard errors.
    assert max(above.values()) <= 11


class Uneven(Chosen):
    """A quiet pair of layers, 0.2 against 0 to 0.03, and a loud one, 0.4 against 0 to 0.9."""

    def scores(self, permutation: Tensor) -> Tensor:
        self.n_asked += 1
        draw = 0.1 * (self.n_asked - 2)
        return torch.tensor([0.2, 0.4] if self.n_asked == 1 else [draw / 30, draw], dtype=torch.float64).view(1, 1, 2)


def test_a_quiet_pair_of_layers_is_found_beside_a_loud_one() -> None:
    scores = calibrate([Uneven.of(draw(5, 2), draw(5, 2))], {"shuffled": permutations(5, 10)})
    # By raw size the loud pair's permutations would hide the quiet pair: six of ten are larger than 0.2.
    assert scores["chosen"].nulls["shuffled"].p_corrected.flatten().tolist() == pytest.approx([1 / 11, 7 / 11])


def test_every_permutation_holds_every_row_once_and_labels_hold_their_rows() -> None:
    labels = torch.tensor([2, 0, 2, 1, 0, 0, 1, 2, 3])
    free, within = permutations(9, 50), permutations(9, 50, labels)
    for some in (free, within):
        assert (some.sort(dim=1).values == torch.arange(9)).all()
        assert len(torch.unique(some, dim=0)) > 20
    assert (labels[within] == labels).all()
    assert not (labels[free] == labels).all(1).any()
    # The only row of label 3 stays; every row of label 0 goes to every place of it.
    assert (within[:, 8] == 8).all()
    assert set(within[:, 1].tolist()) == {1, 4, 5}


def test_the_null_inside_relations_is_harder_than_the_free_one() -> None:
    relation = torch.arange(80) % 4
    # All that is shared is which relation an item is of.
    X, Y = (draw(4, 10, seed=s)[relation] + 0.3 * draw(80, 10, seed=s + 10) for s in (0, 1))
    nulls = {"shuffled": permutations(80, 99), "shuffled_within": permutations(80, 99, relation)}
    scores = calibrate([LinearCka.of(X, Y)], nulls)["cka_linear"]
    assert scores.nulls["shuffled"].p.item() == 0.01
    assert scores.nulls["shuffled"].calibrated.item() > 0.1
    assert scores.nulls["shuffled_within"].p.item() > 0.05
    assert scores.nulls["shuffled_within"].calibrated.item() < 0.05


def test_one_related_pair_of_layers_is_found_among_many() -> None:
    source = [LayerStates(draw(60, 10, seed=s)) for s in range(4)]
    target = [LayerStates(draw(60, 10, seed=s + 20)) for s in range(5)]
    target[3] = LayerStates(draw(60, 10, seed=23) + 0.7 * source[1].X)
    p = calibrate([Procrustes(source, target, Options())], {"shuffled": permutations(60, 99)})
    corrected = p["procrustes"].nulls["shuffled"].p_corrected
    assert corrected[1, 3].item() == 0.01
    corrected[1, 3] = 1.0
    assert corrected.min() > 0.05


def test_searching_unrelated_layers_finds_one_as_often_as_it_says() -> None:
    best_corrected, best_raw = [], []
    for seed in range(40):
        source, target = ([LayerStates(draw(14, 4, seed=1000 * seed + s + o)) for s in range(4)] for o in (0, 500))
        null = calibrate([LinearCka(source, target, Options())], {"shuffled": permutations(14, 19, seed=seed)})
        shuffled = null["cka_linear_debiased"].nulls["shuffled"]
        best_raw.append(float(shuffled.p.min()))
        best_corrected.append(float(shuffled.p_corrected.min()))
    # p is at most 0.1 in one of ten searches, when it is corrected.
    assert sum(p <= 0.1 for p in best_raw) > 12
    assert sum(p <= 0.1 for p in best_corrected) <= 9


def test_a_score_that_leaves_no_room_has_no_calibrated_value() -> None:
    # Four rows of full rank: every pairing correlates perfectly.
    from bridge.similarity.canonical import Svcca

    scores = calibrate([Svcca.of(draw(5, 9), draw(5, 9, seed=2))], {"shuffled": permutations(5, 9)})["svcca"]
    null = scores.nulls["shuffled"]
    assert scores.value.item() == pytest.approx(1.0)
    assert null.calibrated.isnan().all()
    assert null.p.item() == null.p_corrected.item() == 1.0


def test_no_permutation_is_refused() -> None:
    with pytest.raises(FitError, match="n_permutations is 0; wanted at least 1"):
        permutations(5, 0)
