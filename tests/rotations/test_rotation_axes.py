"""The training step of a pair, on the axis along training."""

import pytest

from bridge.config import compose_config
from bridge.rotations.axes import STEP, steps_of


@pytest.mark.parametrize(
    ("words", "steps", "label"),
    [
        (["pair=dyck3"], 5000, "5000"),
        (["pair=dyck3", "pair.source.zoo.checkpoint=0"], 0, "0"),
        (["pair=dyck3", "pair.target.zoo.checkpoint=312"], [5000, 312], "5000→312"),
        (["pair=pythia_70m_seeds", "pair.source.revision=step3000", "pair.target.revision=step3000"], 3000, "3000"),
        (["pair=pythia_70m_seeds", "pair.target.revision=step143000"], [0, 143000], "0→143000"),
    ],
)
def test_the_steps_of_both_models_are_told(words: list[str], steps: int | list[int], label: str) -> None:
    assert steps_of(compose_config(*words).pair) == steps
    assert STEP.label({"step": steps}) == label
