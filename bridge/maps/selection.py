"""Selection among several maps by cross-validation on the fit rows."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.checks import checked_groups
from bridge.normalize import finite_states


@dataclass(frozen=True)
class Row:
    """The cross-validated error of one map.

    Attributes:
        name: the map's name among those compared.
        relative_error: ||Y_hat - Y|| / ||Y - mean||, pooled over all held-out rows.
        explained_variance: 1 - relative_error^2.
        standard_error: of the explained variance, from its spread over the folds.
        n_parameters: free parameters of the map, of a fit on all rows.
        rank: directions that a fit on all rows determined.
        chosen: the simplest map (fewest parameters) within one standard error of the best.
    """

    name: str
    relative_error: float
    explained_variance: float
    standard_error: float
    n_parameters: int
    rank: int
    chosen: bool


class Selection(list[Row]):
    """Rows, best first."""

    @property
    def chosen(self) -> str:
        """Name of the simplest map within one standard error of the best."""
        return next(row.name for row in self if row.chosen)

    def table(self) -> str:
        """Return the rows as text, the chosen one marked."""
        width = max(len("map"), *(len(row.name) for row in self))
        lines = [f"  {'map':{width}s} {'error':>8s} {'explained':>10s} {'+-':>8s} {'parameters':>11s} {'rank':>5s}"]
        for r in self:
            numbers = f"{r.relative_error:8.4f} {r.explained_variance:10.4f} {r.standard_error:8.4f}"
            lines.append(f"{'*' if r.chosen else ' '} {r.name:{width}s} {numbers} {r.n_parameters:11d} {r.rank:5d}")
        return "\n".join(lines)


def select(
    maps: Mapping[str, Map],
    X: Tensor,
    Y: Tensor,
    groups: Tensor | None = None,
    n_folds: int = 5,
    seed: int = 0,
    center: bool = True,
) -> Selection:
    """Compare maps by grouped cross-validation.

    In each fold the maps are fitted on the rows outside it, less their means, and predict the rows in it. The
    choice follows the rule of one standard error: of the maps whose explained variance is within one standard
    error, that of the best map's, of the best, the one with the fewest parameters.

    Source: Breiman, Friedman, Olshen and Stone (1984), "Classification and regression trees", section 3.4.3
    (the rule), doi:10.1201/9781315139470.

    Args:
        maps: unfitted maps by name; copies are fitted.
        X: (n, d_source) source states to fit on; never those that a score is reported for.
        Y: (n, d_target) target states of the same items.
        groups: (n,) integer label of each row; rows of one label are held out together, here and by maps with
            validation rows of their own. None: each row has a label of its own.
        n_folds: from 2 to the number of groups.
        seed: deals the groups out to the folds.
        center: subtract the means of the fit rows; without it a map has to express them itself.

    Returns:
        A list of rows, least relative error first.

    Raises:
        FitError: nothing to compare, labels or folds that do not fit the rows, or states that a map refuses.

    Example:
        >>> from bridge.maps import IdentityMap, Linear
        >>> X = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
        >>> table = select({"identity": IdentityMap(), "linear": Linear()}, X, X.flip(1) * 2)
        >>> [row.name for row in table], table.chosen
        (['linear', 'identity'], 'linear')
    """
    if not maps:
        raise FitError("got no maps to select from; wanted at least one: name some")
    X, Y = finite_states(X, "X"), finite_states(Y, "Y")
    groups = checked_groups(groups, len(X))
    folds = _folds(len(X), groups, n_folds, seed).to(X.device)
    errors = {name: torch.zeros(n_folds, dtype=torch.float64) for name in maps}
    totals = torch.zeros(n_folds, dtype=torch.float64)
    for fold in range(n_folds):
        held = folds == fold
        mean_x, mean_y = X[~held].mean(0), Y[~held].mean(0)
        totals[fold] = (Y[held] - mean_y).square().sum()
        if not center:
            mean_x, mean_y = torch.zeros_like(mean_x), torch.zeros_like(mean_y)
        for name, map_ in maps.items():
            labels = None if groups is None else groups[~held.cpu()]
            fitted = copy.deepcopy(map_).fit(X[~held] - mean_x, Y[~held] - mean_y, labels)
            errors[name][fold] = (fitted.transform(X[held] - mean_x) + mean_y - Y[held]).square().sum()
    if not float(totals.sum()) > 0:
        raise FitError("every held-out row of Y is the mean; wanted rows that differ: fit on more items")
    scored = {name: 1.0 - float(errors[name].sum() / totals.sum()) for name in maps}
    spread = {name: _standard_error(errors[name], totals) for name in maps}
    ranked = sorted(maps, key=lambda name: -scored[name])
    X, Y = (X - X.mean(0), Y - Y.mean(0)) if center else (X, Y)
    whole = {name: copy.deepcopy(maps[name]).fit(X, Y, groups) for name in maps}
    floor = scored[ranked[0]] - spread[ranked[0]]
    # ties in the number of parameters go to the better one
    chosen = min((name for name in ranked if scored[name] >= floor), key=lambda name: whole[name].n_parameters_)
    return Selection(
        Row(
            name,
            max(1.0 - scored[name], 0.0) ** 0.5,
            scored[name],
            spread[name],
            whole[name].n_parameters_,
            whole[name].rank_,
            name == chosen,
        )
        for name in ranked
    )


def _standard_error(errors: Tensor, totals: Tensor) -> float:
    """Standard error of a ratio of sums over folds, by the jackknife: leaving out one fold at a time."""
    ratios = (errors.sum() - errors) / (totals.sum() - totals)
    n = len(errors)
    return float(((n - 1) / n * (ratios - ratios.mean()).square().sum()).sqrt())


def _folds(n: int, groups: Tensor | None, n_folds: int, seed: int) -> Tensor:
    """Deal groups out to folds, the largest first and each to the fold with the fewest rows."""
    labels = torch.arange(n) if groups is None else groups
    _, members, sizes = labels.unique(return_inverse=True, return_counts=True)
    if not 2 <= n_folds <= len(sizes):
        raise FitError(
            f"n_folds is {n_folds} and there are {len(sizes)} groups; wanted 2 to as many folds as groups: "
            "choose fewer folds or fit on more items"
        )
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
    order = order[sizes[order].argsort(descending=True, stable=True)]
    filled, fold_of = [0] * n_folds, torch.empty(len(sizes), dtype=torch.long)
    for group in order.tolist():
        least = filled.index(min(filled))
        fold_of[group] = least
        filled[least] += int(sizes[group])
    return fold_of[members]
