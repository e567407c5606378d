"""Intervals and p values for clustered scores: units are resampled and permuted whole, never single items."""

from bridge.statistics.draws import ALPHA, ENOUGH_DRAWS, draw_family_p, draw_rank_p, draws_needed, least_p
from bridge.statistics.flips import SMALLEST_P, exact_p, exact_sign_flip_p, max_statistic_p, paired_permutation_p
from bridge.statistics.holm import holm
from bridge.statistics.intervals import acceleration, bootstrap_interval, expanded_interval, resampled_means
from bridge.statistics.resampling import Resampling
from bridge.statistics.shares import (
    difference_interval,
    exact_number,
    is_rare,
    is_scarce,
    is_seldom,
    rare_difference_interval,
    rare_difference_p,
    share_interval,
)
from bridge.statistics.skewness import skewness_p
from bridge.statistics.units import FEW_UNITS, LEAST_UNITS, effective_units, n_units

__all__ = [
    "ALPHA",
    "ENOUGH_DRAWS",
    "FEW_UNITS",
    "LEAST_UNITS",
    "SMALLEST_P",
    "Resampling",
    "acceleration",
    "bootstrap_interval",
    "difference_interval",
    "draw_family_p",
    "draw_rank_p",
    "draws_needed",
    "effective_units",
    "exact_number",
    "exact_p",
    "exact_sign_flip_p",
    "expanded_interval",
    "holm",
    "is_rare",
    "is_scarce",
    "is_seldom",
    "least_p",
    "max_statistic_p",
    "n_units",
    "paired_permutation_p",
    "rare_difference_interval",
    "rare_difference_p",
    "resampled_means",
    "share_interval",
    "skewness_p",
]
