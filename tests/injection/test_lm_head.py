import pytest
import torch
from families import prompts, shared

from bridge.activations.extract import extract
from bridge.errors import ConfigError
from bridge.injection import LmHead, base
from bridge.models.replay import replay

CLOSE = {"rtol": 0.0, "atol": 1e-5}


def test_the_targets_own_last_states_give_its_own_logits(lm):
    texts = prompts(7, 4, 9, 4)
    states = extract(lm, texts, [4])[4]
    got = LmHead().prepare(lm, texts, 4).logits(states, torch.arange(4))
    own = torch.stack([lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1] for ids in lm.encode(texts)])
    torch.testing.assert_close(got, own, **CLOSE)
    assert got.dtype == torch.float32


def test_many_states_go_through_in_passes_of_bounded_size(monkeypatch):
    monkeypatch.setattr(base, "ROWS_PER_PASS", 4)
    monkeypatch.setattr(base, "LOGITS_PER_PASS", 1)
    lm = shared("llama")
    sizes = []
    handle = lm.anatomy.head.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    states = torch.randn(10, 32, generator=torch.Generator().manual_seed(0))
    got = LmHead().prepare(lm, ["w4"], 4).logits(states, torch.zeros(10, dtype=torch.long))
    handle.remove()
    assert sizes == [4, 4, 2]
    torch.testing.assert_close(got, replay(lm.model, lm.anatomy, states, 4), **CLOSE)


def test_at_an_earlier_layer_a_state_is_read_as_if_it_were_the_last():
    lm = shared("llama")
    states = extract(lm, ["w5 w6 w7"], [2])[2]
    got = LmHead().prepare(lm, ["w5 w6 w7"], 2).logits(states, torch.tensor([0]))
    assert torch.equal(got, replay(lm.model, lm.anatomy, states, 4))


def test_the_layer_is_the_final_one_unless_given():
    assert LmHead().target_layer(4, None) == 4
    assert LmHead().target_layer(4, 2) == 2
    with pytest.raises(
        ConfigError, match=r"^layer 9 is out of range for m; wanted 0\.\.4, as it has 4 blocks: change it$"
    ):
        LmHead().target_layer(4, 9, "m")


def test_logits_can_be_changed_in_place_and_carry_no_gradient_unless_the_states_do():
    lm = shared("llama")
    got = LmHead().prepare(lm, ["w4"], 4).logits(torch.randn(2, 32), torch.tensor([0, 0]))
    assert not got.requires_grad
    assert not got.is_inference()
    got -= 1.0
