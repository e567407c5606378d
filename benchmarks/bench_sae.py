"""SAEs trained as one model, against one after the other, autograd and SAELens: python -m benchmarks sae"""

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from bridge.sae.spec import SAESpec
from bridge.sae.synthetic import superposed
from bridge.sae.training import train_saes

N_SITES, N_SEEDS, N_ROWS, D, N_REPEATS = 2, 3, 5_000, 64, 2
SPECS = {
    "topk_x8": {"kind": "topk", "k": 8},
    "batch_topk_x8": {"kind": "batch_topk", "k": 8},
    "relu_l1_x8": {"kind": "relu_l1"},
    "topk_x32": {"kind": "topk", "k": 8, "expansion": 32},
    "topk_small": {"kind": "topk", "k": 4, "batch_size": 64},
}
Ways = dict[str, Callable[[], object]]


def with_autograd(X: Tensor, spec: SAESpec) -> None:
    """A TopK, BatchTopK or ReLU SAE as it is usually written."""
    m, d = spec.expansion * X.shape[1], X.shape[1]
    W_dec = torch.nn.functional.normalize(torch.randn(m, d), dim=1)
    parameters = [torch.nn.Parameter(t) for t in (W_dec.T.clone(), torch.zeros(m), W_dec, X.mean(0))]
    W_enc, b_enc, W_dec, b_dec = parameters
    optimizer = torch.optim.Adam(parameters, lr=spec.learning_rate)
    for _ in range(spec.n_steps):
        x = X[torch.randint(len(X), (spec.batch_size,))]
        features = ((x - b_dec) @ W_enc + b_enc).relu()
        loss = 0.0
        if spec.kind == "relu_l1":
            loss = spec.l1 * features.sum(1).mean()
        else:
            rows = features if spec.kind == "topk" else features.view(1, -1)
            top = rows.topk(spec.k * (len(features) // len(rows)), dim=1, sorted=False)
            features = torch.zeros_like(rows).scatter(1, top.indices, top.values).view_as(features)
        loss = loss + (features @ W_dec + b_dec - x).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad -= W_dec * (W_dec.grad * W_dec).sum(1, keepdim=True)
            optimizer.step()
            W_dec /= W_dec.norm(dim=1, keepdim=True)


def with_saelens(X: Tensor, spec: SAESpec) -> None:
    """The trainer of SAELens, without its progress bar, logs and evaluations."""
    import sae_lens as theirs
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    shape: dict[str, Any] = {"d_in": X.shape[1], "d_sae": spec.expansion * X.shape[1]}
    if spec.kind == "topk":
        sae = theirs.TopKTrainingSAE(theirs.TopKTrainingSAEConfig(k=spec.k, **shape))
    elif spec.kind == "batch_topk":
        sae = theirs.BatchTopKTrainingSAE(theirs.BatchTopKTrainingSAEConfig(k=spec.k, **shape))
    else:
        sae = theirs.StandardTrainingSAE(theirs.StandardTrainingSAEConfig(l1_coefficient=spec.l1, **shape))

    def batches() -> Iterator[Tensor]:
        while True:
            yield X[torch.randint(len(X), (spec.batch_size,))]

    config = SAETrainerConfig(
        total_training_samples=spec.n_steps * spec.batch_size,
        train_batch_size_samples=spec.batch_size,
        lr=spec.learning_rate,
        lr_end=spec.learning_rate / 10,
        logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(config, sae, batches()).fit()


def fastest(ways: Ways) -> dict[str, float]:
    """Seconds, the least of several turns in which the ways follow one another."""
    seconds = dict.fromkeys(ways, float("inf"))
    for turn in range(N_REPEATS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            # The first turn warms up.
            seconds[name] = min(seconds[name], time.perf_counter() - start) if turn else float("inf")
    return seconds


def bench() -> dict[str, dict[str, float | str]]:
    sites = [superposed(N_ROWS, D, 2 * D, 4.0, torch.Generator().manual_seed(site)).X for site in range(N_SITES)]
    X = [site for site in sites for _ in range(N_SEEDS)]
    results: dict[str, dict[str, float | str]] = {}
    has_saelens = find_spec("sae_lens") is not None
    if not has_saelens:
        print("SAELens is not installed; pip install -e '.[saelens]' adds its rows")
    before = torch.get_num_threads()
    try:
        for n_threads in sorted({1, before}):
            torch.set_num_threads(n_threads)
            for name, settings in SPECS.items():
                n_steps = 20 if settings.get("expansion") else 50
                given = {"batch_size": 256, "n_steps": n_steps, **settings}
                specs = [SAESpec(seed=i % N_SEEDS, **given) for i in range(len(X))]  # type: ignore[arg-type]
                pairs = list(zip(X, specs, strict=True))

                def together(specs: list[SAESpec] = specs) -> None:
                    train_saes(X, specs)

                def alone(pairs: list[tuple[Tensor, SAESpec]] = pairs) -> None:
                    for x, spec in pairs:
                        train_saes([x], [spec])

                def autograd(pairs: list[tuple[Tensor, SAESpec]] = pairs) -> None:
                    for x, spec in pairs:
                        with_autograd(x, spec)

                def saelens(pairs: list[tuple[Tensor, SAESpec]] = pairs) -> None:
                    for x, spec in pairs:
                        with_saelens(x, spec)

                ways: Ways = {"together": together, "one after the other": alone, "autograd": autograd}
                seconds = fastest(ways | ({"SAELens": saelens} if has_saelens else {}))
                for way in list(seconds)[1:]:
                    results[f"sae_{name}_{way.split()[0].lower()}_{n_threads}"] = {
                        "what": f"{len(X)} SAEs, {name}, d {D}, batch {specs[0].batch_size}, {n_steps} steps, "
                        f"{n_threads} threads, against {way}",
                        "unit": "s",
                        "ours": seconds["together"],
                        "theirs": seconds[way],
                        "ratio": seconds[way] / seconds["together"],
                    }
    finally:
        torch.set_num_threads(before)
    return results
