"""Training through the frozen target against plain full passes, side by side: python -m benchmarks training"""

import time
from collections.abc import Callable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bridge.injection import LateLayer
from bridge.maps.linear import Linear
from bridge.maps.schedule import Schedule
from bridge.models.anatomy import anatomy
from bridge.models.loading import LoadedModel
from bridge.normalize import Normalize
from bridge.training import ThroughTarget

N_TOKENS, N_BLOCKS, WIDTH, K, VOCAB = 32, 16, 512, 2, 4096
N_ROWS, BATCH, N_STEPS, N_REPEATS, N_COPIES = 256, 16, 8, 3, 5


def wall_s(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def target() -> LoadedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=N_BLOCKS,
        num_attention_heads=8,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0")
    parts = anatomy(model)
    return LoadedModel("llama", None, model.dtype, model, tokenizer, parts, "bench", model.device)


def bench() -> dict[str, dict[str, float | str]]:
    """Steps of AdamW on a linear map, late layer on the same prompt; the context is cached once for all steps."""
    lm, layer = target(), N_BLOCKS - K
    ids = torch.randint(4, VOCAB, (N_ROWS, N_TOKENS))
    injection = LateLayer(k=K, context="same")
    injection.prepare(lm, [" ".join(f"w{i}" for i in row) for row in ids.tolist()], layer)
    X, Y = torch.randn(2, N_ROWS, WIDTH, dtype=torch.float64)
    gold = torch.randint(4, VOCAB, (N_ROWS,))
    source, goal = Normalize().fit(X), Normalize().fit(Y)
    schedule = Schedule(n_steps=N_STEPS, lr=2e-3, batch_size=BATCH, inner_fraction=0.01, check_every=N_STEPS)
    trainer = ThroughTarget(schedule).prepare(injection, gold, VOCAB, seed=0)

    def ours(n_copies: int = 1) -> None:
        trainer.fit(Linear(), source, goal, X, Y, torch.arange(N_ROWS).expand(n_copies, -1))

    def hooked(weight: nn.Linear, rows: Tensor) -> Tensor:
        """Cross-entropy of a full forward pass in which a hook patches the mapped states in."""
        states = weight(source.transform(X[rows]).float()) + goal.mean_.float()

        def overwrite(module: object, args: object, output: Tensor) -> Tensor:
            return torch.cat([output[:, :-1], states[:, None]], 1)

        handle = lm.anatomy.blocks[layer - 1].register_forward_hook(overwrite)
        try:
            logits = lm.model(ids[rows], logits_to_keep=1, use_cache=False).logits[:, -1]
        finally:
            handle.remove()
        return nn.functional.cross_entropy(logits, gold[rows])

    def theirs() -> None:
        start = Linear().fit(source.transform(X), goal.transform(Y))
        weight = nn.Linear(WIDTH, WIDTH, bias=False)
        with torch.no_grad():
            weight.weight.copy_(start.matrix().T)
        optimizer = torch.optim.AdamW(weight.parameters(), lr=2e-3)
        for step in range(N_STEPS):
            optimizer.zero_grad()
            hooked(weight, torch.arange(step * BATCH, (step + 1) * BATCH) % N_ROWS).backward()
            optimizer.step()

    weight, rows = nn.Linear(WIDTH, WIDTH, bias=False), torch.arange(BATCH)
    (slow,) = torch.autograd.grad(hooked(weight, rows), weight.weight)
    states = weight(source.transform(X[rows]).float()) + goal.mean_.float()
    (fast,) = torch.autograd.grad(
        nn.functional.cross_entropy(injection.logits(states, rows), gold[rows]), weight.weight
    )
    difference = float((fast - slow).norm() / slow.norm())
    assert difference < 1e-4
    times = [(wall_s(ours), wall_s(theirs), wall_s(lambda: ours(N_COPIES))) for _ in range(N_REPEATS)]
    one, plain, many = (min(column) for column in zip(*times, strict=True))
    what = (
        f"steps of {BATCH} rows through the last {K} of {N_BLOCKS} blocks of a frozen Llama, d = {WIDTH}, "
        f"T = {N_TOKENS}, the first fit included, against whole forward and backward passes; the gradients differ by "
        f"{difference:.0e}"
    )
    together = f"the same for {N_COPIES} maps (draws of a control) at once, against one after the other"
    rows_of = {
        "training_through_target": (one / N_STEPS, plain / N_STEPS, what),
        "training_together": (many / N_STEPS, N_COPIES * one / N_STEPS, together),
    }
    return {
        name: {"ours": ours_s, "theirs": theirs_s, "ratio": theirs_s / ours_s, "unit": "s/step", "what": text}
        for name, (ours_s, theirs_s, text) in rows_of.items()
    }


if __name__ == "__main__":
    for name, row in bench().items():
        print(
            f"{name}: {row['ours']:.4f} {row['unit']} against {row['theirs']:.4f}: {row['ratio']:.1f}x ({row['what']})"
        )
