"""Train an adapter through the frozen target: what is minimised is the loss of its answer, not the state error."""

import copy
from typing import Any, Literal, Self

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.nn.functional import cross_entropy

from bridge.errors import ConfigError, FitError
from bridge.injection import Injection
from bridge.maps.base import Map
from bridge.maps.checks import checked_groups
from bridge.maps.descent import Copies, descend
from bridge.maps.schedule import Schedule
from bridge.normalize import Normalize

PRECISIONS = ("no", "bf16", "fp16")
# Few enough logits, with their gradients, for the memory beside a large model.
LOGITS_AT_ONCE = 2**24


class ThroughTarget:
    """Minimises the cross-entropy of the gold token with the target frozen and the injection as configured.

    A map starts where its own fit on the states ends, and gradients flow from the target's answer back through the
    injection into the map alone. A share of the fit rows, in whole groups, is held back, from the fit on states too;
    the step at which their cross-entropy was lowest is kept, so a map that training does not help stays as it was.

    Source: the adapters are those of Hu et al. (2021), "LoRA: low-rank adaptation of large language models",
    arXiv:2106.09685; a stitch trained through a frozen network is that of Lenc and Vedaldi (2015), arXiv:1411.5908.

    Args:
        schedule: how long and how fast to descend.
        mixed_precision: "no", "bf16" or "fp16", as in `accelerate`.
    """

    def __init__(self, schedule: Schedule, mixed_precision: Literal["no", "bf16", "fp16"] = "no") -> None:
        self.schedule = schedule
        self.mixed_precision = mixed_precision

    def prepare(
        self, injection: Injection, gold: Tensor, n_tokens: int, seed: int, groups: Tensor | None = None
    ) -> Self:
        """Give it what it trains through.

        Args:
            injection: prepared for the fit prompts, in the order of the fit rows.
            gold: (n,) the target's token of each fit row's answer.
            n_tokens: size of the target's vocabulary.
            seed: of the rows held back, and of their order.
            groups: (n,) integer label of each fit row; rows of one label (an answer, a fact) are held back together.

        Raises:
            ConfigError: an unknown precision, or an injection that needs several states of one fit row.
            FitError: not one label a fit row.
        """
        if self.mixed_precision not in PRECISIONS:
            raise ConfigError(
                f"mixed_precision={self.mixed_precision!r} is unknown; give one of {', '.join(PRECISIONS)}"
            )
        if injection.n_states > 1:
            raise ConfigError(
                f"the injection wants {injection.n_states} states of an item, and a fit row has one; give "
                "injection.k=1 to train through the target"
            )
        self.schedule.checked()
        self.injection_ = injection
        self.gold_ = gold
        self.n_tokens_ = n_tokens
        self.seed_ = seed
        self.groups_ = checked_groups(groups, len(gold))
        return self

    def fit(self, map: Map, source: Normalize, target: Normalize, X: Tensor, Y: Tensor, orders: Tensor) -> list[Map]:
        """Train one map for each order of the target's rows.

        Args:
            map: an unfitted map that can be trained.
            source: fitted on `X`.
            target: fitted on `Y`.
            X: (n, d_source) source states.
            Y: (n, d_target) target states of the same rows.
            orders: (p, n) long; in copy i row k of `X` stands beside row orders[i, k] of `Y`, its prompt and answer.

        Returns:
            p fitted maps, each with `training_`: n_steps, best_step, start_loss_nats and held_loss_nats.

        Raises:
            FitError: the map cannot be trained, or the loss is not finite.
        """
        if not map.trainable:
            raise FitError(
                f"{type(map).__name__} cannot be trained through the target; wanted a map with free weights, such as "
                "map=lora_target or map=linear_target"
            )
        vocabulary = self.schedule.batch_size * self.n_tokens_
        n_at_once = max(1, LOGITS_AT_ONCE // vocabulary)
        return [m for part in orders.split(n_at_once) for m in self._fit(map, source, target, X, Y, part)]

    def _fit(self, map: Map, source: Normalize, target: Normalize, X: Tensor, Y: Tensor, orders: Tensor) -> list[Map]:
        device = X.device
        orders, gold = orders.to(device), self.gold_.to(device)
        Z, scale, Y_normed = source.transform(X), source.row_scale(X), target.transform(Y)
        train, held = (part.to(device) for part in self.schedule.inner_split(len(X), self.seed_, self.groups_))
        labels = None if self.groups_ is None else self.groups_[train.cpu()]
        # The rows held back would seem learnt if the fit on states had seen them.
        maps = [copy.deepcopy(map).fit(Z[train], Y_normed[order[train]], labels) for order in orders]
        modules = [m.module().to(device) for m in maps]
        dtype = next(modules[0].parameters()).dtype

        def loss(copies: Copies, rows: Tensor) -> Tensor:
            mapped = copies(Z[rows].to(dtype).expand(len(copies), -1, -1))
            states = target.inverse(mapped, scale[rows])
            beside = orders[copies.active.to(device)][:, rows].flatten()
            logits = self.injection_.logits(states.flatten(0, 1), beside)
            each = cross_entropy(logits.float(), gold[beside], reduction="none")
            return each.view(len(copies), -1).mean(1)

        label = f"train {len(orders)} {type(map).__name__} through the target"
        generator = torch.Generator().manual_seed(self.seed_)
        found = descend(Copies(modules), loss, train, held, self.schedule, generator, label, self._accelerator(device))
        for i, (m, module) in enumerate(zip(maps, modules, strict=True)):
            m.absorb(module, f"{m.solver_}, then adamw through the target")
            m.training_ = {
                "n_steps": found.n_steps,
                "best_step": found.best_step[i],
                "start_loss_nats": found.start_loss[i],
                "held_loss_nats": found.best_loss[i],
            }
        return maps

    def _accelerator(self, device: torch.device) -> Any:
        # The state is shared by a process, and cells may differ in device and precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(mixed_precision=self.mixed_precision, cpu=device.type == "cpu", device_placement=False)
