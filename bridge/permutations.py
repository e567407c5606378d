"""Stratified permutation: rows move only among the rows of their own label.

Source: Winkler, Webster, Vidaurre, Nichols and Smith (2015), "Multi-level block permutation", NeuroImage 123,
doi:10.1016/j.neuroimage.2015.05.092, for permutation within blocks of exchangeable rows.
"""

import torch
from torch import Tensor


def stratified(permutations: Tensor, labels: Tensor) -> Tensor:
    """Turn permutations of all rows into permutations within labels.

    The rows of one label come in the order in which `permutations` has them, so uniform draws stay uniform.

    Args:
        permutations: (p, n) long, each row a permutation of 0..n-1.
        labels: (n,) integer label of each row, such as its relation.

    Returns:
        (p, n) long; labels[result[i]] equals labels for every i.

    Example:
        >>> stratified(torch.tensor([[3, 1, 0, 2]]), torch.tensor([0, 0, 1, 1])).tolist()
        [[1, 0, 3, 2]]
    """
    places = labels.argsort(stable=True)
    by_label = permutations.gather(1, labels[permutations].argsort(dim=1, stable=True))
    result = torch.empty_like(permutations)
    result[:, places] = by_label
    return result
