"""States against what the model's own forward pass hands from block to block, one text at a time."""

import dataclasses

import pytest
import torch
from families import build, loaded, prompts, shared, word_tokenizer

from bridge.activations.extract import estimate_bytes, extract
from bridge.errors import ConfigError, DataError, ModelError

CLOSE = {"rtol": 0.0, "atol": 1e-5}
TEXTS = prompts(7, 3, 7, 9, 1, 3, 12, 7, 5, 5, 7, 2)
LAYERS = list(range(5))


def stream(lm, text):
    """The input of every block and the output of the last, (5, t, d), from a pass over one text."""
    seen = []
    handles = [
        block.register_forward_pre_hook(lambda module, args, kwargs: seen.append(args[0]), with_kwargs=True)
        for block in lm.anatomy.blocks
    ]
    handles.append(
        lm.anatomy.blocks[-1].register_forward_hook(
            lambda module, args, output: seen.append(lm.anatomy.state_of(output))
        )
    )
    lm.model(torch.tensor(lm.encode([text])), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.cat(seen)


def test_last_is_the_raw_stream_at_the_last_token_at_every_layer(lm):
    got = extract(lm, TEXTS, LAYERS)
    truth = torch.stack([stream(lm, text)[:, -1] for text in TEXTS])
    assert sorted(got) == LAYERS
    for layer in LAYERS:
        torch.testing.assert_close(got[layer], truth[:, layer], **CLOSE)


def test_the_last_layer_is_not_normed(lm):
    if lm.anatomy.final_norm is None:
        pytest.skip("this family has no final norm")
    states = extract(lm, TEXTS, [4])[4]
    assert (lm.anatomy.final_norm(states) - states).abs().max() > 1e-2


def test_mean_leaves_special_tokens_out():
    lm = shared("llama")
    got = extract(lm, TEXTS, LAYERS, position="mean")
    for row, text in enumerate(TEXTS):
        truth = stream(lm, text)[:, 1:].mean(1)
        torch.testing.assert_close(torch.stack([got[layer][row] for layer in LAYERS]), truth, **CLOSE)


def one_special(template):
    """A tokenizer whose one special token begins a text, ends it, and stands for what it does not know, as in OPT."""
    tokenizer = word_tokenizer(template)
    tokenizer.add_special_tokens({"bos_token": "</s>", "unk_token": "</s>"})
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "text", "wanted"),
    [
        (one_special("</s> $A"), "w5 w6", [1, 2]),
        (one_special("</s> $A"), "w5 </s> w6", [1, 2, 3]),
        (one_special("</s> $A </s>"), "w5 </s>", [1, 2]),
        (one_special(None), "</s> w5", [0, 1]),
        (one_special("</s> $A"), (2, 5, 6), [1, 2]),
        (one_special("</s> $A"), (5, 2, 6), [0, 1, 2]),
        (word_tokenizer(), "w5 <unk> <pad>", [1, 2, 3]),
        (word_tokenizer("<s> </s> $A <s>"), "w5", [2]),
        (word_tokenizer("<s> </s> $A <s>"), (1, 2, 5, 6), [2, 3]),
    ],
)
def test_mean_leaves_out_what_the_tokenizer_puts_around_a_text_and_nothing_in_it(tokenizer, text, wanted):
    lm = dataclasses.replace(shared("llama"), tokenizer=tokenizer)
    got = extract(lm, [text], LAYERS, position="mean")
    truth = stream(lm, text)[:, wanted].mean(1)
    torch.testing.assert_close(torch.cat([got[layer] for layer in LAYERS]), truth, **CLOSE)


@pytest.mark.parametrize(("position", "where"), [("last", None), ("mean", None), ("last:2", None), ("index", [[2, 0]])])
def test_token_ids_give_the_states_of_the_text_they_stand_for(position, where):
    lm = shared("llama")
    texts = [text for text in TEXTS if len(text.split()) >= 3]
    ids = [tuple(row) for row in lm.encode(texts)]
    mixed = [*ids[:2], *texts[2:]]
    positions = where and where * len(texts)
    wanted = extract(lm, texts, [0, 3], position, positions)
    for given in (ids, mixed):
        states = extract(lm, given, [0, 3], position, positions)
        assert all(torch.equal(states[layer], wanted[layer]) for layer in (0, 3))
        assert estimate_bytes(lm, given, [0, 3], position, positions) == sum(s.nbytes for s in states.values())


def test_last_k_keeps_the_order_of_the_text():
    lm = shared("llama")
    texts = [text for text in TEXTS if len(text.split()) >= 3]
    got = extract(lm, texts, [0, 3], position="last:3")
    assert got[3].shape == (len(texts), 3, 32)
    for row, text in enumerate(texts):
        torch.testing.assert_close(got[3][row], stream(lm, text)[3, -3:], **CLOSE)


def test_index_gives_the_positions_of_all_texts_one_after_the_other():
    lm = shared("llama")
    positions = [[1, 3], [], [0], [5, 2, 2]]
    got = extract(lm, TEXTS[:4], [0, 2], position="index", positions=positions)
    truth = torch.cat([stream(lm, text)[2, wanted] for text, wanted in zip(TEXTS, positions, strict=False)])
    assert got[2].shape == (6, 32)
    torch.testing.assert_close(got[2], truth, **CLOSE)


@pytest.mark.parametrize("position", ["last", "mean"])
def test_batch_size_and_order_of_the_texts_play_no_part(lm, position):
    one = extract(lm, TEXTS, LAYERS, position, batch_size=1)
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(0))
    shuffled = extract(lm, [TEXTS[i] for i in order], LAYERS, position, batch_size=16)
    for layer in LAYERS:
        torch.testing.assert_close(shuffled[layer], one[layer][order], **CLOSE)


def test_the_same_call_gives_the_same_bits(lm):
    first, second = (extract(lm, TEXTS, LAYERS) for _ in range(2))
    assert all(torch.equal(first[layer], second[layer]) for layer in LAYERS)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("position", ["last", "mean"])
def test_padding_on_either_side_gives_the_same_as_none(lm, padding, position):
    bare = extract(lm, TEXTS, LAYERS, position)
    padded = extract(lm, TEXTS, LAYERS, position, batch_size=5, padding=padding)
    for layer in LAYERS:
        torch.testing.assert_close(padded[layer], bare[layer], **CLOSE)


def test_the_padding_side_of_the_tokenizer_plays_no_part():
    lm = loaded("llama")
    before = extract(lm, TEXTS, [4])[4]
    lm.tokenizer.padding_side = "left"
    assert torch.equal(extract(lm, TEXTS, [4])[4], before)


def test_no_vocabulary_logits_are_made_and_no_block_beyond_the_highest_layer_is_run(lm):
    calls = []
    handles = [lm.anatomy.head.register_forward_hook(lambda *a: calls.append("head"))]
    for index, block in enumerate(lm.anatomy.blocks):
        inner = next(module for name, module in block.named_modules() if "att" in name)
        handles.append(inner.register_forward_hook(lambda *a, index=index: calls.append(index)))
    extract(lm, TEXTS[:1], [0, 2])
    for handle in handles:
        handle.remove()
    assert calls == [0, 1]


def test_the_model_is_left_exactly_as_before(lm):
    ids = torch.tensor(lm.encode(TEXTS[:1]))
    before = lm.model(ids).logits
    extract(lm, TEXTS, [0, 2])
    assert not any("forward" in block.__dict__ for block in lm.anatomy.blocks)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())
    assert torch.equal(lm.model(ids).logits, before)


def test_states_have_the_models_dtype_and_lie_on_the_cpu():
    model = build("llama").to(torch.bfloat16)
    lm = dataclasses.replace(shared("llama"), model=model, dtype=torch.bfloat16)
    lm.anatomy = dataclasses.replace(lm.anatomy, blocks=model.model.layers, headless=model.model)
    for position in ("last", "mean"):
        states = extract(lm, TEXTS, [4], position)[4]
        assert states.dtype == torch.bfloat16
        assert states.device.type == "cpu"


def test_the_estimate_is_what_is_then_returned():
    lm = shared("llama")
    positions = [[1], [0, 1], [2]]
    for texts, position, where in (
        (TEXTS, "last", None),
        (TEXTS, "mean", None),
        (TEXTS[:4], "last:2", None),
        (TEXTS[:3], "index", positions),
    ):
        states = extract(lm, texts, [1, 3], position, where)
        assert estimate_bytes(lm, texts, [1, 3], position, where) == sum(s.nbytes for s in states.values())


def test_nan_in_states_is_refused_with_the_layer_and_the_number_of_items():
    lm = loaded("llama")
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[5] = float("nan")
    with pytest.raises(ModelError) as caught:
        extract(lm, ["w4 w6", "w5 w6", "w7", "w5"], [0, 1], position="mean")
    assert str(caught.value) == (
        "llama gave NaN or infinite states at layer 0 for 2 of 4 items; "
        "wanted finite numbers: run it in another dtype (float32, bfloat16) or look at its weights"
    )


@pytest.mark.parametrize("layer", [9, -1])
def test_a_layer_out_of_range_is_refused_in_one_line(layer):
    with pytest.raises(ConfigError) as caught:
        extract(shared("llama"), TEXTS, [layer])
    assert str(caught.value) == f"layer {layer} is out of range for llama; wanted 0..4, as it has 4 blocks: change it"


def test_no_layer_at_all_is_refused():
    with pytest.raises(ConfigError, match=r"^no layer was given for llama; wanted at least one of 0\.\.4: name one$"):
        extract(shared("llama"), TEXTS, [])


@pytest.mark.parametrize("position", ["first", "last:", "last:0", "last:-1", "last:x", ""])
def test_an_unknown_position_is_refused_in_one_line(position):
    with pytest.raises(ConfigError) as caught:
        extract(shared("llama"), TEXTS, [1], position)
    assert str(caught.value) == (
        f"position={position!r} is unknown; wanted a position: give last, mean, all, last:K with K >= 1, or index"
    )


def test_positions_and_index_belong_together():
    with pytest.raises(
        ConfigError, match=r"^position='last' was given with a list of positions; wanted a list with position=index"
    ):
        extract(shared("llama"), TEXTS, [1], "last", [[0]])
    with pytest.raises(ConfigError, match=r"^position='index' was given without a list of positions"):
        extract(shared("llama"), TEXTS, [1], "index")
    with pytest.raises(
        DataError, match=r"^1 lists of positions for 12 texts; wanted as many lists as texts: give one per text$"
    ):
        extract(shared("llama"), TEXTS, [1], "index", [[0]])
    with pytest.raises(
        DataError, match=r"^positions \[3\] do not all lie in the 3 tokens of 'w5 w6'; wanted 0..2: change them$"
    ):
        extract(shared("llama"), ["w5 w6"], [1], "index", [[3]])


def test_a_text_with_too_few_tokens_is_named():
    with pytest.raises(DataError, match=r"^'w5 w6' has 3 tokens; wanted at least 4: leave this text out$"):
        extract(shared("llama"), ["w5 w6 w7", "w5 w6"], [1], "last:4")
    with pytest.raises(DataError, match=r"^'' has 0 tokens; wanted at least 1: leave this text out$"):
        extract(shared("llama"), ["w5", ""], [1], "mean")
    with pytest.raises(DataError, match=r"^the token ids \[1, 5\] has 2 tokens; wanted at least 3: leave"):
        extract(shared("llama"), ["w5 w6", (1, 5)], [1], "last:3")
    lm = dataclasses.replace(shared("llama"), tokenizer=word_tokenizer(template=None))
    with pytest.raises(DataError, match=r"^'' has 0 tokens; wanted at least 1: leave this text out$"):
        extract(lm, ["w5", ""], [1])


def test_a_text_longer_than_the_model_reads_is_named():
    with pytest.raises(
        DataError, match=r"\.\.\.' has 71 tokens; wanted at most 64, as many as opt reads: leave this text out$"
    ):
        extract(shared("opt"), prompts(3, 70), [1])
