import dataclasses

import pytest
import torch
from families import FAMILIES, prompts, shared
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bridge.errors import ConfigError, ModelError
from bridge.injection import SoftPrefix, base

CLOSE = {"rtol": 0.0, "atol": 1e-5}
EQUAL_WIDTHS = sorted(set(FAMILIES) - {"opt_post_norm"})
GOLD = torch.tensor([20, 33, 47])


def foreign(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 2


@pytest.mark.parametrize("family", EQUAL_WIDTHS)
def test_the_gold_answers_own_embedding_is_the_template_with_the_answer_written_in_it(family):
    lm = shared(family)
    got = SoftPrefix(k=1, template="w5 {state} w6 w7").prepare(lm, [], 4).gold_logits(GOLD)
    written = torch.tensor([[1, 5, int(token), 6, 7] for token in GOLD])
    torch.testing.assert_close(got, lm.model(written, use_cache=False).logits[:, -1], **CLOSE)


@pytest.mark.parametrize("family", EQUAL_WIDTHS)
def test_states_stand_between_the_words_at_the_norm_of_an_embedding(family):
    lm = shared(family)
    injection = SoftPrefix(k=2, template="w5 {state} w6").prepare(lm, [], 4)
    embed = lm.model.get_input_embeddings()
    norm = embed(torch.arange(97)).norm(dim=1).mean()
    states = foreign(3, 2, 32)
    prefix = states / states.norm(dim=-1, keepdim=True) * norm
    around = [embed(torch.tensor(ids)).expand(3, -1, -1) for ids in ([1, 5], [6])]
    embedded = torch.cat([around[0], prefix, around[1]], dim=1)
    truth = lm.model(inputs_embeds=embedded, use_cache=False).logits[:, -1]
    torch.testing.assert_close(injection.logits(states, torch.tensor([0, 1, 2])), truth, **CLOSE)


def test_the_scale_of_a_state_plays_no_part_and_a_zero_state_does_no_harm():
    injection = SoftPrefix(k=1, template="w5 {state}").prepare(shared("llama"), [], 4)
    rows = torch.tensor([0, 0])
    states = foreign(2, 32)
    torch.testing.assert_close(injection.logits(states * 100, rows), injection.logits(states, rows), **CLOSE)
    assert injection.logits(torch.zeros(2, 32), rows).isfinite().all()


@pytest.mark.parametrize("template", ["{state}", "{state} w6", "w5 {state}", "w5 w5 {state} w6 w6"])
def test_the_slot_may_stand_anywhere_and_the_special_token_stays_first(template):
    lm = shared("llama")
    injection = SoftPrefix(k=1, template=template).prepare(lm, [], 4)
    before, after = template.split("{state}")
    written = [[1, *(int(w[1:]) for w in before.split()), 20, *(int(w[1:]) for w in after.split())]]
    truth = lm.model(torch.tensor(written), use_cache=False).logits[:, -1]
    torch.testing.assert_close(injection.gold_logits(torch.tensor([20])), truth, **CLOSE)


@pytest.mark.parametrize("splits", [False, True], ids=["one token", "a space and a letter"])
def test_the_words_around_are_tokenised_as_in_a_whole_text(splits):
    pieces = {"a": 0, "b": 1, "Ġ": 2, "Ġa": 3, "Ġb": 4, "x": 5, "Ġx": 6}
    merges = [("Ġ", "a"), ("Ġ", "b"), ("Ġ", "x")]
    # a tokenizer that splits the stand-in leaves its space to the slot
    bpe = Tokenizer(models.BPE(pieces, merges=merges[:2] if splits else merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    lm = dataclasses.replace(shared("llama"), tokenizer=PreTrainedTokenizerFast(tokenizer_object=bpe))
    injection = SoftPrefix(k=1, template="a {state} b").prepare(lm, [], 4)
    embed = lm.model.get_input_embeddings()
    assert torch.equal(injection.before_, embed(torch.tensor([0])))
    assert torch.equal(injection.after_, embed(torch.tensor([4])))


def test_many_states_go_through_in_passes_of_bounded_size(monkeypatch):
    lm = shared("llama")
    injection = SoftPrefix(k=1, template="w5 {state}").prepare(lm, [], 4)
    whole = injection.logits(foreign(7, 32), torch.arange(7))
    monkeypatch.setattr(base, "ROWS_PER_PASS", 3)
    monkeypatch.setattr(base, "LOGITS_PER_PASS", 1)
    sizes = []
    handle = lm.anatomy.head.register_forward_hook(lambda module, args, output: sizes.append(output.shape[:2]))
    torch.testing.assert_close(injection.logits(foreign(7, 32), torch.arange(7)), whole, **CLOSE)
    handle.remove()
    assert sizes == [(3, 1), (3, 1), (1, 1)]


def test_it_wants_as_many_states_as_k_says_at_the_final_layer_unless_given():
    assert SoftPrefix(k=3).n_states == 3
    assert SoftPrefix().target_layer(4, None) == 4
    assert SoftPrefix().target_layer(4, 1) == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("w5 w6", "the template 'w5 w6' has {state} 0 times; wanted it exactly once: change injection.template"),
        (
            "{state} {state}",
            "the template '{state} {state}' has {state} 2 times; wanted it exactly once: change injection.template",
        ),
        (
            "w5{state} w6",
            "the tokenizer of llama joins {state} with its neighbours in 'w5{state} w6'; wanted tokens of its own for "
            "it: put spaces around it",
        ),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_in_one_line(template, message):
    with pytest.raises(ConfigError) as caught:
        SoftPrefix(template=template).prepare(shared("llama"), [], 4)
    assert str(caught.value) == message


def test_less_than_one_state_is_refused():
    with pytest.raises(ConfigError, match=r"^k=0 in soft_prefix; wanted at least 1 state: change injection\.k$"):
        SoftPrefix(k=0).prepare(shared("llama"), [], 4)


def test_embeddings_narrower_than_the_states_are_refused_in_one_line():
    with pytest.raises(
        ModelError, match=r"^opt_post_norm has embeddings of width 16 and states of width 32; wanted eq"
    ):
        SoftPrefix(template="{state}").prepare(shared("opt_post_norm"), prompts(3), 4)


def test_a_model_that_does_more_with_ids_than_embed_them_is_refused_in_one_line():
    lm = shared("llama")

    def doubled(module, args, kwargs):
        if kwargs.get("inputs_embeds") is not None:
            kwargs = {**kwargs, "inputs_embeds": kwargs["inputs_embeds"] ** 2}
        return args, kwargs

    handle = lm.model.register_forward_pre_hook(doubled, with_kwargs=True)
    try:
        with pytest.raises(
            ModelError, match=r"^llama gives logits that differ by .* between tokens and their own embeddings; wanted"
        ):
            SoftPrefix(template="w5 {state}").prepare(lm, [], 4)
    finally:
        handle.remove()
