"""The power of the test of Haar randomness against matrices of known structure."""

import numpy as np
import pytest

from bridge.statistics.haar import angles, checked, haar_draw
from bridge.statistics.haar_power import ALTERNATIVES, power

D = 24


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_every_alternative_is_orthogonal_and_differs_from_draw_to_draw(name: str) -> None:
    rng = np.random.default_rng(0)
    one, two = (checked(ALTERNATIVES[name](D, rng)) for _ in range(2))
    assert one.shape == (D, D)
    assert np.abs(one - two).max() > 0.1


def test_alternatives_have_the_spectrum_that_their_name_says() -> None:
    rng = np.random.default_rng(0)
    # Half of the eigenvalues, and seven eighths of them, are 1.
    assert (angles(ALTERNATIVES["partial identity"](D, rng)) < 1e-6).sum() >= D // 4 - 1
    assert (angles(ALTERNATIVES["low-rank change"](D, rng)) < 1e-6).sum() >= 7 * D // 16 - 1
    gaps = np.diff(angles(ALTERNATIVES["cyclic shift"](D, rng)))
    np.testing.assert_allclose(gaps, 2 * np.pi / D, atol=1e-8)


def test_structure_is_rejected_and_a_haar_draw_is_not() -> None:
    rng = np.random.default_rng(1)
    for name in ("signed permutation", "block", "partial identity", "low-rank change"):
        rates = power(ALTERNATIVES[name], D, 5, 59, rng).rates
        assert rates["all"] == 1.0, (name, rates)
    # Angles at equal distances are too even for a Haar draw, which shows in many of them only.
    rates = {d: power(ALTERNATIVES["cyclic shift"], d, 5, 59, rng).rates["all"] for d in (D, 64)}
    assert rates[64] == 1.0
    assert rates[D] < 0.5
    assert power(haar_draw, D, 20, 59, rng).rates["all"] <= 0.25


def test_a_fit_between_shuffled_or_unrelated_rows_is_not_told_from_a_haar_draw() -> None:
    # So passing the test does not show that a fit found anything.
    rng = np.random.default_rng(2)
    for name in ("shuffled-pair fit", "unrelated data"):
        assert power(ALTERNATIVES[name], D, 10, 39, rng).rates["all"] <= 0.5
        assert power(ALTERNATIVES[name], D, 10, 39, rng).rates["plain"] == 0.0
