"""Gates that look at states alone: broken on purpose twenty times at random, and sound data let through."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from bridge.carry.carrier import Carrier
from bridge.carry.draws import haar_rotated
from bridge.carry.rows import Rows
from bridge.maps.orthogonal import Orthogonal
from bridge.normalize import Normalize
from bridge.results.scores import Branch
from bridge.results.verdicts import wanted
from bridge.schema.translate import GatesConfig
from bridge.tasks.translate.gates import alive_gate, known_gate, pairing_gate, planted_gate, state_gates

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


@cache
def sound(at: int) -> bool:
    """Whether the rows of one pair pass while they are in step."""
    return pairing(*pair(at), at)["passed"]


@pytest.mark.parametrize("fault", [rolled, permuted, permuted_within])
def test_pairing_catches_rows_out_of_step_in_fit_and_eval_alike(fault) -> None:
    passed = []
    for at in range(TIMES):
        X, Y, relations = pair(at)
        order = fault(relations, torch.Generator().manual_seed(100 + at), at)
        assert sound(at)
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


def test_pairing_does_not_depend_on_where_the_states_of_either_model_lie() -> None:
    X, Y, relations = pair(0)
    assert pairing(X + 300.0, Y - 20_000.0, relations)["p"] == pairing(X, Y, relations)["p"]


def test_permutations_that_change_nothing_are_no_evidence_of_pairing() -> None:
    """Inside a relation all states of the target are one, so every order of them is as good as the rows in step."""
    X, _, relations = pair(0, n_relations=2)
    gate = pairing(X, torch.tensor([[1.0, 0.0], [0.0, 1.0]])[relations].double(), relations)
    assert gate["p"]["free"] == 1 / 500
    assert gate["p"]["within"] > 0.1
    assert not gate["passed"]


class Made:
    """Stands for the checker of a model whose state after the text (i,) is [i, 1]."""

    def __init__(self, dtype: torch.dtype = torch.float32, rounding: float = 0.0, padded: float = 0.0) -> None:
        self.lm = SimpleNamespace(dtype=dtype, anatomy=SimpleNamespace(n_blocks=4))
        self.rounding = rounding
        self.padded = padded

    def drift(self, texts: list[tuple[int, ...]], states: Tensor, layer: int, position: str = "last") -> float:
        return self.rounding if torch.equal(states, after(texts)) else 1.0

    def replay_error(self, texts: list[tuple[int, ...]], states: Tensor, layer: int) -> float:
        return self.drift(texts, states, layer)

    def padding_drift(self, texts: list[tuple[int, ...]], layer: int) -> float:
        return self.padded


def after(texts: Sequence[tuple[int, ...]]) -> Tensor:
    return torch.tensor([[float(i), 1.0] for (i,) in texts])


def of_states(checker: Made, other: Made, wrong: str = "") -> dict:
    """The gates of 100 rows of fit and of eval; of `wrong` the source's states are others from the 41st row on."""
    texts = tuple((i,) for i in range(100))
    states, zeros = after(texts), torch.zeros(100, dtype=torch.long)
    broken = torch.cat([states[:40], states[40:].roll(1, 0)])
    fit, evaluation = (
        Rows(broken if name == wrong else states, states, zeros, zeros, zeros, texts, texts)
        for name in ("fit", "evaluation")
    )
    evaluation = replace(evaluation, X=evaluation.X[:, None], Y=evaluation.Y[:, None])
    own = SimpleNamespace(contexts=texts, final_states=states)
    sides = [(checker, 2, "source"), (other, 2, "target")]
    return state_gates(sides, fit, evaluation, {"source": own, "target": own}, "last", 0, LIMITS)


@pytest.mark.parametrize("wrong", ["fit", "evaluation"])
def test_the_rows_looked_at_are_drawn_from_all_of_them(wrong: str) -> None:
    assert all(gate["passed"] for gate in of_states(Made(), Made()).values())
    assert not of_states(Made(), Made(), wrong)["drift"]["passed"]


def test_a_state_that_padding_changes_has_drifted() -> None:
    for checkers in ((Made(padded=0.5), Made()), (Made(), Made(padded=0.5))):
        gate = of_states(*checkers)["drift"]
        assert gate["value"] == 0.5
        assert not gate["passed"]


@pytest.mark.parametrize("name", ["states", "drift"])
def test_four_rounding_steps_of_the_coarser_model_are_no_error(name: str) -> None:
    coarse = of_states(Made(torch.bfloat16, rounding=0.02), Made())[name]
    assert coarse == {"passed": True, "value": 0.02, "threshold": 4 * 2**-7}
    fine = of_states(Made(rounding=0.02), Made())[name]
    assert fine == {"passed": False, "value": 0.02, "threshold": getattr(LIMITS, name)}


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
        passed = {name: planted(X, Y, undo=states)["passed"] for name, states in faults.items()}
        assert passed == dict.fromkeys(faults, False)


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
