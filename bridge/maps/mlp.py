"""A small network between two models' states: a map that need not be linear."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.descent import Copies, descend
from bridge.maps.ridge import Ridge
from bridge.maps.schedule import Schedule

# the most weights of copies that are trained together
CHUNK_WEIGHTS = 2**24


class Stitch(nn.Module):
    """y = scale_y * (x W + b + network(x)), where x comes in at scale 1 and the network starts at zero."""

    def __init__(self, d_source: int, d_target: int, depth: int, width: int) -> None:
        super().__init__()
        self.skip = nn.Linear(d_source, d_target)
        self.hidden = nn.ModuleList(nn.Linear(width if i else d_source, width) for i in range(depth))
        self.out = nn.Linear(width, d_target)
        self.scale_source: Tensor
        self.scale_target: Tensor
        self.register_buffer("scale_source", torch.ones(()))
        self.register_buffer("scale_target", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., d_source) to (..., d_target)."""
        x = h = x / self.scale_source
        for layer in self.hidden:
            h = nn.functional.gelu(layer(h))
        mapped: Tensor = self.scale_target * (self.skip(x) + self.out(h))
        return mapped


class MLP(Map):
    """A stitch of `depth` hidden layers beside a linear path, fitted by gradient descent.

    Minimises the mean squared error of the states. The linear path starts as ridge regression and the network at
    zero, so that the network learns what a linear map leaves over. A share of the fit rows, in whole groups, are
    validation rows; they decide the step whose weights are kept. All arithmetic is in float64.

    Source: Bansal, Nakkiran, Barak (2021), "Revisiting model stitching to compare neural representations",
    arXiv:2106.07682, where the stitch is linear; a network in its place is the usual next step.

    Args:
        depth: hidden layers, at least 1.
        width: units of a hidden layer.
        penalty: of the ridge regression that the linear path starts as.
        n_steps, lr, batch_size, weight_decay, inner_fraction, check_every, patience: as in `Schedule`.
        seed: of the first weights, of the validation rows, and of the order of the others.

    Attributes:
        best_step_: the step whose weights were kept; 0 keeps the ridge regression.

    Raises:
        FitError: a depth or width below 1, or a loss that is not finite (`fit`).

    Example:
        >>> x = torch.linspace(-2, 2, 400, dtype=torch.float64).unsqueeze(1)
        >>> y = torch.sin(2 * x)
        >>> fitted = MLP(width=32, lr=1e-2, weight_decay=0.0, n_steps=400).fit(x, y)
        >>> bool((fitted.transform(x) - y).square().mean() < 0.1 * (Ridge().fit(x, y).transform(x) - y).square().mean())
        True
    """

    trainable: ClassVar[bool] = True

    def __init__(
        self,
        depth: int = 1,
        width: int = 256,
        penalty: float = 1.0,
        n_steps: int = 200,
        lr: float = 1e-3,
        batch_size: int = 128,
        weight_decay: float = 1.0,
        inner_fraction: float = 0.15,
        check_every: int = 10,
        patience: int = 5,
        seed: int = 0,
    ) -> None:
        self.depth = depth
        self.width = width
        self.penalty = penalty
        self.n_steps = n_steps
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.inner_fraction = inner_fraction
        self.check_every = check_every
        self.patience = patience
        self.seed = seed

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        (self._net,) = self._trained(X, Y, torch.arange(len(X))[None])
        self.rank_ = min(X.shape)
        self.solver_ = "adamw"

    def _transform(self, X: Tensor) -> Tensor:
        mapped: Tensor = self._net(X)
        return mapped

    def _n_parameters(self) -> int:
        return sum(p.numel() for p in self._net.parameters())

    def _module(self) -> nn.Module:
        return copy.deepcopy(self._net).float().requires_grad_(True)

    def _absorb(self, module: nn.Module) -> None:
        self._net = copy.deepcopy(module).double().requires_grad_(False)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        _, facts = super()._state()
        return dict(self._net.state_dict()), facts

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        super()._restore({}, facts)
        net = Stitch(self.width_source_, self.width_target_, self.depth, self.width).double()
        net.load_state_dict(tensors)
        self._net = net

    def _transform_permuted(self, X: Tensor, Y: Tensor, permutations: Tensor, X_new: Tensor) -> Tensor:
        n_weights = sum(p.numel() for p in self._new(X, Y).parameters())
        chunks = permutations.split(max(1, CHUNK_WEIGHTS // n_weights))
        return torch.stack([net(X_new) for chunk in chunks for net in self._trained(X, Y, chunk)])

    def _trained(self, X: Tensor, Y: Tensor, orders: Tensor) -> Sequence[nn.Module]:
        """One network for each order (p, n) of Y's rows."""
        if self.depth < 1 or self.width < 1:
            raise FitError(
                f"got depth={self.depth} and width={self.width} of an mlp; wanted at least 1 of each: change "
                "map.depth or map.width"
            )
        schedule = Schedule.of(self).checked()
        train, held = (part.to(X.device) for part in schedule.inner_split(len(X), self.seed, self._groups))
        orders = orders.to(X.device)
        nets = [self._started(X[train], Y[order[train]]) for order in orders]

        def error(copies: Copies, rows: Tensor) -> Tensor:
            residual = copies(X[rows].expand(len(copies), -1, -1)) - Y[orders[copies.active][:, rows]]
            return residual.square().mean((1, 2))

        generator = torch.Generator().manual_seed(self.seed)
        descent = descend(Copies(nets), error, train, held, schedule, generator, f"fit {len(orders)} mlp")
        self.best_step_ = descent.best_step[0]
        return [net.requires_grad_(False) for net in nets]

    def _started(self, X: Tensor, Y: Tensor) -> Stitch:
        net = self._new(X, Y)
        with torch.no_grad():
            net.scale_source.copy_(_size(X))
            net.scale_target.copy_(_size(Y))
            start = Ridge(self.penalty).fit(X, Y).matrix() * (net.scale_source / net.scale_target)
            net.skip.weight.copy_(start.T)
        return net

    def _new(self, X: Tensor, Y: Tensor) -> Stitch:
        net = Stitch(X.shape[1], Y.shape[1], self.depth, self.width).to(device=X.device, dtype=torch.float64)
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_()
            for layer in net.hidden:
                weight = layer.get_parameter("weight")
                drawn = torch.randn(weight.shape, dtype=torch.float64, generator=generator)
                weight.copy_(drawn * weight.shape[1] ** -0.5)
        return net


def _size(states: Tensor) -> Tensor:
    """Root mean square of the entries, or 1 where all are zero."""
    size = states.square().mean().sqrt()
    return torch.where(size > 0, size, 1.0)
