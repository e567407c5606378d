"""Controls: truths by construction, and the mistakes that they must show."""

import pytest
import torch
from torch import Tensor

from bridge.controls import CONTROLS, Carrier, haar_rotated, haar_rows, permutations
from bridge.maps import Orthogonal, Ridge
from bridge.normalize import Normalize

N_DRAWS = 20


def planted_pair(n: int = 80, m: int = 30, d: int = 24, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Y = c (X - u) Q + v: what a centred, rescaled rotation expresses exactly."""
    g = torch.Generator().manual_seed(7)
    X = torch.randn(n + m, d, generator=g, dtype=torch.float64) * torch.linspace(3, 0.5, d) + 2.0
    Q = haar_rows(d, d, g)
    Y = 5.0 * (X - X.mean(0)) @ Q + 40.0 + noise * torch.randn(n + m, d, generator=g, dtype=torch.float64)
    return X[:n], Y[:n], X[n:], Y[n:]


def carrier(X: Tensor, Y: Tensor, scale: str = "l2", map: object = None, seed: int = 0) -> Carrier:
    relations = torch.arange(len(X)) % 4
    return Carrier(map or Orthogonal(), Normalize(center=True, scale=scale), X, Y, relations, N_DRAWS, seed)


@pytest.mark.parametrize("scale", ["l2", "frobenius"])
def test_the_fitted_map_recovers_a_planted_similarity_in_the_targets_own_scale_and_mean(scale: str) -> None:
    X, Y, X_new, Y_new = planted_pair()
    torch.testing.assert_close(carrier(X, Y, scale).carry("fitted", X_new, Y_new)[0], Y_new, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", ["none", "l2", "frobenius"])
@pytest.mark.parametrize("control", ["same_model", "planted"])
def test_ceilings_give_back_the_targets_own_states(control: str, scale: str) -> None:
    X, Y, X_new, Y_new = planted_pair(noise=3.0)
    carried = carrier(X, Y, scale).carry(control, X_new, Y_new)
    assert carried.shape == (1, *Y_new.shape)
    torch.testing.assert_close(carried[0], Y_new, rtol=1e-8, atol=1e-8)


def test_planted_is_recovered_only_on_the_span_when_rows_are_fewer_than_directions() -> None:
    X, Y, X_new, Y_new = planted_pair(n=10)
    subject = carrier(X, Y, "none")
    error = subject.carry("planted", X_new, Y_new)[0] - Y_new
    basis = torch.linalg.svd(Y - Y.mean(0), full_matrices=False).Vh[:9].T
    assert (error @ basis).norm() < 1e-9 * Y_new.norm()
    assert error.norm() > 0.1 * (Y_new - Y.mean(0)).norm()


@pytest.mark.parametrize("control", ["random", "shuffled", "shuffled_within"])
def test_drawn_controls_have_many_different_draws_and_are_far_from_the_target(control: str) -> None:
    X, Y, X_new, Y_new = planted_pair()
    draws = carrier(X, Y).carry(control, X_new, Y_new)
    assert draws.shape == (N_DRAWS, *Y_new.shape)
    assert CONTROLS[control].drawn
    distances = torch.cdist(draws.flatten(1), draws.flatten(1)) + torch.eye(N_DRAWS) * 1e9
    assert distances.min() > 1.0
    errors = (draws - Y_new).norm(dim=(1, 2)) / (Y_new - Y.mean(0)).norm()
    assert errors.min() > 0.5


def test_every_branch_shares_the_targets_mean_and_none_is_favoured_by_an_offset() -> None:
    X, Y, X_new, Y_new = planted_pair(n=400, m=400)
    subject = carrier(X, Y, "none")
    for control in CONTROLS:
        offset = subject.carry(control, X_new, Y_new).mean((0, 1)) - Y.mean(0)
        assert offset.norm() < 0.05 * Y.mean(0).norm(), control


def test_identity_pads_and_cuts_and_the_mean_is_the_fit_rows_mean() -> None:
    X, Y, X_new, Y_new = planted_pair()
    wide = carrier(X[:, :10], Y, "none").carry("identity", X_new[:, :10], Y_new)[0]
    torch.testing.assert_close(wide[:, :10], X_new[:, :10] - X[:, :10].mean(0) + Y[:, :10].mean(0))
    torch.testing.assert_close(wide[:, 10:], Y[:, 10:].mean(0).expand(len(X_new), -1))
    narrow = carrier(X, Y[:, :10], "none").carry("identity", X_new, Y_new[:, :10])[0]
    torch.testing.assert_close(narrow, (X_new - X.mean(0) + 0.0)[:, :10] + Y[:, :10].mean(0))
    mean = carrier(X, Y).carry("mean", X_new, Y_new)
    torch.testing.assert_close(mean, Y.mean(0).expand(1, *Y_new.shape))


def test_rows_out_of_step_look_like_a_shuffled_control() -> None:
    X, Y, X_new, Y_new = planted_pair()

    def error(subject: Carrier) -> float:
        return float((subject.carry("fitted", X_new, Y_new)[0] - Y_new).norm())

    in_step, out_of_step = error(carrier(X, Y)), error(carrier(X, Y.roll(1, 0)))
    shuffled = (carrier(X, Y).carry("shuffled", X_new, Y_new) - Y_new).norm(dim=(1, 2))
    assert in_step < 1e-6
    assert out_of_step > 0.8 * float(shuffled.min())


@pytest.mark.parametrize("n", [10, 60])
def test_a_random_rotation_keeps_inner_products_and_is_uniform(n: int) -> None:
    g = torch.Generator().manual_seed(0)
    X = torch.randn(n, 24, generator=g, dtype=torch.float64)
    rotated = haar_rotated(X, 24, g)
    torch.testing.assert_close(rotated @ rotated.T, X @ X.T)
    # A uniform rotation sends a fixed vector anywhere: mean 0, and each coordinate has variance |x|^2 / d.
    draws = torch.stack([haar_rotated(X[:2], 24, g) for _ in range(2000)])
    assert draws.mean(0).abs().max() < 0.12
    torch.testing.assert_close(draws.var(0), (X[:2] ** 2).sum(1, keepdim=True).expand(2, 24) / 24, rtol=0.2, atol=0)


@pytest.mark.parametrize(("d", "width"), [(24, 40), (40, 24)])
def test_a_random_rotation_between_widths_is_semi_orthogonal(d: int, width: int) -> None:
    R = haar_rotated(torch.eye(d, dtype=torch.float64), width, torch.Generator().manual_seed(1))
    small = R @ R.T if d < width else R.T @ R
    torch.testing.assert_close(small, torch.eye(min(d, width), dtype=torch.float64))


def test_permutations_inside_a_relation_move_rows_and_keep_relations() -> None:
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 1, 0, 0, 3])
    draws = permutations(labels, 10, 50, torch.Generator().manual_seed(0))
    assert (labels[draws] == labels).all()
    assert (draws.sort(1).values == torch.arange(10)).all()
    assert (draws[:, 9] == 9).all()
    assert len(torch.unique(draws, dim=0)) > 40
    free = permutations(None, 10, 50, torch.Generator().manual_seed(0))
    assert (labels[free] != labels).any()


def test_rows_alone_in_their_relation_are_permuted_among_themselves() -> None:
    X, Y, X_new, Y_new = planted_pair()
    relations = torch.arange(len(X))
    lonely = Carrier(Orthogonal(), Normalize(), X, Y, relations, N_DRAWS, 0)
    errors = (lonely.carry("shuffled_within", X_new, Y_new) - Y_new).norm(dim=(1, 2)) / (Y_new - Y.mean(0)).norm()
    assert errors.min() > 0.5


def test_a_controls_draws_depend_on_the_seed_and_not_on_the_other_controls() -> None:
    X, Y, X_new, Y_new = planted_pair()
    alone = carrier(X, Y).carry("random", X_new, Y_new)
    after = carrier(X, Y)
    after.carry("shuffled", X_new, Y_new)
    torch.testing.assert_close(after.carry("random", X_new, Y_new), alone, rtol=0, atol=0)
    assert not torch.equal(carrier(X, Y, seed=1).carry("random", X_new, Y_new), alone)


def test_another_map_goes_through_the_same_controls() -> None:
    X, Y, X_new, Y_new = planted_pair(n=200)
    subject = carrier(X, Y, "none", Ridge(1e-9))
    torch.testing.assert_close(subject.carry("fitted", X_new, Y_new)[0], Y_new, rtol=1e-3, atol=1e-2)


def test_every_control_says_what_it_rules_out() -> None:
    assert len(CONTROLS) == 8
    assert all(len(c.rules_out) > 15 for c in CONTROLS.values())
