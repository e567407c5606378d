"""Gradient descent on many copies of one small network at once, with early stopping on rows held back."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm import tqdm

from bridge.errors import FitError


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to descend.

    Args:
        n_steps: steps at most.
        lr: learning rate of AdamW.
        batch_size: rows a step.
        weight_decay: decoupled, as in AdamW.
        inner_fraction: share of the fit rows that are held back to stop on; never eval rows.
        check_every: steps between looks at the rows held back.
        patience: looks without a lower loss before a copy has stopped.
    """

    n_steps: int = 300
    lr: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 0.0
    inner_fraction: float = 0.15
    check_every: int = 10
    patience: int = 5

    def checked(self) -> "Schedule":
        """Itself.

        Raises:
            FitError: a number that nothing can be done with.
        """
        for name in ("n_steps", "batch_size", "check_every", "patience"):
            if getattr(self, name) < 1:
                raise FitError(f"{name} is {getattr(self, name)}; wanted at least 1: set map.{name} or training.{name}")
        if not self.lr > 0 or self.weight_decay < 0:
            raise FitError(f"lr is {self.lr} and weight_decay {self.weight_decay}; wanted lr above 0, decay at least 0")
        if not 0 < self.inner_fraction < 1:
            raise FitError(f"inner_fraction is {self.inner_fraction}; wanted a number between 0 and 1")
        return self

    def inner_split(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Rows to descend on and rows to stop on, as indices into 0..n-1.

        Raises:
            FitError: fewer than two rows.
        """
        if n < 2:
            raise FitError(f"got {n} fit rows; wanted at least 2, one of them to stop on: fit on more items")
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        n_held = min(n - 1, max(1, round(self.inner_fraction * n)))
        return order[n_held:], order[:n_held]


class Copies:
    """p networks of one architecture as one, so that a step for all of them is a few large products.

    Args:
        modules: networks whose parameters have the same shapes.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules
        self._skeleton = copy.deepcopy(modules[0]).to("meta")
        self.params, self.buffers = stack_module_state(list(modules))

    def __len__(self) -> int:
        return len(self.modules)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply copy i to x[i]: (p, b, d_source) -> (p, b, d_target)."""

        def one(params: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor) -> Tensor:
            made: Tensor = functional_call(self._skeleton, (params, buffers), (rows,))
            return made

        return vmap(one)(self.params, self.buffers, x)

    def settled(self) -> Sequence[nn.Module]:
        """The networks, with the parameters that they have now."""
        with torch.no_grad():
            for i, module in enumerate(self.modules):
                for name, parameter in module.named_parameters():
                    parameter.copy_(self.params[name][i])
        return self.modules


@dataclass(frozen=True)
class Descent:
    """What a descent did: the number of steps, and for each copy (p,) where it stopped and its held-back loss."""

    n_steps: int
    best_step: list[int]
    start_loss: list[float]
    best_loss: list[float]


Loss = Callable[[Copies, Tensor], Tensor]


def descend(
    copies: Copies,
    loss: Loss,
    train: Tensor,
    held: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
    label: str = "descend",
    accelerator: Any = None,
) -> Descent:
    """Minimise the mean loss over rows for every copy, and leave each where its held-back loss was lowest.

    All copies see the same rows in the same order and share no parameter, so each ends where it would have
    ended alone. The start counts: a copy that never gets better stays as it was.

    Source: Loshchilov and Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101.

    Args:
        copies: p networks; changed in place.
        loss: gives the (p,) mean losses of the copies on rows (b,).
        train: (n,) rows to descend on.
        held: (m,) rows to stop on.
        schedule: how long and how fast.
        generator: seeds the order of the rows.
        label: of the progress bar.
        accelerator: an `accelerate.Accelerator` for device and mixed precision, or None.

    Returns:
        What was done.

    Raises:
        FitError: the loss is not finite.

    Example:
        >>> net = nn.Linear(1, 1, bias=False).double()
        >>> x = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(1, 40, 1)
        >>> rows = torch.arange(40)
        >>> def squared(copies, rows): return (copies(x[:, rows]) - 3 * x[:, rows]).square().mean((1, 2))
        >>> _ = descend(Copies([net]), squared, rows[::2], rows[1::2], Schedule(lr=0.1), torch.Generator())
        >>> round(net.weight.item(), 1)
        3.0
    """
    params = list(copies.params.values())
    optimizer = torch.optim.AdamW(params, lr=schedule.lr, weight_decay=schedule.weight_decay)
    if accelerator is not None:
        optimizer = accelerator.prepare(optimizer)
    cast = nullcontext if accelerator is None else accelerator.autocast

    def held_loss() -> Tensor:
        parts = held.split(schedule.batch_size)
        with torch.no_grad(), cast():
            sums = [loss(copies, part).double() * len(part) for part in parts]
        return _finite(torch.stack(sums).sum(0) / len(held), step, schedule)

    step = 0
    start = best = held_loss()
    kept = [p.detach().clone() for p in params]
    best_step, waited = torch.zeros(len(copies), dtype=torch.long), torch.zeros(len(copies), dtype=torch.long)
    batches = _batches(train, schedule.batch_size, generator)
    with tqdm(total=schedule.n_steps, desc=label, delay=2.0, leave=False, disable=None) as bar:
        for step in range(1, schedule.n_steps + 1):
            optimizer.zero_grad()
            with cast():
                each = loss(copies, next(batches))
            total = _finite(each, step, schedule).sum()
            total.backward() if accelerator is None else accelerator.backward(total)
            optimizer.step()
            bar.update()
            if step % schedule.check_every and step < schedule.n_steps:
                continue
            now = held_loss()
            # A copy that has stopped stays where it was, whatever the others still do.
            better = (now < best) & (waited < schedule.patience).to(now.device)
            best = torch.where(better, now, best)
            for parameter, keep in zip(params, kept, strict=True):
                keep[better] = parameter.detach()[better]
            better = better.cpu()
            best_step[better] = step
            waited = torch.where(better, 0, waited + 1)
            bar.set_postfix(held_back_loss=f"{float(best.mean()):.3g}")
            if bool((waited >= schedule.patience).all()):
                break
    with torch.no_grad():
        for parameter, keep in zip(params, kept, strict=True):
            parameter.copy_(keep)
    copies.settled()
    return Descent(step, best_step.tolist(), start.tolist(), best.tolist())


def _batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from rows[torch.randperm(len(rows), generator=generator)].split(size)


def _finite(losses: Tensor, step: int, schedule: Schedule) -> Tensor:
    if not torch.isfinite(losses).all():
        found = losses[~torch.isfinite(losses)][0].item()
        raise FitError(
            f"the loss is {found} after {step} steps at lr={schedule.lr:g}; wanted a finite number: lower lr, or look "
            "at the states for values that are far too large"
        )
    return losses
