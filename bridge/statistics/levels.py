"""The level of every verdict, and the smallest samples that have one; plain numbers, so that importing them is fast."""

import math

# The level of every verdict.
ALPHA = 0.05
# One more than are needed for p <= ALPHA.
ENOUGH_DRAWS = 20
# Below the first number intervals are wide and rough, and the text says so; below the second no p is given, because
# the 2**n sign flips of n units cannot reach 0.05.
FEW_UNITS, LEAST_UNITS = 20, 6
# The smallest p that float64 sums of a whole distribution can resolve.
SMALLEST_P = 1e-12


def least_p(n_draws: int) -> float:
    """The smallest p that a rank among so many draws can have.

    Example:
        >>> least_p(19), least_p(5) > 0.05
        (0.05, True)
    """
    return 1.0 / (1.0 + n_draws)


def draws_needed(alpha: float) -> int:
    """The fewest draws whose rank can have p <= alpha, in a family of any size (see `families.draw_family_p`).

    Example:
        >>> draws_needed(0.05)
        19
    """
    return math.ceil(1.0 / alpha - 1e-9) - 1
