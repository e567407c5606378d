"""Trains many seeds of one small model at once, as one batched model.

The parameters of all seeds are stacked, and one pass computes every seed's loss on that seed's own batch: small matrix
products are then large enough to use the processor well. Nothing passes between seeds. Each is the model that it would
be if it were trained alone, up to rounding.

Source: "Model ensembling" in the documentation of torch.func.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap
from tqdm import tqdm

from bridge.data.dyck import Labels, Strings, generate, label
from bridge.errors import ModelError
from bridge.models.dyck import DyckConfig, DyckModel, losses

# Strings that are written at once for each seed.
POOL = 2048
State = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How Dyck-3 models are trained.

    Attributes:
        n_steps: of AdamW.
        batch_size: strings a step.
        lengths: the least and the largest number of brackets of a string.
        learning_rate: its peak, after a linear rise; then it falls along a cosine to a fiftieth.
        warmup: steps of the rise.
        weight_decay: of AdamW.
        checkpoints: steps after which the weights are kept, beside the last.
    """

    n_steps: int = 4000
    batch_size: int = 64
    lengths: tuple[int, int] = (2, 62)
    learning_rate: float = 3e-3
    warmup: int = 100
    weight_decay: float = 1e-4
    checkpoints: tuple[int, ...] = ()

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.n_steps - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * done))))


class Batches:
    """Batches of labelled strings of one seed, from a stream of its own."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self._recipe, self._rng = recipe, np.random.default_rng([seed, 3])
        self._rows: list[Tensor] = []
        self._at = 0

    def next(self) -> tuple[Tensor, ...]:
        """Token ids and the labels of bracket, depth and validity, each (b, T)."""
        n = self._recipe.batch_size
        if not self._rows or self._at + n > len(self._rows[0]):
            strings = generate(max(POOL, n), self._rng, self._recipe.lengths)
            self._rows, self._at = tensors(strings, label(strings)), 0
        rows = slice(self._at, self._at + n)
        self._at += n
        return tuple(part[rows] for part in self._rows)


def tensors(strings: Strings, labels: Labels) -> list[Tensor]:
    """Token ids and the labels of bracket, depth and validity, each (n, T)."""
    return [torch.from_numpy(part) for part in (strings.ids, labels.bracket, labels.depth, labels.validity)]


def train_cohort(
    seeds: Sequence[int],
    recipe: Recipe,
    shape: DyckConfig | None = None,
    frozen: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    keep: Callable[[int, int, State], None] | None = None,
) -> list[DyckModel]:
    """Train one model for each seed, all at once.

    Args:
        seeds: each decides its model's start and its strings.
        recipe: the options of training.
        shape: of the models; the paper's by default.
        frozen: parameters that every model has from the start and that are not trained, such as another model's
            embeddings.
        device: where to train.
        keep: called as ``keep(seed, step, weights)`` with the weights after each of the recipe's checkpoints.

    Returns:
        The trained models on the CPU, in the order of the seeds.

    Raises:
        ModelError: a loss is not finite.
    """
    shape, frozen = shape or DyckConfig(), {k: v.to(device) for k, v in (frozen or {}).items()}
    models = [_start(seed, shape) for seed in seeds]
    skeleton = DyckModel(shape).to("meta")
    own = [name for name, _ in models[0].named_parameters() if name not in frozen]
    stacked = {
        name: torch.stack([model.get_parameter(name).detach() for model in models]).to(device).requires_grad_()
        for name in own
    }
    optimizer = torch.optim.AdamW(stacked.values(), weight_decay=recipe.weight_decay, betas=(0.9, 0.95))
    batches = [Batches(recipe, seed) for seed in seeds]

    def loss(weights: State, ids: Tensor, *labels: Tensor) -> Tensor:
        return losses(functional_call(skeleton, weights | frozen, (ids,)), *labels).sum()

    of_all = vmap(loss, in_dims=(dict.fromkeys(own, 0), 0, 0, 0, 0))
    steps = tqdm(range(recipe.n_steps), desc=f"train {len(seeds)} seeds", delay=2.0, leave=False, disable=None)
    for step in steps:
        parts = [torch.stack(part).to(device) for part in zip(*(b.next() for b in batches), strict=True)]
        each = of_all(stacked, *parts)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        optimizer.zero_grad()
        each.sum().backward()
        optimizer.step()
        steps.set_postfix(loss=f"{each.max().item():.3f}")
        if keep is not None and step + 1 in recipe.checkpoints:
            for i, seed in enumerate(seeds):
                keep(seed, step + 1, _weights(stacked, frozen, i))
    if not torch.isfinite(each).all():
        bad = [seed for seed, finite in zip(seeds, torch.isfinite(each).tolist(), strict=True) if not finite]
        raise ModelError(
            f"training seeds {bad} ended with a loss that is not finite; wanted a finite one: lower the learning rate"
        )
    for i, model in enumerate(models):
        model.load_state_dict(_weights(stacked, frozen, i))
    return models


def _start(seed: int, shape: DyckConfig) -> DyckModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DyckModel(shape)


def _weights(stacked: State, frozen: State, i: int) -> State:
    own = {name: parameter[i].detach().cpu().clone() for name, parameter in stacked.items()}
    return own | {name: parameter.cpu() for name, parameter in frozen.items()}
