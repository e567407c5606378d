from dataclasses import replace

import pytest
import torch
from planted_features import D, planted, rotation, spec
from torch import Tensor

from bridge.errors import ConfigError, FitError
from bridge.sae.base import SAE
from bridge.sae.measures import decoder_cosines, explained_variance, l0
from bridge.sae.spec import SAESpec
from bridge.sae.stack import Stack
from bridge.sae.training import train_saes

KINDS = ("topk", "batch_topk", "relu_l1")


def ev(X: Tensor, sae: SAE) -> float:
    return float(explained_variance(X, sae(X)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_autograd(kind: str) -> None:
    specs = [SAESpec(kind=kind, k=3 + i, l1=0.2 + i) for i in range(2)]
    g = torch.Generator().manual_seed(0)
    stack = Stack(torch.randn(2, 20, 6, generator=g), specs)
    for parameter in (stack.W_enc, stack.b_enc, stack.b_dec):
        parameter.normal_(generator=g)
    X = torch.randn(2, 9, 6, generator=g)
    W_dec, W_enc, b_enc, b_dec = parameters = [p.clone().requires_grad_() for p in stack.parameters]
    pre = (X - b_dec[:, None]) @ W_enc.mT + b_enc[:, None]
    kept = torch.zeros_like(pre)
    for i, one in enumerate(specs):
        rows = pre[i] if kind == "topk" else pre[i].view(1, -1)
        n_kept = {"topk": one.k, "batch_topk": one.k * 9, "relu_l1": rows.shape[1]}[kind]
        kept[i].view(rows.shape).scatter_(1, rows.topk(n_kept).indices, 1.0)
    features = pre.relu() * kept
    loss = (features @ W_dec + b_dec[:, None] - X).square().sum(2).mean(1).sum()
    if kind == "relu_l1":
        loss = loss + sum(one.l1 * f.sum(1).mean() for one, f in zip(specs, features, strict=True))
    along, *others = torch.autograd.grad(loss, parameters)
    wanted = [along - W_dec * (along * W_dec).sum(2, keepdim=True), *others]
    stack.step(X, 1.0)
    for gradient, autograd in zip(stack.gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, autograd.detach(), rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(stack.W_dec.norm(dim=2), torch.ones(2, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_trained_together_is_trained_alone(kind: str) -> None:
    data = [planted(0).X, planted(1).X, planted(0).X]
    specs = [
        spec(kind=kind, n_steps=25),
        spec(kind=kind, n_steps=25, seed=1, k=2, l1=0.5, learning_rate=1e-3),
        spec(kind=kind, n_steps=25, seed=2, frozen_decoder=True),
    ]
    together = train_saes(data, specs)
    for X, one, sae in zip(data, specs, together, strict=True):
        alone = train_saes([X], [one])[0]
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            torch.testing.assert_close(getattr(sae, name), getattr(alone, name), rtol=1e-3, atol=1e-3)
        assert sae.k == alone.k


def test_saes_of_other_shapes_come_in_the_order_of_their_specs() -> None:
    wide = torch.randn(50, 5)
    specs = [spec(n_steps=2), spec(n_steps=2, expansion=8), spec(n_steps=2, kind="relu_l1"), spec(n_steps=2)]
    saes = train_saes([planted().X, planted().X, planted().X, wide], specs)
    assert [(s.width, s.n_features, s.kind) for s in saes] == [
        (D, 96, "topk"), (D, 192, "topk"), (D, 96, "relu_l1"), (5, 20, "topk")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, SAE]:
    """One trained SAE of each kind, and one with a frozen decoder."""
    longer = {"n_steps": 800, "batch_size": 256}
    specs = {kind: spec(kind=kind, l1=2.0, **longer) for kind in KINDS} | {
        "frozen": spec(frozen_decoder=True, **longer)
    }
    return dict(zip(specs, train_saes([planted().X] * 4, list(specs.values())), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_dictionary_is_found(kind: str, found: dict[str, SAE]) -> None:
    cosines = decoder_cosines(planted().dictionary, found[kind].W_dec).best
    assert (cosines > 0.9).double().mean() > 0.95
    assert ev(planted().X, found[kind]) > 0.8
    torch.testing.assert_close(found[kind].W_dec.norm(dim=1), torch.ones(96))


def test_a_frozen_decoder_keeps_its_start_and_explains_less(found: dict[str, SAE]) -> None:
    start = train_saes([planted().X], [spec(n_steps=1, learning_rate=1e-30)])[0]
    torch.testing.assert_close(found["frozen"].W_dec, start.W_dec)
    assert not torch.allclose(found["frozen"].W_enc, start.W_enc, atol=0.1)
    assert ev(planted().X, found["frozen"]) < ev(planted().X, found["topk"]) - 0.1
    assert decoder_cosines(planted().dictionary, found["frozen"].W_dec).best.max() < 0.9


def test_topk_has_k_features_in_a_row_and_batch_topk_on_the_average(found: dict[str, SAE]) -> None:
    X = planted().X
    counts = (found["topk"].encode(X) > 0).sum(1)
    assert counts.max() == 3
    assert (counts == 3).double().mean() > 0.95
    assert l0(found["batch_topk"].encode(X)) == pytest.approx(3.0, abs=0.01)
    assert (found["batch_topk"].encode(X) > 0).sum(1).unique().numel() > 2


def test_a_lower_penalty_lets_more_features_fire() -> None:
    X = planted().X
    saes = train_saes([X] * 3, [spec(kind="relu_l1", l1=l1) for l1 in (0.1, 1.0, 5.0)])
    counts = [l0(sae.encode(X)) for sae in saes]
    assert counts[0] > 2 * counts[1] > 4 * counts[2] > 0


def test_states_in_other_units_are_explained_alike() -> None:
    X = planted().X
    one = spec(n_steps=100)
    moved = (100.0 * X + 40.0).double()
    sae, scaled = train_saes([X, moved], [one, one])
    assert ev(moved, scaled) == pytest.approx(ev(X, sae), abs=0.01)
    torch.testing.assert_close(scaled.b_dec, 100.0 * sae.b_dec + 40.0, rtol=1e-2, atol=1.0)
    assert l0(scaled.encode(moved)) == pytest.approx(l0(sae.encode(X)), abs=0.05)


def test_without_normalizing_scale_is_left_as_it_is() -> None:
    X = planted().X / 1000.0
    raw, usual = train_saes([X, X], [spec(n_steps=50, normalize=False), spec(n_steps=50)])
    assert not torch.allclose(raw.W_enc, usual.W_enc, atol=0.05)


def test_rotated_states_from_a_rotated_start_are_explained_alike() -> None:
    X, R = planted().X, rotation()
    start = torch.randn(96, D, generator=torch.Generator().manual_seed(3))
    one, other = train_saes([X, X @ R], [spec(), spec()], starts=[start, start @ R])
    assert ev(X @ R, other) == pytest.approx(ev(X, one), abs=0.02)
    assert ev(X @ R, one) < 0.5
    assert (
        decoder_cosines(one.W_dec @ R, other.W_dec).best.mean()
        > decoder_cosines(one.W_dec, other.W_dec).best.mean() + 0.2
    )


def test_seeds_are_independent_but_for_a_shared_start() -> None:
    few = spec(n_steps=20)
    first, other, shared = train_saes(
        [planted().X] * 3, [few, replace(few, seed=1), replace(few, seed=1, start_seed=0)]
    )
    assert decoder_cosines(first.W_dec, other.W_dec).matched.mean() < 0.7
    assert decoder_cosines(first.W_dec, shared.W_dec).matched.mean() > 0.9
    assert not torch.allclose(first.W_dec, shared.W_dec)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "jumprelu"}, "task.kind=jumprelu; wanted one of topk, batch_topk, relu_l1: change it"),
        ({"k": 0}, "task.k=0; wanted a finite number above 0: change it"),
        ({"l1": -1.0}, "task.l1=-1.0; wanted a finite number of 0 or more: change it"),
    ],
)
def test_a_spec_that_nothing_can_be_trained_with_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}$"):
        spec(**changes)


def test_states_and_specs_that_do_not_fit_are_refused() -> None:
    X = planted().X
    with pytest.raises(FitError, match=r"^1 matrices of states and no starts for 2 specs; wanted as many: give one"):
        train_saes([X], [spec(), spec()])
    with pytest.raises(FitError, match=r"^k = 97 for 96 features; wanted at most 96: lower task.k$"):
        train_saes([X], [spec(k=97)])
    with pytest.raises(FitError, match=r"^a start of \(96, 5\); wanted \(96, 24\): give a decoder of it$"):
        train_saes([X], [spec()], [torch.ones(96, 5)])
    with pytest.raises(FitError, match=r"^states whose mean norm about their mean is 0.0; wanted finite ones"):
        train_saes([torch.ones(9, 4)], [spec()])
    with pytest.raises(FitError, match=r"^states of \(0, 4\); wanted \(n, d\) with some rows"):
        train_saes([torch.ones(0, 4)], [spec()])
