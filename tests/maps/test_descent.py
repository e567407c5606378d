"""Many small networks descend at once, and each ends where it would have ended alone."""

import copy

import pytest
import torch
from torch import Tensor, nn

from bridge.errors import FitError
from bridge.maps.descent import Copies, descend
from bridge.maps.schedule import Schedule

X = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
# One truth is soon learnt, one takes longer, one is noise, so that the copies stop at different steps.
WEIGHTS = torch.randn(3, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.stack([X @ WEIGHTS[0], 5 * X @ WEIGHTS[1], torch.flip(X @ WEIGHTS[2], (0,))])
SCHEDULE = Schedule(n_steps=150, lr=0.05, batch_size=16, check_every=5, patience=2)


def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    first = nn.Linear(3, 2).double()
    return [copy.deepcopy(first) for _ in Y]


def fitted(nets: list[nn.Module], truths: Tensor, schedule: Schedule = SCHEDULE) -> object:
    def loss(copies: Copies, rows: Tensor) -> Tensor:
        wanted = truths[copies.active][:, rows]
        return (copies(X[rows].expand(len(copies), -1, -1)) - wanted).square().mean((1, 2))

    train, held = schedule.inner_split(len(X), seed=0)
    return descend(Copies(nets), loss, train, held, schedule, torch.Generator().manual_seed(0))


def test_copies_end_where_they_would_have_ended_alone() -> None:
    together = networks()
    all_at_once = fitted(together, Y)
    assert len(set(all_at_once.best_step)) > 1
    for i, net in enumerate(together):
        (alone,) = nets = [networks()[i]]
        descent = fitted(nets, Y[i : i + 1])
        assert descent.best_step == [all_at_once.best_step[i]]
        assert descent.best_loss == pytest.approx([all_at_once.best_loss[i]], rel=1e-9)
        torch.testing.assert_close(net.weight, alone.weight, rtol=0.0, atol=1e-9)


def test_what_is_kept_is_the_step_with_the_lowest_held_back_loss() -> None:
    nets = networks()
    descent = fitted(nets, Y)
    _, held = SCHEDULE.inner_split(len(X), seed=0)
    now = [float((net(X[held]) - y[held]).square().mean().detach()) for net, y in zip(nets, Y, strict=True)]
    assert now == pytest.approx(descent.best_loss)
    assert all(best <= start for best, start in zip(descent.best_loss, descent.start_loss, strict=True))


def test_a_start_that_cannot_be_improved_stays_as_it_was() -> None:
    (net,) = nets = [nn.Linear(3, 2, bias=False).double()]
    with torch.no_grad():
        net.weight.copy_(WEIGHTS[0].T)
    descent = fitted(nets, Y[:1])
    assert descent.best_step == [0]
    assert descent.n_steps == SCHEDULE.patience * SCHEDULE.check_every
    assert torch.equal(net.weight, WEIGHTS[0].T)


def test_the_rows_held_back_are_neither_trained_on_nor_none() -> None:
    train, held = Schedule(inner_fraction=0.25).inner_split(20, seed=3)
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(20))
    assert len(held) == 5
    assert len(Schedule(inner_fraction=0.01).inner_split(3, seed=0)[1]) == 1


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule(n_steps=0), "n_steps is 0; wanted at least 1"),
        (Schedule(patience=-1), "patience is -1; wanted at least 1"),
        (Schedule(lr=0.0), "lr is 0.0 and weight_decay 0.0; wanted lr above 0"),
        (Schedule(inner_fraction=1.0), "inner_fraction is 1.0; wanted a number between 0 and 1"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_in_one_line(schedule: Schedule, message: str) -> None:
    with pytest.raises(FitError, match=message) as caught:
        schedule.checked()
    assert "\n" not in str(caught.value)


def test_one_row_cannot_be_split() -> None:
    with pytest.raises(FitError, match="got 1 fit rows; wanted at least 2"):
        Schedule().inner_split(1, seed=0)


def test_a_loss_that_is_not_finite_stops_with_an_error() -> None:
    with pytest.raises(FitError, match=r"^the loss is (inf|nan) after \d+ steps at lr=1e\+200; wanted a finite number"):
        fitted(networks(), Y, Schedule(lr=1e200))
