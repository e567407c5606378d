"""Controls: truths by construction, and the mistakes that they must show."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bridge.carry.carrier import Carrier
from bridge.carry.draws import NOT_RULED_OUT, haar_rotated, haar_rows, within
from bridge.carry.rows import Rows
from bridge.controls.names import CONTROLS
from bridge.errors import FitError
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.ridge import Ridge
from bridge.normalize import Normalize
from bridge.permutations import permutations
from bridge.results.conditions import Conditions

N_DRAWS = 20


def planted_pair(n: int = 80, m: int = 30, d: int = 24, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Y = c (X - u) Q + v: what a centred, rescaled rotation expresses exactly."""
    g = torch.Generator().manual_seed(7)
    X = torch.randn(n + m, d, generator=g, dtype=torch.float64) * torch.linspace(3, 0.5, d) + 2.0
    Q = haar_rows(d, d, g)
    Y = 5.0 * (X - X.mean(0)) @ Q + 40.0 + noise * torch.randn(n + m, d, generator=g, dtype=torch.float64)
    return X[:n], Y[:n], X[n:], Y[n:]


def carrier(
    X: Tensor, Y: Tensor, scale: str = "l2", map: object = None, seed: int = 0, relations: Tensor | None = None
) -> Carrier:
    n = torch.arange(len(X))
    rows = Rows(X, Y, n % 4 if relations is None else relations, n % 7, n, source=texts(len(X)))
    return Carrier(map or Orthogonal(), Normalize(center=True, scale=scale), rows, N_DRAWS, seed)


def carried(subject: Carrier, control: str, X: Tensor, Y: Tensor) -> Tensor:
    return subject.carry(control, X, Y, torch.arange(len(X)) % 7, texts(len(X)))


def texts(n: int) -> tuple[tuple[int, ...], ...]:
    return tuple((1, 10 + i % 5, 20 + i % 6) for i in range(n))


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
        offset = carried(subject, control, X_new, Y_new).mean((0, 1)) - Y.mean(0)
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
    draws = permutations(10, 50, torch.Generator().manual_seed(0), labels)
    assert (labels[draws] == labels).all()
    assert (draws.sort(1).values == torch.arange(10)).all()
    assert (draws[:, 9] == 9).all()
    assert len(torch.unique(draws, dim=0)) > 40
    free = permutations(10, 50, torch.Generator().manual_seed(0))
    assert (labels[free] != labels).any()


def test_rows_alone_in_their_relation_are_permuted_among_themselves_and_join_no_other() -> None:
    relations = torch.tensor([4, 0, 0, 2, 0, 5, 5, -1, 3, -1])
    labels, why_not = within(relations)
    assert labels is not None
    assert why_not == ""
    alone = torch.tensor([0, 3, 7, 8, 9])
    assert len(labels[alone].unique()) == 1
    assert not torch.isin(labels[[1, 2, 4, 5, 6]], labels[alone]).any()
    draws = permutations(10, 50, torch.Generator().manual_seed(0), labels)
    assert (draws[:, alone].sort(1).values == alone).all()
    assert (relations[draws[:, [1, 2, 4, 5, 6]]] == relations[[1, 2, 4, 5, 6]]).all()
    assert len(draws[:, alone].unique(dim=0)) > 20


@pytest.mark.parametrize(
    ("relations", "why_not"),
    [
        (torch.full((80,), -1), f"{NOT_RULED_OUT}: the items name no relation to permute inside"),
        (torch.zeros(80, dtype=torch.long), "all items are of one relation, so shuffled is the same"),
        (torch.arange(80), f"{NOT_RULED_OUT}: no two fit rows share a relation"),
    ],
)
def test_permuting_inside_relations_is_absent_with_the_reason_where_it_can_mean_nothing(
    relations: Tensor, why_not: str
) -> None:
    X, Y, _, _ = planted_pair()
    assert carrier(X, Y, relations=relations).absent_ == {"shuffled_within": why_not}
    assert carrier(X, Y).absent_ == {}


def test_shuffled_within_moves_rows_only_inside_their_relation() -> None:
    """Each relation has one and the same target state, so a permutation inside relations changes nothing."""
    X, Y, X_new, Y_new = planted_pair()
    relations = torch.arange(len(X)) % 4
    subject = carrier(X, Y[relations], "frobenius", Ridge(0.1), relations=relations)
    fitted = subject.carry("fitted", X_new, Y_new).expand(N_DRAWS, -1, -1)
    torch.testing.assert_close(subject.carry("shuffled_within", X_new, Y_new), fitted)
    assert (subject.carry("shuffled", X_new, Y_new) - fitted).norm(dim=(1, 2)).min() > 1.0


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


@pytest.mark.parametrize("scale", ["l2", "frobenius"])
@pytest.mark.parametrize("control", CONTROLS)
def test_what_five_items_are_given_depends_on_neither_the_other_items_nor_the_targets_own_states(
    control: str, scale: str
) -> None:
    X, Y, X_new, Y_new = planted_pair(noise=3.0)
    subject, five = carrier(X, Y, scale), slice(3, 8)
    whole = carried(subject, control, X_new, Y_new)
    answers = torch.arange(len(X_new))[five] % 7
    if not CONTROLS[control].drawn:
        # `planted` undoes a rotation that it draws for fit and eval rows at once
        alone = subject.carry(control, X_new[five], Y_new[five], answers, texts(len(X_new))[five])
        torch.testing.assert_close(alone, whole[:, five], rtol=1e-6, atol=1e-6)
    if CONTROLS[control].kind != "ceiling":
        # the target's states in another order, scale and place
        torch.testing.assert_close(carried(subject, control, X_new, 90.0 - 3.0 * Y_new.flip(0)), whole)


@pytest.mark.parametrize("scale", ["l2", "frobenius"])
@pytest.mark.parametrize("control", CONTROLS)
def test_the_scale_and_place_of_either_model_change_no_control(control: str, scale: str) -> None:
    X, Y, X_new, Y_new = planted_pair(noise=3.0)
    plain = carried(carrier(X, Y, scale), control, X_new, Y_new)
    for c in (1 / 30, 30.0):
        source = carrier(c * X + 7.0, Y, scale), c * X_new + 7.0, Y_new
        target = carrier(X, c * Y - 2.0, scale), X_new, c * Y_new - 2.0
        torch.testing.assert_close(carried(source[0], control, *source[1:]), plain)
        torch.testing.assert_close(carried(target[0], control, *target[1:]), c * plain - 2.0)


def test_the_ceiling_is_fitted_on_fit_rows_alone() -> None:
    X, Y, X_new, Y_new = planted_pair(n=10, noise=3.0)
    error = carrier(X, Y, "none", Ridge(0.1)).carry("same_model", X_new, Y_new)[0] - Y_new
    # ten rows of a space of 24 cannot say what rows outside their span become
    assert error.norm() > 0.1 * (Y_new - Y.mean(0)).norm()


def test_the_size_of_a_row_is_the_sources_and_never_the_targets_own() -> None:
    X, Y, X_new, Y_new = planted_pair()
    twice = torch.cat([X_new[:1], X.mean(0) + 2 * (X_new[:1] - X.mean(0))])
    first, second = (carrier(X, Y, "l2").carry("fitted", twice, Y_new[:2])[0] - Y.mean(0)).norm(dim=1)
    assert float(second / first) == pytest.approx(2.0)


def test_another_control_or_another_number_of_draws_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y, X_new, Y_new = planted_pair()
    drawn = [name for name, control in CONTROLS.items() if control.drawn]
    assert drawn == ["random", "shuffled", "shuffled_within", "clustered"]
    before = {name: carried(carrier(X, Y, seed=3), name, X_new, Y_new) for name in drawn}
    more = Conditions([*CONTROLS.values(), replace(CONTROLS["random"], name="another")])
    monkeypatch.setattr("bridge.carry.carrier.CONTROLS", more)
    fewer = carrier(X, Y, seed=3)
    fewer.n_draws = 4
    for name in reversed(drawn):
        torch.testing.assert_close(carried(fewer, name, X_new, Y_new), before[name][:4], rtol=0, atol=0)
    assert len({float(draws[0, 0, 0]) for draws in before.values()}) == len(drawn)


def test_clustered_knows_the_answer_of_every_row_and_nothing_of_the_source() -> None:
    X, Y, X_new, Y_new = planted_pair()
    subject = carrier(X, Y, "frobenius", Ridge(1e-6))
    known = carried(subject, "clustered", X_new, Y_new)
    assert known.shape == (5, *Y_new.shape)
    # rows of one answer are given one state, which is the mean of the target's states of that answer
    fit_answers, answers = torch.arange(len(X)) % 7, torch.arange(len(X_new)) % 7
    means = torch.stack([Y[fit_answers == a].mean(0) for a in range(7)])
    torch.testing.assert_close(known, means[answers].expand_as(known), rtol=1e-3, atol=1e-1)
    shifted = carried(carrier(9.0 * X.flip(1), Y, "frobenius", Ridge(1e-6)), "clustered", -X_new, Y_new)
    torch.testing.assert_close(shifted, known, rtol=1e-3, atol=1e-1)
    # of an answer that no fit row has it can say nothing: a state unlike that of any answer, another with each draw
    new = subject.carry("clustered", X_new, Y_new, 7 + answers)
    spread = (new - new.mean(0)).norm(dim=(1, 2)).mean() / (known - known.mean(0)).norm(dim=(1, 2)).mean()
    assert spread > 50


def test_the_random_states_of_clustered_are_as_large_as_the_sources_own(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y, X_new, Y_new = planted_pair()
    subject, fitted, fit = carrier(X, Y, "none"), [], Orthogonal.fit
    monkeypatch.setattr(Orthogonal, "fit", lambda self, X, *more: fitted.append(X) or fit(self, X, *more))
    carried(subject, "clustered", X_new, Y_new)
    sizes = torch.stack([states.square().sum() for states in fitted]) / (X - X.mean(0)).square().sum()
    assert len(sizes) == 5
    assert 0.7 < float(sizes.mean()) < 1.3


def test_lookup_is_a_table_of_the_ends_of_prompts_alone() -> None:
    X, Y, X_new, Y_new = planted_pair()
    ends = torch.arange(len(X)) % 2 == 1
    # places inside a prompt lie where the new rows are, and name an answer that no end has
    inside = torch.where(ends[:, None], X, X_new.repeat(3, 1)[: len(X)])
    answers = torch.where(ends, torch.arange(len(X)) % 7, 7)
    rows = Rows(inside, Y, answers % 4, answers, torch.arange(len(X)), ends=ends)
    carried = Carrier(Orthogonal(), Normalize(), rows, 1, 0).carry("lookup", X_new, Y_new)[0]
    means = torch.stack([Y[answers == answer].mean(0) for answer in range(7)])
    assert torch.cdist(carried, means).amin(1).max() < 1e-4


def test_every_control_says_what_it_rules_out() -> None:
    assert len(CONTROLS) == 11
    assert all(len(c.rules_out) > 15 for c in CONTROLS.values())


def test_a_control_that_is_absent_or_unknown_is_refused_and_never_replaced_by_another() -> None:
    X, Y, X_new, Y_new = planted_pair()
    n = torch.arange(len(X))
    alone = Carrier(Orthogonal(), Normalize(), Rows(X, Y, n, n * 0, n), N_DRAWS, 0)
    assert alone.absent_["clustered"] == "all fit rows have one answer, so there is nothing to tell apart"
    for control, why in (
        ("clustered", "all fit rows have one answer"),
        ("shuffled_within", "no two fit rows share a relation"),
        ("shufled", "unknown; wanted one of fitted, random"),
    ):
        with pytest.raises(FitError, match=f"^control {control} is .*{why}"):
            alone.carry(control, X_new, Y_new, n[: len(X_new)])
    with pytest.raises(FitError, match="^control clustered has no answers"):
        carrier(X, Y).carry("clustered", X_new, Y_new)
