import pytest
import torch
import transformers
from families import COMMON, FAMILIES, build, shared
from torch import nn

from bridge.errors import ModelError
from bridge.models.anatomy import anatomy

FINAL_NORM = {
    "gpt_neox": "final_layer_norm",
    "gpt_neox_sequential": "final_layer_norm",
    "gpt2": "ln_f",
    "gptj": "ln_f",
    "opt": "final_layer_norm",
    "opt_post_norm": None,
    "phi": "final_layernorm",
}


def test_there_are_at_least_eight_architectures_tied_and_untied_with_both_kinds_of_norm():
    assert len({architecture for architecture, _ in FAMILIES.values()}) >= 12
    tied = {
        family: shared(family).anatomy.head.weight is shared(family).anatomy.embeddings.weight for family in FAMILIES
    }
    assert sum(tied.values()) >= 4
    assert sum(not value for value in tied.values()) >= 4
    norms = {type(shared(family).anatomy.final_norm).__name__ for family in FAMILIES}
    assert "LayerNorm" in norms
    assert "LlamaRMSNorm" in norms


def test_every_part_is_found_in_every_family(lm):
    parts = lm.anatomy
    assert (parts.n_blocks, parts.width, parts.vocab_size) == (4, 32, 97)
    assert len(parts.blocks) == 4
    assert parts.embeddings is lm.model.get_input_embeddings()
    assert parts.head is lm.model.get_output_embeddings()
    assert not any(module is parts.head for module in parts.headless.modules())


def test_the_final_norm_is_the_module_that_family_names_so(lm):
    wanted = FINAL_NORM.get(lm.name, "norm")
    named = dict(lm.model.named_modules())
    names = [name.split(".")[-1] for name, module in named.items() if module is lm.anatomy.final_norm]
    assert names == ([] if wanted is None else [wanted])


def test_blocks_that_return_tuples_are_noticed(lm):
    assert lm.anatomy.block_returns_tuple == (lm.name == "gptj")
    state = torch.zeros(1, 1, 32)
    assert lm.anatomy.state_of(lm.anatomy.block_output(state)) is state


def test_looking_for_the_parts_leaves_no_hook_behind():
    model = build("llama")
    anatomy(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_model_without_a_list_of_blocks_is_refused_in_one_line():
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config)
    with pytest.raises(ModelError) as caught:
        anatomy(model)
    assert str(caught.value) == (
        "T5ForConditionalGeneration has 2 lists of 2 decoder blocks; wanted exactly one: "
        "give a causal language model of the transformers library with one stack of blocks"
    )


def test_a_model_without_a_head_is_refused_in_one_line():
    base = transformers.LlamaModel(transformers.LlamaConfig(**COMMON, intermediate_size=48))
    with pytest.raises(ModelError, match=r"^LlamaModel has no output head; wanted one: give a causal language model$"):
        anatomy(base)


def test_a_model_that_cannot_read_a_token_is_refused_in_one_line():
    model = build("llama")
    model.model.norm = nn.LayerNorm(7)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM could not read a single token \(RuntimeError: ") as caught:
        anatomy(model)
    assert "\n" not in str(caught.value)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_model_gives_the_same_logits_after_its_parts_were_found():
    model = build("gemma2")
    ids = torch.arange(4, 12)[None]
    before = model(ids).logits
    anatomy(model)
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize(("padding", "filler"), [(0, 1), (None, 0), (5, 0)])
def test_the_filler_token_is_no_padding(padding, filler):
    model = build("llama")
    model.config.pad_token_id = padding
    assert anatomy(model).filler_token == filler
