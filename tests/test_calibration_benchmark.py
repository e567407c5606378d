"""The short form of `python -m benchmarks calibration`: one curve of real cells, fewer simulations, wider bands."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.calibration.draws import ranks, verdicts
from benchmarks.calibration.items import families, singles
from benchmarks.calibration.rates import BANDS, Rates
from benchmarks.calibration.records import GRID, Scores, scores
from bridge.session import Session

N = 200
KINDS = (("joint rank over", ""), ("ranks of", ", none corrected"))


@pytest.fixture(scope="module")
def cells(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Scores]:
    """Three layers at the largest size, by lm_head."""
    outputs = tmp_path_factory.mktemp("calibration")
    (outputs / "artefacts").symlink_to(trained)
    session = Session(outputs, "cpu", 64)
    return [scores(session, *words) for words in GRID[6:9]]


def check(rates: Rates, names: set[str], floors: set[str] = frozenset()) -> None:
    """The gated rates are of these kinds, and lie in their bands but for four standard deviations of a simulation."""
    gated = {name: rate for name, rate in rates.by_name.items() if rate.is_gated}
    assert {name.split(",")[0] for name in gated} == names
    conservative = {name: rate for name, rate in rates.by_name.items() if rate.has_floor}
    assert {name.split(",")[0] for name in conservative} == floors
    for name, rate in (gated | conservative).items():
        low, high = BANDS[rate.kind][0], 1.0 if rate.has_floor else BANDS[rate.kind][1]
        at = high if high < 1.0 else low
        spread = 4 * (at * (1 - at) / rate.n) ** 0.5
        assert rate.n == N
        assert low - spread <= rate.measured <= high + spread, f"{name}: {rate.measured:.3f}"


def test_intervals_and_tests_of_a_cell_keep_their_level_where_items_come_in_units(cells: list[Scores]) -> None:
    rates = Rates()
    singles(rates, cells[2], 40, N, 300, "40 answers")
    kinds = {"top-1", "nats", "share of native"}
    differences = {"top-1", "nats"}
    floors = {"interval of rare top-1", "interval of difference of top-1 where few differ"}
    tests = {f"{test} of {name}" for test in ("sign flip", "exact sign flip") for name in ("top-1", "nats")}
    intervals = {f"interval of {k}" for k in kinds} | {f"interval of difference of {k}" for k in differences}
    check(rates, intervals | tests, floors)
    # Rates come from the record itself: no interval is right because it holds everything.
    assert rates.by_name["interval of top-1, 40 answers"].measured < 1.0


def test_items_taken_as_independent_reject_true_nulls_and_miss_the_truth(cells: list[Scores]) -> None:
    rates = Rates()
    singles(rates, cells[2], cells[2].n_units, N, 100, "blind", is_blind=True)
    assert not any(rate.is_gated for rate in rates.by_name.values())
    assert rates.by_name["exact sign flip of top-1, blind"].measured > 0.12
    assert rates.by_name["interval of top-1, blind"].measured < 0.86


def test_families_of_cells_keep_their_level(cells: list[Scores]) -> None:
    rates = Rates()
    families(rates, cells, cells[0].n_units, N, "answers")
    check(rates, {"Holm over 3 cells", "max statistic over 3 layers", "best layers of 1 curves"})


def test_ranks_among_draws_and_whole_verdicts_keep_their_level(cells: list[Scores]) -> None:
    rates = Rates()
    ranks(rates, cells, "shuffled_within", N)
    check(rates, {"rank among draws", "joint rank over 3 cells", "joint rank at the best layers"})
    for name in ("top-1", "nats"):
        joint, alone = (rates.by_name[f"{kind} 3 cells{rest}, {name}, shuffled_within"] for kind, rest in KINDS)
        assert 0 < joint.hits <= alone.hits
    verdicts(rates := Rates(), cells, N)
    check(rates, {"verdict of any of 3 cells", "verdict at the highest cells"})
