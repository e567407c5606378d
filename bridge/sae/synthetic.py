"""States with a known dictionary, more directions than dimensions: what an SAE has to find."""

from typing import NamedTuple

import torch
from torch import Tensor


class Superposed(NamedTuple):
    """States with the dictionary that they are made of.

    Attributes:
        X: (n, d), codes @ dictionary.
        dictionary: (n_true, d), rows of norm 1 in random directions.
        codes: (n, n_true), never negative, most of them 0; (0, n_true) where they are not kept.
        probability: (n_true,), how often each feature fires, largest first.
    """

    X: Tensor
    dictionary: Tensor
    codes: Tensor
    probability: Tensor


def superposed(
    n: int,
    d: int,
    n_true: int,
    k: float,
    generator: torch.Generator,
    decades: float = 0.0,
    spread: float = 0.25,
    keep_codes: bool = True,
) -> Superposed:
    """Sparse sums of more random directions than there are dimensions.

    Features fire independently of one another. Their probabilities are evenly spaced on a log scale over `decades`
    powers of ten, and sum to k. Magnitudes are log-normal. With 0 decades all features are alike; with several, a few
    features make up most of the variance and most features are rare (in the spirit of Korznikov 2026,
    arXiv 2602.14111).

    Args:
        n: rows.
        d: dimensions.
        n_true: features.
        k: features that fire in a row, on the average.
        generator: draws everything, the dictionary first, so that the same seed with another n has the same dictionary.
        decades: log10 of the largest over the smallest probability.
        spread: standard deviation of the logarithm of a magnitude.
        keep_codes: whether the codes are returned, which take n_true / d times as much memory as the states.

    Raises:
        ValueError: a feature would fire with a probability above 1.
    """
    dictionary = torch.nn.functional.normalize(torch.randn(n_true, d, generator=generator), dim=1)
    probability = 10.0 ** torch.linspace(0.0, -decades, n_true)
    probability = probability * (k / probability.sum())
    if probability[0] > 1:
        raise ValueError(f"the most frequent feature fires with probability {probability[0]:.3g}; lower k or decades")
    X, codes = torch.empty(n, d), torch.empty(n if keep_codes else 0, n_true)
    for rows in torch.arange(n).split(4096):
        fires = torch.rand(len(rows), n_true, generator=generator) < probability
        drawn = fires * torch.exp(spread * torch.randn(len(rows), n_true, generator=generator))
        X[rows] = drawn @ dictionary
        if keep_codes:
            codes[rows] = drawn
    return Superposed(X, dictionary, codes, probability)
