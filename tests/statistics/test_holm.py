import pytest
import torch
from noise import seeded

from bridge.errors import FitError
from bridge.statistics import holm


def test_holm_is_the_step_down_procedure():
    p = torch.rand(30, dtype=torch.float64, generator=seeded()).square()
    order = p.argsort().tolist()
    highest, expected = 0.0, [0.0] * 30
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (30 - rank) * p[i].item()))
        expected[i] = highest
    assert holm(p).tolist() == pytest.approx(expected)
    assert holm(p[:0]).tolist() == []
    assert holm(p[:1]).tolist() == p[:1].tolist()
    with pytest.raises(FitError, match=r"wanted \(m,\) p values"):
        holm(torch.tensor([1.5]))
