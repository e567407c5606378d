"""Trains many seeds of one small model at once, as one batched model.

The parameters of all seeds are stacked, and one pass computes every seed's loss on that seed's own batch: small matrix
products are then large enough to use the processor well. Nothing passes between seeds: each step is the one that the
seed would make alone, up to rounding. Over many steps training makes rounding large, so a seed's weights also depend on
how many it was trained with. Records name the weights that they are of by their hash.

Source: "Model ensembling" in the documentation of torch.func.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.func import functional_call, vmap
from tqdm import tqdm

from bridge.data.dyck import BOS, EOS, PAD, TOKENS, Labels, Strings, generate, label
from bridge.errors import ConfigError, ModelError
from bridge.models.dyck import DyckConfig, DyckModel, losses
from bridge.models.recipe import KIND, DyckSpec
from bridge.records.artefacts import Artefacts

# Strings that are written at once for each seed.
POOL = 2048
# The peak of the learning rate, after a linear rise; then it falls along a cosine to a fiftieth.
LEARNING_RATE, WARMUP, LOWEST = 3e-3, 100, 0.02
WEIGHT_DECAY, BETAS = 1e-4, (0.9, 0.95)
# Of the model whose embeddings and heads a shared cohort has.
FIRST_SEED = 0
SHARED = ("embed_tokens.weight", "embed_positions.weight", "bracket.weight", "depth.weight", "validity.weight")
State = dict[str, Tensor]


class Batches:
    """Batches of labelled strings of one seed, from a stream of its own."""

    def __init__(self, spec: DyckSpec) -> None:
        self._spec, self._rng = spec, np.random.default_rng([spec.seed, 3])
        self._rows: list[Tensor] = []
        self._at = 0

    def next(self) -> tuple[Tensor, ...]:
        """Token ids and the labels of bracket, depth and validity, each (b, T)."""
        n = self._spec.batch_size
        if not self._rows or self._at + n > len(self._rows[0]):
            strings = generate(max(POOL, n), self._rng, (2, self._spec.max_length))
            self._rows, self._at = tensors(strings, label(strings)), 0
        rows = slice(self._at, self._at + n)
        self._at += n
        return tuple(part[rows] for part in self._rows)


def tensors(strings: Strings, labels: Labels) -> list[Tensor]:
    """Token ids and the labels of bracket, depth and validity, each (n, T)."""
    return [torch.from_numpy(part) for part in (strings.ids, labels.bracket, labels.depth, labels.validity)]


def rate(step: int, n_steps: int) -> float:
    """The learning rate of a step, counted from 0."""
    if step < WARMUP:
        return LEARNING_RATE * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, n_steps - WARMUP)
    return LEARNING_RATE * (LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * done)))


def train_cohort(
    specs: Sequence[DyckSpec],
    frozen: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    keep: Callable[[int, int, State], None] | None = None,
    bar_position: int = 0,
) -> list[DyckModel]:
    """Train some models at once that differ in their seeds alone.

    Args:
        specs: at least one; the seed decides a model's start and its strings.
        frozen: parameters that every model has from the start and that are not trained, such as another model's
            embeddings.
        device: where to train.
        keep: called as ``keep(i, step, weights)`` with the weights of model i after each step of `DyckSpec.kept`.
        bar_position: line of the progress bar.

    Returns:
        The trained models on the CPU, in the order of `specs`.

    Raises:
        ModelError: a loss is not finite at a kept step; its weights are not kept.
    """
    n_steps, kept = specs[0].n_steps, set(specs[0].kept)
    shape, frozen = config_of(specs[0]), {k: v.to(device) for k, v in (frozen or {}).items()}
    started = [_start(spec.seed, shape) for spec in specs]
    with torch.device("meta"):
        skeleton = DyckModel(shape)
    own = [name for name, _ in started[0].named_parameters() if name not in frozen]
    stacked = {
        name: torch.stack([model.get_parameter(name).detach() for model in started]).to(device).requires_grad_()
        for name in own
    }
    optimizer = torch.optim.AdamW(stacked.values(), weight_decay=WEIGHT_DECAY, betas=BETAS)
    batches = [Batches(spec) for spec in specs]

    def loss(weights: State, ids: Tensor, *labels: Tensor) -> Tensor:
        return losses(functional_call(skeleton, weights | frozen, (ids,)), *labels).sum()

    of_all = vmap(loss, in_dims=(dict.fromkeys(own, 0), 0, 0, 0, 0))
    bar = tqdm(desc=f"train {len(specs)} seeds", total=n_steps, position=bar_position, leave=False, disable=None)
    each = torch.zeros(len(specs))
    with bar:
        for step in range(n_steps + 1):
            if step in kept or step == n_steps:
                _check_finite(specs, each)
            if keep is not None and step in kept:
                for i in range(len(specs)):
                    keep(i, step, _weights(stacked, frozen, i))
            if step == n_steps:
                break
            parts = [torch.stack(part).to(device) for part in zip(*(b.next() for b in batches), strict=True)]
            each = of_all(stacked, *parts)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, n_steps)
            optimizer.zero_grad()
            each.sum().backward()
            optimizer.step()
            bar.update()
            bar.set_postfix(loss=f"{each.max().item():.3f}")
    for i, model in enumerate(started):
        model.load_state_dict(_weights(stacked, frozen, i))
    return started


def _check_finite(specs: Sequence[DyckSpec], each: Tensor) -> None:
    bad = [spec.seed for spec, finite in zip(specs, torch.isfinite(each).tolist(), strict=True) if not finite]
    if bad:
        raise ModelError(
            f"training seeds {bad} came to a loss that is not finite; wanted a finite one: try other seeds"
        )


def ensure_cohort(specs: Sequence[DyckSpec], store: Artefacts, bar_position: int = 0) -> None:
    """Train models that differ in seed and checkpoint alone, and store the weights of every kept step.

    In a shared cohort the embeddings and heads are those of the trained seed 0, which is trained first where it is not
    stored.

    Raises:
        ConfigError: a checkpoint that is not kept.
        StoreError: the store cannot be written.
    """
    for spec in specs:
        if spec.checkpoint is not None and spec.checkpoint not in spec.kept:
            kept = ", ".join(map(str, spec.kept))
            raise ConfigError(f"checkpoint={spec.checkpoint} is not kept; wanted one of {kept}, or null: change it")
    torch.set_num_threads(1)
    last = list({replace(spec, checkpoint=None): None for spec in specs})
    frozen = None
    if last[0].cohort == "shared":
        first = replace(last[0], seed=FIRST_SEED, cohort="independent")
        if store.find(KIND, first.made_from()) is None:
            ensure_cohort([first], store, bar_position)
        weights = load_file(store.path(KIND, first.made_from()) / "model.safetensors")
        frozen = {name: weights[name] for name in SHARED}
    tokenizer = make_tokenizer()

    def keep(i: int, step: int, weights: State) -> None:
        spec = replace(last[i], checkpoint=step)
        model = DyckModel(config_of(spec))
        model.load_state_dict(weights)

        def save(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

        for made in (spec, last[i]) if step == spec.n_steps else (spec,):
            store.ensure(KIND, made.made_from(), save)

    train_cohort(last, frozen, keep=keep, bar_position=bar_position)


def config_of(spec: DyckSpec) -> DyckConfig:
    """The shape of a model."""
    return DyckConfig(hidden_size=spec.width, num_hidden_layers=spec.n_blocks, intermediate_size=4 * spec.width)


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token for each bracket, between begin and end."""
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, unk_token=TOKENS[PAD]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    )


def _start(seed: int, shape: DyckConfig) -> DyckModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DyckModel(shape)


def _weights(stacked: State, frozen: State, i: int) -> State:
    own = {name: parameter[i].detach().cpu().clone() for name, parameter in stacked.items()}
    return own | {name: parameter.cpu() for name, parameter in frozen.items()}
