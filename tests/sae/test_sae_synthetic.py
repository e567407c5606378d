import pytest
import torch

from bridge.sae.synthetic import superposed


def drawn(n: int = 4000, seed: int = 0, **changes: object):
    return superposed(n, 10, 30, 3.0, torch.Generator().manual_seed(seed), **changes)


def test_states_are_sums_of_dictionary_rows_that_fire_as_often_as_they_should() -> None:
    made = drawn(decades=1.0)
    torch.testing.assert_close(made.X, made.codes @ made.dictionary)
    torch.testing.assert_close(made.dictionary.norm(dim=1), torch.ones(30))
    assert made.probability.sum().item() == pytest.approx(3.0, rel=1e-4)
    assert (made.probability[0] / made.probability[-1]).item() == pytest.approx(10.0, rel=1e-3)
    fired = (made.codes > 0).double().mean(0)
    assert (fired - made.probability).abs().max() < 0.03
    magnitudes = made.codes[made.codes > 0].log()
    assert magnitudes.mean().item() == pytest.approx(0.0, abs=0.01)
    assert magnitudes.std().item() == pytest.approx(0.25, abs=0.01)


def test_a_seed_has_one_dictionary_and_codes_may_be_left_out() -> None:
    made = drawn()
    assert torch.equal(drawn(10).dictionary, made.dictionary)
    assert not torch.equal(drawn(seed=1).dictionary, made.dictionary)
    light = drawn(keep_codes=False)
    assert torch.equal(light.X, made.X)
    assert light.codes.shape == (0, 30)


def test_probabilities_above_1_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^the most frequent feature fires with probability 1\.\d+; lower k or decades$"
    ):
        drawn(decades=6.0)
