"""Linear predictivity: the held-out share of the target's variance that a linear map of the source predicts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bridge.maps.normal_equations import factor
from bridge.similarity.pairs import PairProducts
from bridge.similarity.scorer import Options, Scorer
from bridge.similarity.states import LayerStates

N_FOLDS = 5


def linear_predictivity(X: Tensor, Y: Tensor, penalty: float = 0.01) -> float:
    """Share of the variance of Y that ridge regression from X explains on rows that it was not fitted on.

    1 - ||Y - Y_hat||^2 / ||Y - Y_mean||^2 over five folds, row i lying in fold i mod 5: Y_hat and the mean come from
    the other folds. The penalty is relative, as in `bridge.maps.Ridge`: a = penalty ||X||_F^2 / min(n, d). So it is
    *not* symmetric, below 1 by a little for equal states, and below 0 where the mean predicts better. The same under
    rotation, reflection, shift and isotropic scale of either side.

    Every prediction is a weighted sum of rows of Y, so that permuted rows need no new fit.

    Source: Yamins, Hong, Cadieu, Solomon, Seibert, DiCarlo (2014), doi:10.1073/pnas.1403112111, for the measure; Hoerl
        and Kennard (1970), doi:10.1080/00401706.1970.10488634, for the regression.

    Args:
        X: (n, d_source).
        Y: (n, d_target), row i from the same item as row i of X.
        penalty: above 0.

    Returns:
        A share, at most 1.

    Raises:
        FitError: fewer than four rows, unequal numbers of rows, rows that are all the same, or not finite.

    Example:
        >>> X = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
        >>> round(linear_predictivity(X, 2 * X[:, :2] - 3, penalty=1e-9), 6)
        1.0
    """
    return LinearPredictivity.of(X, Y, Options(penalty=penalty)).score()


class LinearPredictivity(Scorer):
    """`linear_predictivity`."""

    measures = ("linear_predictivity",)

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        identity = torch.eye(self.n, dtype=torch.float64, device=self.device)
        # ||(I - H) Y||^2 is the inner product of (I - H)^T (I - H) with Y Y^T; the last H is that of the means.
        left = [identity - self._weights(layer) for layer in source] + [identity - self._weights(None)]
        errors = [M.T @ M for M in left]
        kernels = [layer.gram / layer.gram.norm() for layer in target]
        self._products = PairProducts(errors, kernels)
        self._on, self._on_target = (torch.stack([K.diagonal() for K in side], 1) for side in (errors, kernels))

    def _weights(self, layer: LayerStates | None) -> Tensor:
        """H (n, n): the weight of each row of Y in the prediction of each other row, 0 within a fold."""
        place = torch.arange(self.n, device=self.device) % min(N_FOLDS, self.n // 2)
        H = torch.zeros(self.n, self.n, dtype=torch.float64, device=self.device)
        for fold in range(int(place.max()) + 1):
            held, fit = (place == fold).nonzero()[:, 0], (place != fold).nonzero()[:, 0]
            weights = H.new_zeros(len(held), len(fit)) if layer is None else self._of_fold(layer, held, fit)
            H[held[:, None], fit] = 1.0 / len(fit) + weights
        return H

    def _of_fold(self, layer: LayerStates, held: Tensor, fit: Tensor) -> Tensor:
        """K_hf (K_ff + a I)^{-1}, both kernels about the mean of the rows to fit on."""
        whole, across = layer.gram[fit][:, fit], layer.gram[held][:, fit]
        means = whole.mean(0)
        across = across - across.mean(1, keepdim=True) - means + means.mean()
        whole = whole - means - means[:, None] + means.mean()
        penalty = self.options.penalty * float(whole.trace()) / min(len(fit), layer.X.shape[1])
        L = factor(whole, penalty)
        assert L is not None
        return torch.cholesky_solve(across.T, L).T

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        errors = 2.0 * self._products(permutation) + self._on.T @ self._on_target[permutation]
        return (1.0 - errors[:-1] / errors[-1])[None]
