"""Several records shown together: the verdicts of task=similarity pay for their number, as those of an export do."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from comparable import compared
from rich.console import Console
from torch import Tensor

from bridge.records.record import Record
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.similarity.calibration import calibrate
from bridge.tasks.similarity.matrices import layer_pairs, measures, not_above, over_layers
from bridge.tasks.similarity.page import section
from bridge.tasks.similarity.points import over_layers as over_layers_of
from bridge.tasks.similarity.points import points
from bridge.tasks.similarity.tables import print_many, print_matrices
from bridge.tasks.similarity.task import FREE, WITHIN
from bridge.tasks.similarity.together import together, too_few

LAYERS = {"source": [1, 2], "target": [1, 2]}
N_RECORDS, N_PERMUTATIONS, N_TRIALS = 6, 119, 150
MEASURE = "cka_linear"
PAIR = {"name": "tiny", "source": {"name": "a"}, "target": {"name": "b"}}


class Noise:
    """A measure that knows nothing of its rows: other numbers under every permutation, the observed ones lifted."""

    measures = (MEASURE,)
    n = 20
    device = torch.device("cpu")

    def __init__(self, generator: torch.Generator, lift: float = 0.0) -> None:
        self.numbers = 0.1 * torch.randn(2 * N_PERMUTATIONS + 1, 1, 2, 2, generator=generator, dtype=torch.float64)
        self.numbers[0] += lift
        self.asked = 0

    def scores(self, permutation: Tensor) -> Tensor:
        self.asked += 1
        return self.numbers[self.asked - 1]


def record(scorer: Any, valid: bool = True, n_permutations: int = N_PERMUTATIONS, seed: int = 0) -> Record:
    """A record made of a scorer's numbers on the way that a cell's take."""
    orders = torch.zeros(n_permutations, scorer.n, dtype=torch.long)
    calibrated = calibrate([scorer], {FREE: orders, WITHIN: orders})
    data = {
        "run_id": f"{seed:016d}",
        "config": {"task": {"name": "similarity"}, "pair": PAIR, "seed": seed},
        "layers": LAYERS,
        "gates": {"planted": {"passed": valid, "value": 0.0, "threshold": 1e-6}},
        "valid": valid,
        "warnings": [],
        "wall_s": 1.0,
        "n_rows": 20,
        "n_permutations": n_permutations,
        "points": points(calibrated, LAYERS, 20),
        "over_layers": over_layers_of(calibrated),
    }
    return Record(Path(), data)


def some(n: int, lift: float = 0.0, **options: Any) -> list[Record]:
    generator = torch.Generator().manual_seed(0)
    return [record(Noise(generator, lift), seed=seed, **options) for seed in range(n)]


def is_any_above(records: Sequence[Record]) -> bool:
    """Whether any record is above freely permuted rows at its best layers."""
    return any(not not_above(r.data, FREE) for r in records)


def test_unrelated_models_are_above_the_null_one_time_in_twenty_however_many_records_are_shown() -> None:
    generator = torch.Generator().manual_seed(0)
    trials = [[record(Noise(generator)) for _ in range(N_RECORDS)] for _ in range(N_TRIALS)]
    alone = sum(is_any_above(one) for one in trials) / N_TRIALS
    corrected = sum(is_any_above(together(one)) for one in trials) / N_TRIALS
    largest = [any(over_layers(r.data, MEASURE, "max").is_above(FREE) for r in together(one)) for one in trials]
    assert alone > 0.15
    # Three standard errors above 0.05.
    most = 0.05 + 3 * (0.05 * 0.95 / N_TRIALS) ** 0.5
    assert 0 < corrected < most
    assert sum(largest) / N_TRIALS < most


def test_p_is_the_familys_of_an_export_at_every_point(bare_outputs: Path) -> None:
    words = ("task.measures=[cka_linear,mutual_knn]", "task.n_permutations=19")
    records = [compared(bare_outputs, *words, f"dataset.size={n}") for n in (40, 50)]
    records.append(compared(bare_outputs, "task.measures=[cka_linear]", "task.n_permutations=19"))
    cells = Family(comparisons(records), ["cka_linear", "mutual_knn"]).cells
    family = {(c.data["run_id"], c.number): c.contrasts for c in cells}
    n_different = 0
    for r, alone in zip(together(records), records, strict=True):
        for measure in measures(r.data):
            for number, (pair, own) in enumerate(
                zip(layer_pairs(r.data, measure), layer_pairs(alone.data, measure), strict=True)
            ):
                for null in (FREE, WITHIN):
                    contrast = family[r.data["run_id"], number][null][measure]
                    assert pair.nulls[null]["p_corrected"] == contrast["p_holm"]
                    assert own.nulls[null]["p_corrected"] == contrast["p_searched"]
                    n_different += contrast["p_holm"] != contrast["p_searched"]
    assert n_different > 0


def test_one_record_keeps_its_p_and_invalid_ones_do_not_count() -> None:
    (alone,) = some(1, lift=1.0)
    least = 1 / (1 + N_PERMUTATIONS)
    bad = record(Noise(torch.Generator()), valid=False, seed=1)
    for shown in ([alone], [alone, bad]):
        first = together(shown)[0].data
        for over in (next(layer_pairs(first, MEASURE)), over_layers(first, MEASURE, "mean")):
            assert over.nulls[FREE]["p_corrected"] == pytest.approx(least)
    three = together(some(3, lift=1.0))[0].data
    for over in (next(layer_pairs(three, MEASURE)), over_layers(three, MEASURE, "mean")):
        assert over.nulls[FREE]["p_corrected"] == pytest.approx(3 * least)
        assert over.nulls[FREE]["p"] == pytest.approx(least)


def test_what_can_never_be_above_is_said_with_the_permutations_that_it_needs() -> None:
    assert too_few(some(5, n_permutations=99)) is None
    assert too_few(some(6, n_permutations=100)) == (
        "no verdict can be above: 100 permutations are too few for 6 records; give task.n_permutations=119 or more"
    )
    assert too_few(some(6, n_permutations=119)) is None
    assert (
        too_few([*some(2, n_permutations=19), *some(1, n_permutations=99)])
        == "only 1 of 3 verdicts can be above: 19 permutations are too few for 3 records; give task.n_permutations=59 "
        "or more"
    )
    assert too_few(some(1, n_permutations=18)) == (
        "no verdict can be above: 18 permutations are too few for 1 record; give task.n_permutations=19 or more"
    )
    assert too_few(some(1, valid=False, n_permutations=5)) is None


def printed(records: Sequence[Record]) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    print_many(records, console)
    return " ".join(console.export_text().split())


def test_terminal_and_page_say_what_p_is_corrected_for_and_when_it_can_never_be_small() -> None:
    enough, few = some(6, lift=1.0), some(6, lift=1.0, n_permutations=100)
    said = "no verdict can be above: 100 permutations are too few for 6 records; give task.n_permutations=119 or more"
    assert "above freely permuted rows: 6 of 6 scores of valid cells" in printed(enough)
    assert "corrected for the layers searched and for the 6 records shown, not for the" in printed(enough)
    assert "can be above" not in printed(enough)
    assert "above freely permuted rows: 0 of 6 scores of valid cells" in printed(few)
    assert said in printed(few)
    page = section(enough)
    assert "corrected for the search over layers and for the 6 records shown, not for that over measures" in page
    assert "they are corrected for the 6 records shown" in page
    assert page.count("1 of 1 measures above rows permuted freely") == 6
    assert "0.050 is the least there can be" in page
    assert "can be above" not in page
    page = section(few)
    assert page.count("0 of 1 measures above rows permuted freely") == 6
    assert said[1:] in page
    alone = section(some(1, lift=1.0))
    assert "records shown" not in alone
    assert "0.008 is the least there can be" in alone
    assert "records shown" not in printed(some(1))


def test_the_table_of_one_record_says_when_nothing_can_be_above() -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    (one,) = some(1, n_permutations=18)
    print_matrices(one, console)
    assert "no verdict can be above: 18 permutations are too few for 1 record" in console.export_text()
