"""Replay against the slow truth, for every family, in float32.

Bit for bit, all families: decoding a raw last state against the logits of the model's own one-token step; a
cache after use against the same cache before; the model after use against before. Within 1e-5, all families:
what is compared with a pass over whole prompts, since products and sums over other shapes round otherwise.
"""

import copy

import accelerate
import pytest
import torch
import transformers
from families import COMMON, FAMILIES, hooked_logits, loaded, prompts, shared

from bridge.activations.extract import extract
from bridge.errors import ModelError
from bridge.models.anatomy import anatomy
from bridge.models.replay import context_cache, replay

LAYERS = range(5)
CLOSE = {"rtol": 0.0, "atol": 1e-5}
# GPT-J, and every family with an RMSNorm, rounds to float32 inside: the last bit of a float64 can decide how.
FLOAT32_INSIDE, RMS_NORM = ("gptj",), "RMSNorm"


def ids_of(lm, *lengths, seed=0):
    return torch.tensor(lm.encode(prompts(*lengths, seed=seed)))


def foreign(lm, n, seed=3):
    return torch.randn(n, 32, generator=torch.Generator().manual_seed(seed)) * 2


def test_decoding_the_raw_last_state_gives_the_models_own_logits_bit_for_bit(lm):
    ids = ids_of(lm, 9, 9, 9)
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    raw = []
    handle = lm.anatomy.blocks[-1].register_forward_hook(
        lambda module, args, output: raw.append(lm.anatomy.state_of(output))
    )
    own = lm.model(ids[:, -1:], past_key_values=cache).logits[:, -1]
    handle.remove()
    assert torch.equal(replay(lm.model, lm.anatomy, raw[0][:, -1], 4), own)


def test_decoding_the_raw_last_state_is_within_1e_5_of_a_pass_over_all_positions(lm):
    texts = prompts(9, 9, 9)
    states = extract(lm, texts, [4])[4]
    own = lm.model(torch.tensor(lm.encode(texts)), use_cache=False).logits[:, -1]
    torch.testing.assert_close(replay(lm.model, lm.anatomy, states, 4), own, **CLOSE)


def test_a_norm_forgotten_or_applied_twice_would_show(lm):
    if lm.anatomy.final_norm is None:
        pytest.skip("this family has no final norm")
    states = extract(lm, prompts(9, 9, 9), [4])[4]
    right = replay(lm.model, lm.anatomy, states, 4)
    normed = lm.anatomy.final_norm(states)
    assert (replay(lm.model, lm.anatomy, normed, 4) - right).abs().max() > 1e-2
    assert (lm.anatomy.head(states) - right).abs().max() > 1e-2


@pytest.mark.parametrize("layer", LAYERS)
def test_foreign_states_behind_a_cached_context_equal_a_hooked_full_pass(lm, layer):
    ids = ids_of(lm, 11, 11, 11)
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    states = foreign(lm, 3)
    got = replay(lm.model, lm.anatomy, states, layer, cache)
    torch.testing.assert_close(got, hooked_logits(lm, ids, states, layer), **CLOSE)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_in_float64_the_difference_from_the_hooked_pass_vanishes(family):
    lm = loaded(family)
    lm.model.double()
    ids = ids_of(lm, 11, 11, 11)
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    states = foreign(lm, 3).double()
    worst = max(
        (replay(lm.model, lm.anatomy, states, layer, cache) - hooked_logits(lm, ids, states, layer)).abs().max()
        for layer in LAYERS
    )
    rounds = family in FLOAT32_INSIDE or any(RMS_NORM in type(module).__name__ for module in lm.model.modules())
    assert worst < (1e-5 if rounds else 1e-11)


@pytest.mark.parametrize("layer", [1, 3])
def test_one_block_off_would_show(lm, layer):
    ids = ids_of(lm, 11, 11, 11)
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    states = foreign(lm, 3)
    truth = hooked_logits(lm, ids, states, layer)
    for wrong in (layer - 1, layer + 1):
        assert (replay(lm.model, lm.anatomy, states, wrong, cache) - truth).abs().max() > 1e-3


@pytest.mark.parametrize("layer", LAYERS)
def test_putting_back_the_targets_own_state_gives_its_own_logits(lm, layer):
    texts = prompts(11, 11)
    ids = torch.tensor(lm.encode(texts))
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1], from_layer=layer)
    own = extract(lm, texts, [layer])[layer]
    got = replay(lm.model, lm.anatomy, own, layer, cache)
    torch.testing.assert_close(got, lm.model(ids, use_cache=False).logits[:, -1], **CLOSE)


def test_rows_choose_the_context_of_each_state(lm):
    ids = ids_of(lm, 8, 8, 8)
    rows = torch.tensor([2, 0, 0, 1, 2])
    states = foreign(lm, 5)
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    got = replay(lm.model, lm.anatomy, states, 2, cache, rows)
    torch.testing.assert_close(got, hooked_logits(lm, ids[rows], states, 2), **CLOSE)


def test_one_context_serves_all_states(lm):
    ids = ids_of(lm, 8)
    states = foreign(lm, 5)
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1], from_layer=2)
    got = replay(lm.model, lm.anatomy, states, 2, cache)
    torch.testing.assert_close(got, hooked_logits(lm, ids.expand(5, -1), states, 2), **CLOSE)


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_without_a_context_the_state_stands_at_the_first_position(lm, layer):
    states = foreign(lm, 3)
    truth = hooked_logits(lm, torch.full((3, 1), 7), states, layer)
    torch.testing.assert_close(replay(lm.model, lm.anatomy, states, layer), truth, **CLOSE)


def test_the_model_is_left_exactly_as_before(lm):
    ids = ids_of(lm, 8, 8)
    before = lm.model(ids, use_cache=False).logits
    attributes = [set(block.__dict__) for block in lm.anatomy.blocks]
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    for layer in LAYERS:
        replay(lm.model, lm.anatomy, foreign(lm, 2), layer, cache)
    assert [set(block.__dict__) for block in lm.anatomy.blocks] == attributes
    assert not any("forward" in block.__dict__ for block in lm.anatomy.blocks)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())
    assert torch.equal(lm.model(ids, use_cache=False).logits, before)


def test_the_model_is_left_as_before_when_a_block_raises():
    lm = loaded("llama")

    def broken(*args, **kwargs):
        raise RuntimeError("broken")

    lm.anatomy.blocks[3].forward = broken
    with pytest.raises(RuntimeError, match="broken"):
        replay(lm.model, lm.anatomy, foreign(lm, 2), 2)
    assert ["forward" in block.__dict__ for block in lm.anatomy.blocks] == [False, False, False, True]
    assert lm.anatomy.blocks[3].forward is broken


def test_a_forward_that_accelerate_put_on_a_block_is_still_there_afterwards():
    lm = loaded("mistral")
    ids = ids_of(lm, 8, 8)
    truth = hooked_logits(lm, ids, foreign(lm, 2), 2)
    for block in lm.anatomy.blocks:
        accelerate.hooks.add_hook_to_module(block, accelerate.hooks.AlignDevicesHook("cpu"))
    own = [block.__dict__["forward"] for block in lm.anatomy.blocks]
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    got = replay(lm.model, lm.anatomy, foreign(lm, 2), 2, cache)
    torch.testing.assert_close(got, truth, **CLOSE)
    after = [block.__dict__["forward"] for block in lm.anatomy.blocks]
    assert all(now is before for now, before in zip(after, own, strict=True))


def test_the_cache_is_unchanged_after_use(lm):
    ids = ids_of(lm, 8, 8)
    cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
    before = copy.deepcopy(cache)
    first = replay(lm.model, lm.anatomy, foreign(lm, 2), 1, cache)
    assert cache.get_seq_length() == before.get_seq_length() == 8
    for entry, kept in zip(cache.layers, before.layers, strict=True):
        assert torch.equal(entry.keys, kept.keys)
        assert torch.equal(entry.values, kept.values)
        assert entry.get_seq_length() == kept.get_seq_length()
    assert torch.equal(replay(lm.model, lm.anatomy, foreign(lm, 2), 1, cache), first)


def test_a_cache_from_a_layer_on_keeps_no_keys_before_it_but_every_length(lm):
    ids = ids_of(lm, 8, 8)
    full = context_cache(lm.model, lm.anatomy, ids)
    late = context_cache(lm.model, lm.anatomy, ids, from_layer=3)
    assert [e.get_seq_length() for e in late.layers] == [e.get_seq_length() for e in full.layers] == [9] * 4
    assert [e.get_mask_sizes(1) for e in late.layers] == [e.get_mask_sizes(1) for e in full.layers]
    assert all(entry.keys.untyped_storage().nbytes() == 4 for entry in late.layers[:3])
    assert torch.equal(late.layers[3].keys, full.layers[3].keys)


def test_the_blocks_before_the_layer_are_not_run():
    lm = shared("llama")
    ran = []
    handles = [
        block.self_attn.register_forward_hook(lambda *a, index=i: ran.append(index))
        for i, block in enumerate(lm.anatomy.blocks)
    ]
    replay(lm.model, lm.anatomy, foreign(lm, 2), 3)
    for handle in handles:
        handle.remove()
    assert ran == [3]


def test_eager_and_sdpa_attention_both_equal_the_hooked_pass():
    for implementation in ("eager", "sdpa"):
        lm = loaded("gemma3", attn_implementation=implementation)
        ids = ids_of(lm, 11, 11)
        cache = context_cache(lm.model, lm.anatomy, ids[:, :-1])
        got = replay(lm.model, lm.anatomy, foreign(lm, 2), 1, cache)
        torch.testing.assert_close(got, hooked_logits(lm, ids, foreign(lm, 2), 1), **CLOSE)


def test_states_in_float64_are_brought_to_the_models_dtype():
    lm = shared("llama")
    states = foreign(lm, 2)
    assert torch.equal(replay(lm.model, lm.anatomy, states.double(), 4), replay(lm.model, lm.anatomy, states, 4))


def test_a_model_with_a_recurrent_state_is_refused_in_one_line():
    options = {
        **COMMON,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    config = transformers.Qwen3NextConfig(
        **options,
        layer_types=["linear_attention", "full_attention"],
        linear_num_value_heads=2,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=0,
    )
    model = transformers.Qwen3NextForCausalLM(config).eval()
    with pytest.raises(ModelError, match="wanted keys and values, which a state behind a context attends to") as caught:
        context_cache(model, anatomy(model), torch.tensor([[5, 6, 7]]))
    assert "\n" not in str(caught.value)
