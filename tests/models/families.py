"""Tiny random models of many families, with parameters wild enough that a norm forgotten or doubled shows."""

import functools

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from bridge.models.anatomy import anatomy
from bridge.models.loading import LoadedModel

VOCAB_SIZE = 97
WINDOW = 5
COMMON = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GATED = {**COMMON, "intermediate_size": 48}
GROUPED = {**GATED, "num_key_value_heads": 2}
ALTERNATING = ["sliding_attention", "full_attention"] * 2
GEMMA = {**GROUPED, "head_dim": 8, "sliding_window": WINDOW, "layer_types": ALTERNATING}

FAMILIES = {
    "llama": ("Llama", GATED | {"tie_word_embeddings": False}),
    "llama_tied": ("Llama", GATED | {"tie_word_embeddings": True, "attention_bias": True}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": WINDOW}),
    "qwen2": ("Qwen2", GROUPED | {"tie_word_embeddings": True}),
    "qwen2_half_sliding": (
        "Qwen2",
        GROUPED | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2},
    ),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 16}),
    "gpt_neox": ("GPTNeoX", GATED),
    "gpt_neox_sequential": ("GPTNeoX", GATED | {"use_parallel_residual": False}),
    "gpt2": ("GPT2", {**COMMON, "n_positions": 64}),
    "opt": ("OPT", {**COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "opt_post_norm": (
        "OPT",
        {**COMMON, "ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
    "gemma2": ("Gemma2", GEMMA | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3", GEMMA | {"tie_word_embeddings": True}),
    "phi": ("Phi", GATED),
    "cohere": ("Cohere", GROUPED | {"logit_scale": 0.25}),
    "olmo2": ("Olmo2", GROUPED),
    "gptj": ("GPTJ", {**COMMON, "rotary_dim": 4, "tie_word_embeddings": False}),
}


def build(family, attn_implementation=None):
    """A tiny model of one family, the same at every call."""
    architecture, options = FAMILIES[family]
    name = "Gemma3TextConfig" if architecture == "Gemma3" else f"{architecture}Config"
    config = getattr(transformers, name)(**options)
    suffix = "LMHeadModel" if architecture == "GPT2" else "ForCausalLM"
    torch.manual_seed(0)
    model_class = getattr(transformers, architecture + suffix)
    model = model_class._from_config(config, attn_implementation=attn_implementation)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            wild = 0.5 if parameter.ndim == 1 else 0.1
            parameter.add_(torch.randn(parameter.shape, generator=generator) * wild)
    return model.eval().requires_grad_(False)


def word_tokenizer(template="<s> $A"):
    """w4, w5, ... are the words; the first four ids are special."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3} | {f"w{i}": i for i in range(4, VOCAB_SIZE)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def loaded(family, **options):
    model = build(family, **options)
    return LoadedModel(
        name=family,
        revision=None,
        dtype=model.dtype,
        model=model,
        tokenizer=word_tokenizer(),
        anatomy=anatomy(model),
        fingerprint=f"test:{family}",
        device=model.device,
    )


@functools.cache
def shared(family):
    return loaded(family)


def hooked_logits(lm, input_ids, states, layer):
    """The slow truth: a full forward pass in which a hook overwrites the stream at the last position."""

    def overwrite(stream):
        changed = stream.clone()
        changed[:, -1] = states
        return changed

    def leave(module, args, output):
        if isinstance(output, tuple):
            return (overwrite(output[0]), *output[1:])
        return overwrite(output)

    def enter(module, args):
        return (overwrite(args[0]), *args[1:])

    blocks = lm.anatomy.blocks
    handle = blocks[layer - 1].register_forward_hook(leave) if layer else blocks[0].register_forward_pre_hook(enter)
    try:
        return lm.model(input_ids=input_ids, use_cache=False).logits[:, -1]
    finally:
        handle.remove()


def prompts(*lengths, seed=0):
    """One text per length, the special token at the start not counted."""
    generator = torch.Generator().manual_seed(seed)
    return [
        " ".join(f"w{i}" for i in torch.randint(4, VOCAB_SIZE, (n,), generator=generator).tolist()) for n in lengths
    ]
