"""The late layer against a hooked full forward pass, side by side: python benchmarks/bench_late_layer.py"""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from bridge.models.anatomy import anatomy
from bridge.models.replay import context_cache, replay

N_TOKENS, N_BLOCKS, WIDTH, K, N_STATES, N_REPEATS = 32, 16, 512, 2, 16, 7


def wall_s(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bench() -> dict[str, dict[str, float | str]]:
    """Logits of 16 states on 16 prompts, with contexts cached beforehand, as `prepare` does once for all draws."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=N_BLOCKS,
        num_attention_heads=8,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    parts, layer = anatomy(model), N_BLOCKS - K
    ids = torch.randint(4, 4096, (N_STATES, N_TOKENS))
    states = torch.randn(N_STATES, WIDTH)
    cache = context_cache(model, parts, ids[:, :-1], from_layer=layer)

    @torch.inference_mode()
    def ours() -> Tensor:
        return replay(model, parts, states, layer, cache)

    def overwrite(module: object, args: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, -1] = states
        return output

    @torch.inference_mode()
    def theirs() -> Tensor:
        handle = parts.blocks[layer - 1].register_forward_hook(overwrite)
        try:
            return model(ids, logits_to_keep=1, use_cache=False).logits[:, -1]
        finally:
            handle.remove()

    difference = float((ours() - theirs()).abs().max())
    assert difference < 1e-5
    pairs = [(wall_s(ours), wall_s(theirs)) for _ in range(N_REPEATS)]
    fast, slow = (min(times) for times in zip(*pairs, strict=True))
    what = (
        f"{N_STATES} states put {K} blocks before the end of a Llama with {N_BLOCKS} blocks, d = {WIDTH}, "
        f"T = {N_TOKENS}: cached context against a hooked full forward pass; "
        f"largest difference of a logit {difference:.1e}"
    )
    return {"late_layer": {"ours": fast, "theirs": slow, "ratio": slow / fast, "unit": "s", "what": what}}


if __name__ == "__main__":
    for name, row in bench().items():
        numbers = f"{row['ours']:.4f} {row['unit']} against {row['theirs']:.4f}: {row['ratio']:.1f}x"
        print(f"{name}: {numbers}  ({row['what']})")
