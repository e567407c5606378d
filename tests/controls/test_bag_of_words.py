"""What the words of a prompt are worth without a model that read them."""

import pytest
import torch
from torch import Tensor

from bridge.carry.carrier import Carrier
from bridge.carry.counts import TokenCounts as BagOfWords
from bridge.carry.rows import Rows
from bridge.errors import FitError
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.ridge import Ridge
from bridge.normalize import Normalize

Texts = list[tuple[int, ...]]
N, M, D = 200, 40, 24


def texts(n: int, n_words: int = 12, seed: int = 0) -> Texts:
    """Texts of five of the words 100, 101, ... in any order, behind a first token that all have."""
    g = torch.Generator().manual_seed(seed)
    return [(1, *(100 + torch.randperm(n_words, generator=g)[:5]).tolist()) for _ in range(n)]


def rows(fit: Texts, X: Tensor, Y: Tensor) -> Rows:
    n = torch.arange(len(fit))
    return Rows(X, Y, n % 4, n % 7, n, source=tuple(fit))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def codes(some: Texts, width: int = D) -> Tensor:
    """The sum of random codes of each text's tokens, computed token by token."""
    table = noise(300, width)
    return torch.stack([table[list(text)].sum(0) for text in some])


def test_tokens_are_counted_wherever_they_stand_and_those_of_no_fit_row_are_not() -> None:
    bag = BagOfWords([(9, 3, 3), (3, 5)], width=4)
    states = bag.states([(9, 3, 3), (3, 3, 9), (5, 77), ()])
    assert states.tolist() == [[2, 0, 1, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_more_tokens_than_dimensions_keep_the_leading_directions_of_the_fit_rows() -> None:
    fit, new = texts(N), texts(M, seed=1)
    counts = torch.zeros(N + M, 200, dtype=torch.float64)
    for i, text in enumerate([*fit, *new]):
        for token in text:
            counts[i, token] += 1
    counts -= counts[:N].mean(0)
    leading = torch.linalg.svd(counts[:N], full_matrices=False).Vh[:8]
    bag = BagOfWords(fit, width=8)
    for some, part in ((fit, counts[:N]), (new, counts[N:])):
        states = bag.states(some)
        assert states.shape == (len(some), 8)
        expected = part @ leading.T
        # directions are unique up to their sign
        torch.testing.assert_close(states.abs(), expected.abs(), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(states @ states.T, expected @ expected.T, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scale", ["frobenius", "none"])
def test_a_target_that_adds_up_words_is_carried_whatever_the_states_of_the_source_are(scale: str) -> None:
    fit, new = texts(N), texts(M, seed=1)
    Y, Y_new = codes(fit), codes(new)
    for X, X_new in ((noise(N, D), noise(M, D)), (codes(fit), codes(new))):
        subject = Carrier(Ridge(1e-9), Normalize(scale=scale), rows(fit, X, Y), 1, 0)
        carried = subject.carry("bag_of_words", X_new, Y_new, texts=new)
        torch.testing.assert_close(carried[0], Y_new, rtol=1e-6, atol=1e-6)


def test_it_sees_neither_the_order_of_words_nor_the_states_of_the_source() -> None:
    fit, new = texts(N), texts(M, seed=1)
    X, Y, X_new = noise(N, D), codes(fit), noise(M, D)

    def carried(fit: Texts, new: Texts, sign: float = 1.0) -> Tensor:
        subject = Carrier(Orthogonal(), Normalize(), rows(fit, sign * X, Y), 1, 0)
        return subject.carry("bag_of_words", sign * X_new, Y[:M], texts=new)

    turned = carried([text[::-1] for text in fit], [text[::-1] for text in new], sign=-1.0)
    torch.testing.assert_close(turned, carried(fit, new), rtol=1e-9, atol=1e-9)
    other = carried(fit, texts(M, seed=2))
    assert (other - turned).norm() > 0.1 * turned.norm()


def test_words_of_no_fit_row_leave_the_targets_mean() -> None:
    fit = texts(N)
    subject = Carrier(Ridge(0.1), Normalize(scale="none"), rows(fit, noise(N, D), codes(fit)), 1, 0)
    new = subject.carry("bag_of_words", noise(2, D), noise(2, D), texts=[(1, 7, 8), (1, 9, 7, 7)])
    torch.testing.assert_close(new[0, 0], new[0, 1], rtol=0, atol=1e-9)


def test_texts_are_told_apart_by_the_counts_of_known_tokens_alone() -> None:
    bag = BagOfWords([(1, 2, 2), (1, 3)], width=4)
    assert bag.tells_apart([(1, 2), (1, 2, 2)])
    assert bag.tells_apart([(1, 2), (1, 3)])
    assert not bag.tells_apart([(1, 2, 3), (3, 2, 1), (9, 1, 2, 3)])
    assert not bag.tells_apart([(7, 8), (9,)])


def test_a_map_that_is_trained_is_trained_for_the_words_as_well() -> None:
    fits = []

    class Trainer:
        def fit(self, map: Ridge, source: Normalize, target: Normalize, X: Tensor, Y: Tensor, orders: Tensor) -> list:
            fits.append(X)
            return [Ridge(0.1).fit(source.transform(X), target.transform(Y))]

    fit, new = texts(N), texts(M, seed=1)
    subject = Carrier(Ridge(0.1), Normalize(), rows(fit, noise(N, D), codes(fit)), 1, 0, Trainer())
    subject.carry("bag_of_words", noise(M, D), codes(new), texts=new)
    assert len(fits) == 2
    torch.testing.assert_close(fits[1], subject.bag_.states(fit))


def test_rows_of_the_same_tokens_have_no_bag_of_words_and_one_without_texts_is_refused() -> None:
    X, Y = noise(N, D), codes(texts(N))
    same = Carrier(Orthogonal(), Normalize(), rows([(1, 2, 3), (3, 2, 1)] * (N // 2), X, Y), 1, 0)
    assert same.absent_["bag_of_words"] == "all fit rows have the same tokens, so there is nothing to tell apart"
    with pytest.raises(FitError, match=r"^control bag_of_words is absent \(all fit rows have the same tokens"):
        same.carry("bag_of_words", X[:2], Y[:2], texts=[(1,), (2,)])
    with pytest.raises(FitError, match="^control bag_of_words has no texts"):
        Carrier(Orthogonal(), Normalize(), rows(texts(N), X, Y), 1, 0).carry("bag_of_words", X[:2], Y[:2])
