"""Gates that look at states alone: broken on purpose twenty times at random, and sound data let through."""

import pytest
import torch
from torch import Tensor

from bridge.controls import Carrier, Rows, haar_rotated
from bridge.maps import Orthogonal
from bridge.normalize import Normalize
from bridge.schema.method import GatesConfig
from bridge.tasks.gates import alive_gate, known_gate, pairing_gate, planted_gate, wanted
from bridge.tasks.summary import Branch

LIMITS = GatesConfig()
N, M, D = 160, 64, 24
TIMES = 20


def pair(seed: int, n_relations: int = 6, noise: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Two models' states of N + M items: a part of their relation, a part of their own, rotated, and noise of either."""
    g = torch.Generator().manual_seed(seed)
    relations = torch.randint(n_relations, (N + M,), generator=g)
    shared = 2.0 * torch.randn(n_relations, D, generator=g, dtype=torch.float64)[relations]
    shared = shared + torch.randn(N + M, D, generator=g, dtype=torch.float64)
    X = shared + noise * torch.randn(N + M, D, generator=g, dtype=torch.float64)
    Y = 40.0 * haar_rotated(shared, D, g) + 40.0 * noise * torch.randn(N + M, D, generator=g, dtype=torch.float64)
    return X, Y, relations


def pairing(X: Tensor, Y: Tensor, relations: Tensor, seed: int = 0) -> dict:
    return pairing_gate((X, Y, relations), LIMITS.pairing, seed)


def inside(relations: Tensor, g: torch.Generator) -> Tensor:
    """A permutation that moves rows inside their relation."""
    order = torch.arange(len(relations))
    for relation in relations.unique():
        rows = (relations == relation).nonzero().flatten()
        order[rows] = rows[torch.randperm(len(rows), generator=g)]
    return order


def rolled(relations: Tensor, g: torch.Generator, at: int) -> Tensor:
    by = (1, 2, 20, 300)[at % 4]
    return torch.arange(N + M).roll(by)


def permuted(relations: Tensor, g: torch.Generator, at: int) -> Tensor:
    return torch.randperm(N + M, generator=g)


def permuted_within(relations: Tensor, g: torch.Generator, at: int) -> Tensor:
    return inside(relations, g)


@pytest.mark.parametrize("fault", [rolled, permuted, permuted_within])
def test_pairing_catches_rows_out_of_step_in_fit_and_eval_alike(fault) -> None:
    passed = []
    for at in range(TIMES):
        X, Y, relations = pair(at)
        order = fault(relations, torch.Generator().manual_seed(100 + at), at)
        assert pairing(X, Y, relations, at)["passed"]
        gate = pairing(X[order], Y, relations, at)
        assert set(gate["p"]) == {"free", "within"}
        passed.append(gate["passed"])
    assert not any(passed)


def test_pairing_inside_relations_is_judged_by_the_harder_null() -> None:
    """Relations alone are enough against free permutations, and never against those inside relations."""
    for at in range(5):
        X, Y, relations = pair(at)
        gate = pairing(X[inside(relations, torch.Generator().manual_seed(at))], Y, relations, at)
        assert gate["p"]["free"] == 1 / 500
        assert gate["value"] == gate["p"]["within"] > LIMITS.pairing


def test_pairing_passes_as_often_as_its_threshold_says_where_rows_are_permuted_inside_relations() -> None:
    X, Y, relations = pair(0)
    g = torch.Generator().manual_seed(1)
    p = torch.tensor([pairing(X[inside(relations, g)], Y, relations, at)["value"] for at in range(40)])
    assert int((p <= 0.1).sum()) <= 10
    assert int((p <= LIMITS.pairing).sum()) <= 2
    assert float(p.median()) > 0.2


def test_pairing_without_relations_has_one_null_and_says_so() -> None:
    X, Y, relations = pair(0)
    for labels in (torch.full_like(relations, -1), torch.zeros_like(relations)):
        gate = pairing(X, Y, labels)
        assert gate["passed"]
        assert gate["p"] == {"free": 1 / 500}


def test_pairing_asks_for_evidence_and_not_for_a_good_fit() -> None:
    """Noise that is twice what is shared, in variance, still leaves no permutation as good as the rows in step."""
    assert all(pairing(*pair(at, noise=1.4), at)["passed"] for at in range(TIMES))


def planted(X: Tensor, Y: Tensor, scale: str = "frobenius", undo: Tensor | None = None) -> dict:
    n = torch.arange(N)
    carrier = Carrier(Orthogonal(), Normalize(scale=scale), Rows(X[:N], Y[:N], n % 4, n % 7, n), 1, 0)
    Y_hat = carrier.carry("planted", X[N:], Y[N:])[0] if undo is None else undo
    return planted_gate(carrier, Y_hat, Y[N:], LIMITS.planted)


@pytest.mark.parametrize("scale", ["none", "l2", "frobenius"])
def test_planted_passes_where_the_rotation_is_undone(scale: str) -> None:
    for at in range(TIMES):
        X, Y, _ = pair(at)
        gate = planted(X, Y, scale)
        assert gate["passed"]
        assert gate["value"] < 1e-8


def test_planted_catches_a_rotation_that_is_not_undone_a_wrong_scale_and_a_wrong_mean() -> None:
    for at in range(TIMES):
        X, Y, _ = pair(at)
        Y_new, mean = Y[N:], Y[:N].mean(0)
        g = torch.Generator().manual_seed(at)
        faults = {
            "rotated": haar_rotated(Y_new - mean, D, g) + mean,
            "scale": 1.1 * (Y_new - mean) + mean,
            "mean": Y_new + 0.1 * (Y_new - mean).norm(dim=1).mean() * torch.nn.functional.normalize(mean, dim=0),
            "rows": Y_new[torch.randperm(M, generator=g)],
            "mean alone": mean.expand_as(Y_new),
        }
        told = {name: planted(X, Y, undo=states)["passed"] for name, states in faults.items()}
        assert told == dict.fromkeys(faults, False)


def test_planted_catches_a_fit_on_rows_out_of_step(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Orthogonal.fit
    for at in range(TIMES):
        X, Y, _ = pair(at)
        with monkeypatch.context() as broken:
            broken.setattr(Orthogonal, "fit", lambda self, X, Y, groups=None, at=at: fit(self, X.roll(1 + at, 0), Y))
            assert not planted(X, Y)["passed"]


def scores(top1: float, m: int = 200) -> Branch:
    return Branch({"top1": (torch.arange(m) < round(top1 * m)).double()[None]})


@pytest.mark.parametrize(
    ("own", "native", "passed"),
    [(0.9, 0.9, True), (0.64, 0.9, True), (0.62, 0.9, False), (0.0, 0.9, False), (0.0, 0.0, False)],
)
def test_alive_wants_the_targets_own_states_to_reach_what_it_says_itself(own, native, passed) -> None:
    assert alive_gate(scores(own), scores(native), LIMITS.alive)["passed"] is passed


@pytest.mark.parametrize(("own", "passed"), [(0.5, True), (0.71, True), (0.72, False), (0.87, False)])
def test_a_way_in_that_says_more_than_the_target_does_is_refused_too(own: float, passed: bool) -> None:
    gate = alive_gate(scores(own), scores(0.5), LIMITS.alive)
    assert gate["passed"] is passed
    assert wanted(gate) == "0.7 to 1.43"


@pytest.mark.parametrize(("native", "commonest", "passed"), [(0.05, 0.925, False), (0.5, 0.5, False), (0.6, 0.5, True)])
def test_a_target_that_knows_no_more_than_the_commonest_answer_is_refused(native, commonest, passed) -> None:
    gate = known_gate(scores(native), commonest)
    assert gate["passed"] is passed
    assert wanted(gate) == f"> {commonest:.3g}"
