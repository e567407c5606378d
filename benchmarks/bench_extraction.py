"""Extraction against the bare forward pass and output_hidden_states: python benchmarks/bench_extraction.py"""

import time
from collections.abc import Callable
from itertools import accumulate

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bridge.activations.extract import extract
from bridge.models.anatomy import anatomy
from bridge.models.loading import LoadedModel

N_TEXTS, BATCH_SIZE, LENGTHS, N_BLOCKS, WIDTH, VOCAB_SIZE, N_REPEATS = 64, 32, (24, 32), 4, 512, 16000, 7


def setting() -> tuple[LoadedModel, list[str]]:
    """A random Llama, its word-level tokenizer, and texts of two lengths."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=N_BLOCKS,
        num_attention_heads=8,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB_SIZE)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    lm = LoadedModel(
        name="benchmark",
        revision=None,
        dtype=model.dtype,
        model=model,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=words),
        anatomy=anatomy(model),
        fingerprint="benchmark",
        device=model.device,
    )
    lengths = [LENGTHS[i % len(LENGTHS)] for i in range(N_TEXTS)]
    return lm, [" ".join(f"w{t}" for t in torch.randint(4, VOCAB_SIZE, (n,)).tolist()) for n in lengths]


def batches(lm: LoadedModel, texts: list[str]) -> list[Tensor]:
    """The ids of the texts, in the same batches as in extraction."""
    ids = lm.encode(texts)
    by_length = [torch.tensor([row for row in ids if len(row) == n]) for n in sorted(LENGTHS, reverse=True)]
    return [part for same_length in by_length for part in same_length.split(BATCH_SIZE)]


def ours(lm: LoadedModel, texts: list[str]) -> dict[int, Tensor]:
    return extract(lm, texts, range(N_BLOCKS + 1), batch_size=BATCH_SIZE)


@torch.inference_mode()
def bare(lm: LoadedModel, texts: list[str]) -> None:
    for ids in batches(lm, texts):
        lm.model.model(input_ids=ids, use_cache=False)


@torch.inference_mode()
def hidden_states(lm: LoadedModel, texts: list[str]) -> list[Tensor]:
    kept = []
    for ids in batches(lm, texts):
        output = lm.model(input_ids=ids, use_cache=False, output_hidden_states=True)
        kept.append(torch.stack([states[:, -1] for states in output.hidden_states]))
    return kept


WAYS: dict[str, Callable[[LoadedModel, list[str]], object]] = {
    "ours": ours,
    "bare": bare,
    "hidden_states": hidden_states,
}


def wall_s(way: str, lm: LoadedModel, texts: list[str]) -> float:
    start = time.perf_counter()
    WAYS[way](lm, texts)
    return time.perf_counter() - start


def peak_bytes(way: str, lm: LoadedModel, texts: list[str]) -> int:
    """Growth of the peak memory of all tensors, from torch's own allocator."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        WAYS[way](lm, texts)
    changes = [event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())]
    return max(accumulate(sizes))


def row(ours: float, theirs: float, unit: str, what: str) -> dict[str, float | str]:
    return {"ours": ours, "theirs": theirs, "ratio": theirs / ours, "unit": unit, "what": what}


def bench() -> dict[str, dict[str, float | str]]:
    """The smallest of several interleaved times; peaks of allocated memory, which are the same each time."""
    lm, texts = setting()
    for call in WAYS.values():
        call(lm, texts[:4])
    times = {way: [] for way in WAYS}
    for _ in range(N_REPEATS):
        for way, taken in times.items():
            taken.append(wall_s(way, lm, texts))
    best = {way: min(taken) for way, taken in times.items()}
    peak = {way: peak_bytes(way, lm, texts) / 1e6 for way in ("ours", "bare")}
    shape = f"{N_TEXTS} texts, {N_BLOCKS + 1} layers, Llama with d = {WIDTH}"
    beside_bare = f"{shape}: extract beside the bare headless pass, which keeps nothing; aim: ratio >= 0.91"
    beside_hidden = f"{shape}: extract beside output_hidden_states=True"
    return {
        "extraction_time": row(best["ours"], best["bare"], "s", f"time, {beside_bare}"),
        "extraction_memory": row(peak["ours"], peak["bare"], "MB", f"peak of all tensors, {beside_bare}"),
        "extraction_vs_output_hidden_states": row(best["ours"], best["hidden_states"], "s", beside_hidden),
    }


if __name__ == "__main__":
    for name, r in bench().items():
        numbers = f"{r['ours']:.3f} {r['unit']} against {r['theirs']:.3f}: {r['ratio']:.2f}x"
        print(f"{name}: {numbers}  ({r['what']})")
