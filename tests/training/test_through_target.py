"""Adapters trained through a frozen target: what is learnt, what stays, and what is refused."""

import pytest
import torch
from families import prompts, shared

from bridge.errors import ConfigError, FitError
from bridge.injection import Injection, LateLayer, LmHead, SoftPrefix
from bridge.maps.affine import Affine
from bridge.maps.base import Map
from bridge.maps.linear import Linear
from bridge.maps.lora import LoRA
from bridge.maps.mlp import MLP
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.ridge import Ridge
from bridge.maps.schedule import Schedule
from bridge.normalize import Normalize
from bridge.training import ThroughTarget

N, WIDTH = 80, 32
VOCABULARY = shared("llama").anatomy.vocab_size
MAPS = [Linear(), Ridge(penalty=0.1), Affine(), LoRA(rank=4), MLP(width=16, n_steps=10)]


def problem(injection: Injection, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source states, target states that say nothing of them, and answers that a linear map of the source gives."""
    lm = shared("llama")
    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(N, WIDTH, dtype=torch.float64, generator=generator) for _ in range(2))
    W = torch.randn(WIDTH, WIDTH, dtype=torch.float64, generator=generator) / WIDTH**0.5
    injection.prepare(lm, prompts(*[5] * N), layer)
    gold = injection.logits(X @ W + Y.mean(0), torch.arange(N)).argmax(-1)
    return X, Y, gold


def trained(
    map: Map,
    injection: Injection,
    layer: int,
    orders: torch.Tensor | None = None,
    mixed_precision: str = "no",
    **options: float,
) -> list[Map]:
    X, Y, gold = problem(injection, layer)
    schedule = Schedule(**{"n_steps": 60, "lr": 1e-2, "batch_size": 16, **options})  # type: ignore[arg-type]
    trainer = ThroughTarget(schedule, mixed_precision)  # type: ignore[arg-type]
    trainer.prepare(injection, gold, VOCABULARY, seed=0)
    orders = torch.arange(N)[None] if orders is None else orders
    return trainer.fit(map, Normalize().fit(X), Normalize().fit(Y), X, Y, orders)


@pytest.mark.parametrize("map", MAPS, ids=lambda m: type(m).__name__)
def test_training_lowers_the_loss_of_the_answers_held_back_and_leaves_the_target_alone(map: Map) -> None:
    lm = shared("llama")
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    (fitted,) = trained(map, LmHead(), 4)
    training = fitted.training_
    assert training["held_loss_nats"] < training["start_loss_nats"] - 0.05
    assert 0 < training["best_step"] <= training["n_steps"] <= 60
    assert fitted.solver_.endswith("then adamw through the target")
    assert all(torch.equal(p, before[name]) for name, p in lm.model.named_parameters())
    assert all(p.grad is None for p in lm.model.parameters())


@pytest.mark.parametrize(
    ("injection", "layer"),
    [
        (LateLayer(context="same"), 2),
        (LateLayer(neutral_prompt="w4 w5"), 2),
        (SoftPrefix(template="w4 {state} w6"), 4),
    ],
    ids=["same prompt", "neutral prompt", "soft prefix"],
)
def test_it_trains_through_every_way_in(injection: Injection, layer: int) -> None:
    (fitted,) = trained(Linear(), injection, layer)
    assert fitted.training_["held_loss_nats"] < fitted.training_["start_loss_nats"]


def test_the_held_back_loss_is_that_of_the_map_that_comes_back() -> None:
    injection = LmHead()
    X, Y, gold = problem(injection, 4)
    (fitted,) = trained(Linear(), injection, 4, lr=1e-3)
    _, held = ThroughTarget(Schedule(n_steps=60)).schedule.inner_split(N, seed=0)
    source, target = Normalize().fit(X), Normalize().fit(Y)
    states = target.inverse(fitted.transform(source.transform(X[held])))
    logits = injection.logits(states, held)
    loss = torch.nn.functional.cross_entropy(logits, gold[held])
    assert float(loss) == pytest.approx(fitted.training_["held_loss_nats"], rel=1e-3)


@pytest.mark.parametrize("groups", [None, torch.arange(N) // 4], ids=["rows", "groups"])
@pytest.mark.parametrize("map", [Linear(), MLP(width=8, n_steps=10)], ids=lambda m: type(m).__name__)
def test_the_rows_held_back_are_neither_fitted_nor_trained_on(map: Map, groups: torch.Tensor | None) -> None:
    asked: list[tuple[bool, set[int]]] = []

    class Watched(LmHead):
        def logits(self, states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            asked.append((states.requires_grad, set(rows.tolist())))
            return super().logits(states, rows)

    injection = Watched()
    X, Y, gold = problem(injection, 4)
    trainer = ThroughTarget(Schedule(n_steps=12, lr=2e-3, batch_size=16, check_every=4))
    train, held = trainer.schedule.inner_split(N, 3, groups)
    # what rows held back alone have, no fit on states may know of
    X[:, 0], X[held, 0] = 0.0, 5.0
    trainer.prepare(injection, gold, VOCABULARY, 3, groups)
    asked.clear()
    (fitted,) = trainer.fit(map, Normalize(center=False).fit(X), Normalize().fit(Y), X, Y, torch.arange(N)[None])
    trained_on = set.union(*(rows for with_gradient, rows in asked if with_gradient))
    looked_at = set.union(*(rows for with_gradient, rows in asked if not with_gradient))
    assert trained_on == set(train.tolist())
    assert looked_at == set(held.tolist())
    weight = fitted.matrix()[0] if isinstance(fitted, Linear) else fitted._net.skip.weight[:, 0]  # type: ignore[attr-defined]
    assert float(weight.abs().max()) < 1e-9


def test_a_map_that_holds_rows_back_itself_is_given_the_groups_of_the_rows_it_is_fitted_on() -> None:
    class Watched(Linear):
        seen: list[list[int]] = []  # noqa: RUF012

        def _fit(self, X: torch.Tensor, Y: torch.Tensor) -> None:
            self.seen.append([] if self._groups is None else self._groups.tolist())
            super()._fit(X, Y)

    groups = torch.arange(N) // 4
    injection = LmHead()
    X, Y, gold = problem(injection, 4)
    trainer = ThroughTarget(Schedule(n_steps=1, lr=2e-3, batch_size=32)).prepare(injection, gold, VOCABULARY, 0, groups)
    trainer.fit(Watched(), Normalize().fit(X), Normalize().fit(Y), X, Y, torch.arange(N)[None])
    train, _ = trainer.schedule.inner_split(N, 0, groups)
    assert Watched.seen == [groups[train].tolist()]


def test_labels_must_be_those_of_the_fit_rows() -> None:
    with pytest.raises(FitError, match=r"groups has shape \(9,\); wanted \(80,\): one label a row"):
        ThroughTarget(Schedule()).prepare(LmHead(), torch.zeros(N), VOCABULARY, 0, torch.arange(9))


def test_maps_trained_together_are_those_trained_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    orders = torch.stack([torch.arange(N), torch.randperm(N, generator=generator)])
    X, _, _ = problem(LmHead(), 4)
    together = trained(LoRA(rank=2), LmHead(), 4, orders)
    for fitted, order in zip(together, orders, strict=True):
        (alone,) = trained(LoRA(rank=2), LmHead(), 4, order[None])
        assert fitted.training_["best_step"] == alone.training_["best_step"]
        torch.testing.assert_close(fitted.transform(X), alone.transform(X), rtol=1e-3, atol=1e-3)


def test_permuted_rows_take_prompts_and_answers_along() -> None:
    """Source row k stands beside row order[k] of the target in all three: state, prompt and answer."""
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Watched(LateLayer):
        def logits(self, states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            asked.append((states.detach().clone(), rows.clone()))
            return super().logits(states, rows)

    order = torch.arange(N).roll(7)
    injection = Watched(context="same")
    X, Y, _ = problem(injection, 2)
    asked.clear()
    trained(Linear(), injection, 2, order[None], n_steps=1, check_every=1)
    train, held = ThroughTarget(Schedule(n_steps=1, lr=2e-3, batch_size=32)).schedule.inner_split(N, seed=0)
    states, rows = asked[1]
    assert rows.tolist() == order[held][: len(rows)].tolist()
    source, target = Normalize().fit(X), Normalize().fit(Y)
    start = Linear().fit(source.transform(X)[train], target.transform(Y)[order][train])
    wanted = target.inverse(start.transform(source.transform(X)[held][: len(rows)]))
    torch.testing.assert_close(states.double(), wanted, rtol=0.0, atol=1e-4)


def test_a_loss_that_is_not_finite_stops_with_one_line() -> None:
    class Broken(LmHead):
        def logits(self, states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            logits = super().logits(states, rows)
            return logits * torch.nan if states.requires_grad else logits

    with pytest.raises(FitError, match=r"^the loss is nan after 1 steps at lr=0.01; wanted a finite number: lower lr"):
        trained(Linear(), Broken(), 4)


def test_half_precision_trains_too() -> None:
    (fitted,) = trained(Linear(), LmHead(), 4, mixed_precision="bf16")
    assert fitted.training_["held_loss_nats"] < fitted.training_["start_loss_nats"]


def test_what_cannot_be_trained_is_refused_in_one_line() -> None:
    with pytest.raises(FitError, match="Orthogonal cannot be trained through the target; wanted a map with free"):
        trained(Orthogonal(), LmHead(), 4)
    with pytest.raises(ConfigError, match="the injection takes 2 states of an item, and a fit row has one; wanted one"):
        trained(Linear(), SoftPrefix(k=2, template="w4 {state} w6"), 4)
    with pytest.raises(ConfigError, match="mixed_precision='int3' is unknown; wanted one of no, bf16, fp16: change"):
        trained(Linear(), LmHead(), 4, mixed_precision="int3")
