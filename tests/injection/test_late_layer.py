"""The late layer against a full forward pass with a hook: within 1e-5 in float32, in every family."""

import dataclasses

import pytest
import torch
from families import hooked_logits, prompts, shared, word_tokenizer

from bridge.activations.extract import extract
from bridge.errors import ConfigError, DataError
from bridge.injection import LateLayer, LmHead, base

CLOSE = {"rtol": 0.0, "atol": 1e-5}
TEXTS = prompts(7, 3, 7, 9, 1)
ROWS = torch.tensor([4, 0, 2, 3, 1, 2, 2])


def foreign(n, seed=3):
    return torch.randn(n, 32, generator=torch.Generator().manual_seed(seed)) * 2


def slow(lm, texts, states, layer):
    ids = [torch.tensor(row)[None] for row in lm.encode(texts)]
    return torch.cat([hooked_logits(lm, row, state[None], layer) for row, state in zip(ids, states, strict=True)])


@pytest.mark.parametrize("k", range(5))
def test_on_the_same_prompt_it_equals_a_hooked_full_pass(lm, k):
    injection = LateLayer(k=k, context="same")
    layer = injection.target_layer(4, None)
    got = injection.prepare(lm, TEXTS, layer).logits(foreign(7), ROWS)
    truth = slow(lm, [TEXTS[row] for row in ROWS], foreign(7), 4 - k)
    torch.testing.assert_close(got, truth, **CLOSE)


@pytest.mark.parametrize("k", range(5))
def test_on_a_neutral_prompt_it_equals_a_hooked_full_pass(lm, k):
    injection = LateLayer(k=k, context="neutral", neutral_prompt="w8 w9 w10 w8 w9 w10 w11")
    got = injection.prepare(lm, TEXTS, 4 - k).logits(foreign(7), ROWS)
    torch.testing.assert_close(got, slow(lm, [injection.neutral_prompt] * 7, foreign(7), 4 - k), **CLOSE)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_hook_one_block_off_would_show(lm, k):
    got = LateLayer(k=k, context="same").prepare(lm, TEXTS, 4 - k).logits(foreign(7), ROWS)
    texts = [TEXTS[row] for row in ROWS]
    for wrong in (4 - k - 1, 4 - k + 1):
        assert (got - slow(lm, texts, foreign(7), wrong)).abs().max() > 1e-3


def test_the_targets_own_states_give_its_own_logits(lm):
    states = extract(lm, TEXTS, [2])[2]
    own = torch.stack([lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1] for ids in lm.encode(TEXTS)])
    got = LateLayer(k=2, context="same").prepare(lm, TEXTS, 2).logits(states, torch.arange(5))
    torch.testing.assert_close(got, own, **CLOSE)


def test_with_no_block_left_it_is_lm_head_and_the_prompt_plays_no_part(lm):
    plain = LmHead().prepare(lm, TEXTS, 4).logits(foreign(7), ROWS)
    for context in ("same", "neutral"):
        got = LateLayer(k=0, context=context, neutral_prompt="w8 w9").prepare(lm, TEXTS, 4).logits(foreign(7), ROWS)
        torch.testing.assert_close(got, plain, **CLOSE)


def test_the_prompt_matters_when_blocks_are_left():
    lm = shared("llama")
    states = foreign(1).expand(2, -1)
    got = LateLayer(k=2, context="same").prepare(lm, TEXTS, 2).logits(states, torch.tensor([0, 2]))
    assert (got[0] - got[1]).abs().max() > 1e-3


def test_each_context_is_cached_once_and_only_for_the_blocks_that_are_left():
    lm = shared("llama")
    same = LateLayer(k=1, context="same").prepare(lm, [*TEXTS, TEXTS[0]], 3)
    assert [context.cache.layers[3].keys.shape[0] for context in same.contexts_] == [2, 1, 1, 1]
    assert all(context.cache.layers[2].keys.untyped_storage().nbytes() == 4 for context in same.contexts_)
    neutral = LateLayer(k=1, context="neutral", neutral_prompt="w8 w9").prepare(lm, TEXTS, 3)
    assert [context.cache.layers[3].keys.shape[0] for context in neutral.contexts_] == [1]


def test_many_states_go_through_in_passes_of_bounded_size(monkeypatch):
    lm = shared("llama")
    injection = LateLayer(k=2, context="same").prepare(lm, TEXTS, 2)
    whole = injection.logits(foreign(7), ROWS)
    monkeypatch.setattr(base, "ROWS_PER_PASS", 2)
    monkeypatch.setattr(base, "LOGITS_PER_PASS", 1)
    sizes = []
    handle = lm.anatomy.head.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    torch.testing.assert_close(injection.logits(foreign(7), ROWS), whole, **CLOSE)
    handle.remove()
    assert max(sizes) == 2
    assert sum(sizes) == 7


def test_the_layer_follows_from_k_or_is_given():
    assert LateLayer(k=1).target_layer(4, None) == 3
    assert LateLayer(k=None).target_layer(4, 3) == 3
    assert LateLayer(k=None).target_layer(4, 0) == 0
    assert LateLayer(k=1).target_layer(4, 3) == 3


@pytest.mark.parametrize(
    ("k", "layer", "message"),
    [
        (9, None, "k=9 is out of range for m; wanted 0..4, as it has 4 blocks: change injection.k"),
        (-1, None, "k=-1 is out of range for m; wanted 0..4, as it has 4 blocks: change injection.k"),
        (None, None, "late_layer has neither k nor a layer; wanted one of the two: give injection.k or layer"),
        (
            1,
            2,
            "layer 2 and k=1 disagree; wanted layer 3 with k=1, as m has 4 blocks: give only one of layer and "
            "injection.k",
        ),
        (None, 7, "layer 7 is out of range for m; wanted 0..4, as it has 4 blocks: change it"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(k, layer, message):
    with pytest.raises(ConfigError) as caught:
        LateLayer(k=k).target_layer(4, layer, "m")
    assert str(caught.value) == message


def test_states_prepared_for_another_layer_are_refused():
    with pytest.raises(ConfigError, match="layer 2 and k=1 disagree; wanted layer 3 with k=1, as llama has 4 blocks"):
        LateLayer(k=1).prepare(shared("llama"), TEXTS, 2)


def test_an_unknown_context_is_refused_in_one_line():
    with pytest.raises(
        ConfigError, match=r"^context='other' is unknown; wanted same or neutral: change injection.context$"
    ):
        LateLayer(k=1, context="other").prepare(shared("llama"), TEXTS, 3)


def test_a_prompt_without_a_token_is_refused(monkeypatch):
    lm = shared("llama")
    monkeypatch.setattr(type(lm), "encode", lambda self, texts: [[] for _ in texts])
    for prompt, named in (("", "''"), ((), r"the token ids \[\]")):
        with pytest.raises(
            DataError, match=rf"^prompt {named} has no token; wanted at least one: leave that item out$"
        ):
            LateLayer(k=1, context="same").prepare(lm, [prompt], 3)


@pytest.mark.parametrize("context", ["same", "neutral"])
def test_prompts_given_as_token_ids_are_those_of_their_texts(context):
    lm = shared("llama")
    injection = LateLayer(k=2, context=context, neutral_prompt="w8 w9")
    got = injection.prepare(lm, TEXTS, 2).logits(foreign(7), ROWS)
    ids = [tuple(row) for row in lm.encode(TEXTS)]
    assert torch.equal(injection.prepare(lm, [ids[0], *TEXTS[1:4], ids[4]], 2).logits(foreign(7), ROWS), got)
    other = [(*ids[0][:-2], 5, ids[0][-1]), *ids[1:]]
    changed = (injection.prepare(lm, other, 2).logits(foreign(7), ROWS) - got).abs().amax(1) > 1e-3
    assert changed.tolist() == [context == "same" and row == 0 for row in ROWS.tolist()]


@pytest.mark.parametrize("k", [1, 4])
def test_a_prompt_of_one_token_has_no_context_and_works(lm, k):
    bare = dataclasses.replace(lm, tokenizer=word_tokenizer(template=None))
    texts = ["w5", "w6 w7 w8"]
    got = LateLayer(k=k, context="same").prepare(bare, texts, 4 - k).logits(foreign(2), torch.arange(2))
    torch.testing.assert_close(got, slow(bare, texts, foreign(2), 4 - k), **CLOSE)
