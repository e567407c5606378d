"""What an MLP can reach that a linear map cannot, and that it is never told what the rows held back are."""

import pytest
import torch

from bridge.errors import FitError
from bridge.maps.loading import load_map
from bridge.maps.mlp import MLP
from bridge.maps.ridge import Ridge


def bent(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Y = tanh(2 X A) B: nothing linear gets all of it."""
    generator = torch.Generator().manual_seed(7)
    A, B = torch.randn(6, 12, generator=generator), torch.randn(12, 5, generator=generator)
    X = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return X.double(), (torch.tanh(X @ A) @ B).double()


def error(map: MLP | Ridge, X: torch.Tensor, Y: torch.Tensor) -> float:
    return float((map.transform(X) - Y).norm() / Y.norm())


def test_it_halves_the_held_out_error_of_a_linear_map_on_bent_data() -> None:
    X, Y = bent(600, 0)
    X_new, Y_new = bent(300, 1)
    fitted = MLP(width=64, lr=1e-2, weight_decay=0.0, n_steps=600, patience=20).fit(X, Y)
    assert error(fitted, X_new, Y_new) < 0.5 * error(Ridge().fit(X, Y), X_new, Y_new)
    assert fitted.best_step_ > 0


def test_where_nothing_is_bent_it_is_about_as_good_as_ridge() -> None:
    generator = torch.Generator().manual_seed(0)
    X, X_new = (torch.randn(n, 6, dtype=torch.float64, generator=generator) for n in (200, 200))
    W = torch.randn(6, 5, dtype=torch.float64, generator=generator)
    fitted = MLP(width=16, penalty=1e-6).fit(X, X @ W)
    assert error(fitted, X_new, X_new @ W) < 0.01


def test_two_hidden_layers_make_another_map_and_are_stored_with_it(tmp_path) -> None:
    X, Y = bent(80, 0)
    deep = MLP(depth=2, width=8, n_steps=20).fit(X, Y)
    assert deep.n_parameters_ == 6 * 5 + 5 + (6 * 8 + 8) + (8 * 8 + 8) + (8 * 5 + 5)
    deep.save(tmp_path)
    assert torch.equal(load_map(tmp_path).transform(X), deep.transform(X))


def test_a_module_that_is_trained_on_comes_back_as_it_is() -> None:
    X, Y = bent(80, 0)
    fitted = MLP(width=8, n_steps=20).fit(X, Y)
    module = fitted.module()
    torch.testing.assert_close(module(X.float()).double(), fitted.transform(X), rtol=0.0, atol=1e-4)
    with torch.no_grad():
        module.out.bias += 1.0
    fitted.absorb(module)
    torch.testing.assert_close(module(X.float()).double(), fitted.transform(X), rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"width": 0}, {"lr": -1.0}])
def test_what_makes_no_sense_is_refused_in_one_line(wrong: dict[str, float]) -> None:
    with pytest.raises(FitError, match=r"wanted") as caught:
        MLP(**wrong).fit(*bent(20, 0))
    assert "\n" not in str(caught.value)


def test_the_seed_decides_the_order_of_the_rows() -> None:
    """Weights and rows held back being those of seed 0, batches of another seed lead elsewhere."""
    X, Y = bent(80, 0)
    orders = []

    class Watched(MLP):
        def _new(self, X: torch.Tensor, Y: torch.Tensor) -> torch.nn.Module:  # type: ignore[override]
            return MLP(width=8)._new(X, Y)

    for seed in (0, 0, 1):
        schedule = {"n_steps": 20, "batch_size": 4, "lr": 1e-2, "weight_decay": 0.0, "inner_fraction": 1e-9}
        fitted = Watched(width=8, seed=seed, **schedule).fit(X, Y, torch.arange(80).clamp(max=1))
        orders.append(fitted.transform(X))
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_networks_that_stop_at_different_steps_end_where_they_would_have_ended_alone() -> None:
    X, Y = bent(80, 0)
    orders = torch.stack([torch.randperm(80, generator=torch.Generator().manual_seed(0)), torch.arange(80)])
    map = MLP(width=8, n_steps=60, lr=1e-2, weight_decay=0.0, check_every=5, patience=1)
    alone = [map.fit(X, Y[order]) and (map.best_step_, map.transform(X)) for order in orders]
    assert alone[0][0] < alone[1][0]
    together = map.transform_permuted(X, Y, orders, X)
    torch.testing.assert_close(together, torch.stack([mapped for _, mapped in alone]), rtol=0.0, atol=1e-9)
