"""Train an adapter through the frozen target, on the loss of its answers rather than on the error of states."""

import copy
from typing import Any, Literal, Self

import torch
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
# The number of logits of one training step, small enough to fit beside a large model with their gradients.
LOGITS_AT_ONCE = 2**24


class ThroughTarget:
    """Minimises the cross-entropy of the gold token with the target frozen and the injection as configured.

    A map starts from its own fit on the states. Gradients flow from the target's logits through the injection into the
    map alone. A share of the fit rows, in whole groups, are validation rows: neither the fit on states nor the training
    uses them. Training stops early on their cross-entropy, and the step where it was lowest is kept, which is step 0
    for a map that training does not help.

    Source: Hu et al. (2021), "LoRA: low-rank adaptation of large language models", ICLR, arXiv:2106.09685, for the
    adapters; Lenc and Vedaldi (2015), CVPR, arXiv:1411.5908, for a stitch trained through a frozen network; Prechelt
    (1998), "Early stopping - but when?", in "Neural networks: tricks of the trade", doi:10.1007/3-540-49430-8_3, for
    the validation rows.

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
        """Set the injection and the labels that maps are trained with.

        Args:
            injection: prepared for the fit prompts, in the order of the fit rows.
            gold: (n,) the target's token of each fit row's answer.
            n_tokens: size of the target's vocabulary.
            seed: of the choice of validation rows, and of the order of the others.
            groups: (n,) integer label of each fit row; rows of one label (an answer, a fact) are all validation rows or
                none of them is.

        Raises:
            ConfigError: an unknown precision, or an injection that takes several states of one fit row.
            FitError: a number of labels other than that of the fit rows.
        """
        if self.mixed_precision not in PRECISIONS:
            raise ConfigError(
                f"mixed_precision={self.mixed_precision!r} is unknown; wanted one of {', '.join(PRECISIONS)}: change "
                "map.training.mixed_precision"
            )
        if injection.n_states > 1:
            raise ConfigError(
                f"the injection takes {injection.n_states} states of an item, and a fit row has one; wanted one to "
                "train through the target: give injection.k=1"
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
            orders: (p, n) long; in copy i row k of `X` is paired with row orders[i, k] of `Y`, its prompt and answer.

        Returns:
            p fitted maps, each with `training_`: n_steps, best_step, and the loss of the validation rows at the start
            (start_loss_nats) and at the best step (held_loss_nats).

        Raises:
            FitError: the map cannot be trained, or the loss is not finite.
        """
        if not map.trainable:
            raise FitError(
                f"{type(map).__name__} cannot be trained through the target; wanted a map with free weights: give one "
                "such as map=lora_target or map=linear_target"
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
        # The fit on states must not use validation rows either, or their loss would be too low from the start.
        maps = [copy.deepcopy(map).fit(Z[train], Y_normed[order[train]], labels) for order in orders]
        modules = [m.module().to(device) for m in maps]
        dtype = next(modules[0].parameters()).dtype

        def loss(copies: Copies, rows: Tensor) -> Tensor:
            mapped = copies(Z[rows].to(dtype).expand(len(copies), -1, -1))
            states = target.inverse(mapped, scale[rows])
            target_rows = orders[copies.active.to(device)][:, rows].flatten()
            logits = self.injection_.logits(states.flatten(0, 1), target_rows)
            each = cross_entropy(logits.float(), gold[target_rows], reduction="none")
            return each.view(len(copies), -1).mean(1)

        label = f"train {len(orders)} {type(map).__name__} through the target"
        generator = torch.Generator().manual_seed(self.seed_)
        descent = descend(
            Copies(modules), loss, train, held, self.schedule, generator, label, self._accelerator(device)
        )
        for i, (m, module) in enumerate(zip(maps, modules, strict=True)):
            m.absorb(module, f"{m.solver_}, then adamw through the target")
            m.training_ = {
                "n_steps": descent.n_steps,
                "best_step": descent.best_step[i],
                "start_loss_nats": descent.start_loss[i],
                "held_loss_nats": descent.best_loss[i],
            }
        return maps

    def _accelerator(self, device: torch.device) -> Any:
        # Takes a quarter of a second to load, and most cells train nothing through the target.
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        # Accelerate keeps one state per process; reset it, because cells may differ in device and precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(mixed_precision=self.mixed_precision, cpu=device.type == "cpu", device_placement=False)
