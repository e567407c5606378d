"""Trains many seeds of one small model at once, as one batched model.

The parameters of all seeds are stacked, and one pass computes every seed's loss on that seed's own batch: small matrix
products are then large enough to use the processor well. Nothing passes between seeds: each step is the one that the
seed would make alone, up to rounding. Over many steps training makes rounding large, so a seed's weights also depend on
how many it was trained with. Records name the weights that they are of by their hash.

Source: "Model ensembling" in the documentation of torch.func.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from tqdm import tqdm

from bridge.errors import ModelError

WEIGHT_DECAY, BETAS = 1e-4, (0.9, 0.95)
# Of its peak, what the learning rate falls to.
LOWEST = 0.02
State = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how fast.

    Attributes:
        n_steps: of all.
        n_warmup: steps in which the learning rate rises evenly to its peak; it then falls along a cosine to a fiftieth.
        peak: the largest learning rate.
        kept: steps after which weights are kept.
    """

    n_steps: int
    n_warmup: int
    peak: float
    kept: tuple[int, ...]

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.n_warmup:
            return self.peak * (step + 1) / self.n_warmup
        done = (step - self.n_warmup) / max(1, self.n_steps - self.n_warmup)
        return self.peak * (LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * done)))


def train_seeds(
    models: Sequence[nn.Module],
    seeds: Sequence[int],
    batches: Sequence[Iterator[Sequence[Tensor]]],
    loss: Callable[..., Tensor],
    schedule: Schedule,
    frozen: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    keep: Callable[[int, int, State], None] | None = None,
    bar_position: int = 0,
) -> None:
    """Train models of one shape at once, in place.

    Args:
        models: at least one, as they start, on the CPU.
        seeds: their seeds, for messages.
        batches: of each model, token ids (b, t) and what the loss compares with; all of one shape at each step.
        loss: called as ``loss(output, *rest of the batch)`` with a model's output; gives one number.
        schedule: the same for all.
        frozen: parameters that every model has from the start and that are not trained, such as another model's
            embeddings.
        device: where to train.
        keep: called as ``keep(i, step, weights)`` with the weights of model i on the CPU after each step of
            `schedule.kept`.
        bar_position: line of the progress bar.

    Raises:
        ModelError: a loss is not finite at a kept step; its weights are not kept.
    """
    frozen = {name: given.to(device) for name, given in (frozen or {}).items()}
    own = [name for name, _ in models[0].named_parameters() if name not in frozen]
    stacked = {
        name: torch.stack([model.get_parameter(name).detach() for model in models]).to(device).requires_grad_()
        for name in own
    }
    fixed = frozen | {name: given.to(device) for name, given in models[0].named_buffers()}
    skeleton = copy.deepcopy(models[0]).to("meta")
    optimizer = torch.optim.AdamW(stacked.values(), weight_decay=WEIGHT_DECAY, betas=BETAS)

    def loss_of(weights: State, ids: Tensor, *rest: Tensor) -> Tensor:
        return loss(functional_call(skeleton, weights | fixed, (ids,)), *rest)

    def keep_now(step: int, each: Tensor) -> None:
        _check_finite(seeds, each)
        if keep is not None and step in schedule.kept:
            for i in range(len(models)):
                keep(i, step, _weights(stacked, frozen, i))

    n_steps, each = schedule.n_steps, torch.zeros(len(models))
    bar = tqdm(desc=f"train {len(models)} seeds", total=n_steps, position=bar_position, leave=False, disable=None)
    with bar:
        for step in range(n_steps):
            if step in schedule.kept:
                keep_now(step, each)
            parts = [torch.stack(part).to(device) for part in zip(*map(next, batches), strict=True)]
            each = vmap(loss_of, in_dims=(dict.fromkeys(own, 0), *(0 for _ in parts)))(stacked, *parts)
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            optimizer.zero_grad()
            each.sum().backward()
            optimizer.step()
            bar.update()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{each.max().item():.3f}")
    keep_now(n_steps, each)
    for i, model in enumerate(models):
        model.load_state_dict(_weights(stacked, frozen, i), strict=False)


def started(seed: int, make: Callable[[], Any]) -> Any:
    """A model that `make` draws with this seed; what is drawn elsewhere does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _check_finite(seeds: Sequence[int], each: Tensor) -> None:
    bad = [seed for seed, finite in zip(seeds, torch.isfinite(each).tolist(), strict=True) if not finite]
    if bad:
        raise ModelError(
            f"training seeds {bad} came to a loss that is not finite; wanted a finite one: try other seeds"
        )


def _weights(stacked: State, frozen: Mapping[str, Tensor], i: int) -> State:
    own = {name: parameter[i].detach().cpu().clone() for name, parameter in stacked.items()}
    return own | {name: parameter.cpu() for name, parameter in frozen.items()}
