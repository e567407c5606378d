"""Gradient descent on many copies of one small network at once, with early stopping on validation rows."""

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
from bridge.maps.schedule import Schedule


class Copies:
    """Stacked networks of one architecture, so that a step for all of them is a few large matrix products.

    Args:
        modules: networks whose parameters have the same shapes.

    Attributes:
        active: (p,) indices of the networks that are still computed.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules
        self._skeleton = copy.deepcopy(modules[0]).to("meta")
        self.params, self.buffers = stack_module_state(list(modules))
        self.active = torch.arange(len(modules))

    def __len__(self) -> int:
        return len(self.active)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply active copy i to x[i]: (p, b, d_source) -> (p, b, d_target)."""

        def one(params: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor) -> Tensor:
            output: Tensor = functional_call(self._skeleton, (params, buffers), (rows,))
            return output

        return vmap(one)(self.params, self.buffers, x)

    @torch.no_grad()
    def settle(self, which: Tensor) -> None:
        """Write the parameters of those active copies back into their networks.

        Args:
            which: (p,) true for each copy to write.
        """
        for i in which.nonzero().flatten().tolist():
            for name, parameter in self.modules[int(self.active[i])].named_parameters():
                parameter.copy_(self.params[name][i])

    def keep(self, which: Tensor) -> None:
        """Compute only these copies (p,) from now on; the others keep the parameters in their networks."""
        self.params = {name: p.detach()[which].requires_grad_() for name, p in self.params.items()}
        self.buffers = {name: b[which] for name, b in self.buffers.items()}
        self.active = self.active[which.to(self.active.device)]


@dataclass(frozen=True)
class Descent:
    """The outcome of a descent: the most steps of a copy, and for each copy its best step and validation loss there."""

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
    """Minimise the mean loss over rows for every copy, and leave each at its lowest validation loss.

    All copies see the same rows in the same order and share no parameter, so each ends where it would have
    ended alone. The start counts as a step: a copy that never gets better keeps its starting parameters.

    Source: Loshchilov and Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101.

    Args:
        copies: p networks; changed in place.
        loss: gives the (p,) mean losses of the copies on rows (b,).
        train: (n,) rows to descend on.
        held: (m,) validation rows.
        schedule: how long and how fast.
        generator: seeds the order of the rows.
        label: of the progress bar.
        accelerator: an `accelerate.Accelerator` for device and mixed precision, or None.

    Returns:
        The steps and losses of each copy.

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
    optimizer = _optimizer(copies, schedule, accelerator)
    cast = nullcontext if accelerator is None else accelerator.autocast

    def held_loss() -> Tensor:
        parts = held.split(schedule.batch_size)
        with torch.no_grad(), cast():
            sums = [loss(copies, part).double() * len(part) for part in parts]
        return _finite((torch.stack(sums).sum(0) / len(held)).cpu(), step, schedule)

    step = 0
    start = held_loss()
    best, best_step, waited = start.clone(), torch.zeros(len(copies), dtype=torch.long), torch.zeros(len(copies))
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
            here, now = copies.active, held_loss()
            better = now < best[here]
            copies.settle(better)
            best[here] = torch.where(better, now, best[here])
            best_step[here] = torch.where(better, step, best_step[here])
            waited[here] = torch.where(better, 0.0, waited[here] + 1)
            bar.set_postfix(held_back_loss=f"{float(best.mean()):.3g}", still_better=len(copies))
            going = waited[here] < schedule.patience
            if not bool(going.any()):
                break
            if not bool(going.all()):
                optimizer = _kept(optimizer, copies, going, schedule, accelerator)
    return Descent(step, best_step.tolist(), start.tolist(), best.tolist())


def _optimizer(copies: Copies, schedule: Schedule, accelerator: Any) -> Any:
    optimizer = torch.optim.AdamW(list(copies.params.values()), lr=schedule.lr, weight_decay=schedule.weight_decay)
    return optimizer if accelerator is None else accelerator.prepare(optimizer)


def _kept(optimizer: Any, copies: Copies, going: Tensor, schedule: Schedule, accelerator: Any) -> Any:
    """Drop copies that have stopped, and hand the momenta of the others to a new optimizer."""
    states = [optimizer.state[p] for p in copies.params.values()]
    going = going.to(next(iter(copies.params.values())).device)
    copies.keep(going)
    fewer = _optimizer(copies, schedule, accelerator)
    for parameter, state in zip(copies.params.values(), states, strict=True):
        # The step count is shared by all copies; the momenta have an entry for each.
        fewer.state[parameter] = {name: v[going] if v.ndim > 0 else v for name, v in state.items()}
    return fewer


def _batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from rows[torch.randperm(len(rows), generator=generator)].split(size)


def _finite(losses: Tensor, step: int, schedule: Schedule) -> Tensor:
    if not torch.isfinite(losses).all():
        loss = losses[~torch.isfinite(losses)][0].item()
        raise FitError(
            f"the loss is {loss} after {step} steps at lr={schedule.lr:g}; wanted a finite number: lower lr, or look "
            "at the states for values that are far too large"
        )
    return losses
