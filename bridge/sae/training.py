"""Many SAEs trained at once: those of one shape run as one batched model."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.sae.base import SAE
from bridge.sae.spec import SAESpec
from bridge.sae.stack import Stack
from bridge.seeds import seeded

__all__ = ["SAESpec", "train_saes"]
# The share of the steps, at the end, over which the learning rate falls to 0.
DECAY = 0.2
# Rows that the threshold of batch_topk is read from at a time.
CHUNK = 4096
# Pre-activations of a stacked model in a step: with four times as many a step takes a third longer.
AT_ONCE = 2**19


def train_saes(X: Sequence[Tensor], specs: Sequence[SAESpec], starts: Sequence[Tensor] | None = None) -> list[SAE]:
    """One SAE for each spec, each as if it were trained alone, but for rounding.

    The objective is the squared error of a row, and for relu_l1 `l1` times the sum of its features beside it, on the
    average over a batch. Decoder rows keep the norm 1. b_dec starts at the mean of the states, W_enc at the transposed
    decoder, b_enc at 0. SAEs of one kind, width, number of features, steps and batch size are stacked, a few in one
    model, with gradients written by hand; seeds, k, l1, learning rate and frozen decoders may differ among them. Dead
    features are not revived: `measures.dead` tells how many there are.

    Sources: Gao (2024, arXiv 2406.04093) for TopK; Bussmann (2024, arXiv 2412.06410) for BatchTopK, except that the
    threshold is not an average over batches but the one at which all training rows have k features on the average;
    Bricken (2023, transformer-circuits.pub) for ReLU with an L1 penalty and unit decoder rows.

    Args:
        X: for each spec (n, d), the states it is trained on; the same tensor may stand there many times.
        specs: what to train.
        starts: for each spec (m, d), the decoder to start from in place of the seed's; rows are scaled to norm 1.

    Returns:
        SAEs in float32 in the order of the specs, for states as they were given.

    Raises:
        FitError: no states for a spec, states that are not finite or all the same, k above the number of features, or
            starts of another shape.

    Example:
        >>> X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> sae = train_saes([X], [SAESpec(k=2, n_steps=20, batch_size=32)])[0]
        >>> sae.n_features, (sae.encode(X) > 0).sum(1).max().item()
        (32, 2)
    """
    if len(X) != len(specs) or (starts is not None and len(starts) != len(specs)):
        n_starts = "no" if starts is None else len(starts)
        raise FitError(
            f"{len(X)} matrices of states and {n_starts} starts for {len(specs)} specs; wanted as many: give one of "
            "each for each spec"
        )
    places: dict[tuple[object, ...], list[int]] = {}
    for i, (x, spec) in enumerate(zip(X, specs, strict=True)):
        key = (x.shape[-1], spec.kind, spec.expansion, spec.n_steps, spec.batch_size)
        places.setdefault(key, []).append(i)
    made: dict[int, SAE] = {}
    for group in _parts(places.values(), X, specs):
        begun = None if starts is None else [starts[i] for i in group]
        made |= zip(group, train_group([X[i] for i in group], [specs[i] for i in group], begun), strict=True)
    return [made[i] for i in range(len(specs))]


def _parts(groups: Iterable[list[int]], X: Sequence[Tensor], specs: Sequence[SAESpec]) -> Iterator[list[int]]:
    """Groups of SAEs of one shape, cut into parts whose pre-activations stay in the processor's cache."""
    for group in groups:
        spec = specs[group[0]]
        size = max(1, AT_ONCE // (spec.batch_size * spec.expansion * X[group[0]].shape[-1]))
        yield from (group[at : at + size] for at in range(0, len(group), size))


@torch.no_grad()
def train_group(
    X: Sequence[Tensor],
    specs: Sequence[SAESpec],
    starts: Sequence[Tensor] | None = None,
    n_features: int | None = None,
    encoder_norm: float = 1.0,
) -> list[SAE]:
    """SAEs of one shape as one model; `n_features` in place of expansion * d."""
    m = n_features or specs[0].expansion * X[0].shape[-1]
    # Seeds of one site have the same states.
    scaled: dict[tuple[int, bool], Scaled] = {}
    for x, spec in zip(X, specs, strict=True):
        if (id(x), spec.normalize) not in scaled:
            scaled[id(x), spec.normalize] = Scaled(x, spec.normalize)
    states = [scaled[id(x), spec.normalize] for x, spec in zip(X, specs, strict=True)]
    if starts is None:
        starts = [_start(spec, m, X[0].shape[-1]) for spec in specs]
    for spec, start in zip(specs, starts, strict=True):
        if spec.kind != "relu_l1" and spec.k > m:
            raise FitError(f"k = {spec.k} for {m} features; wanted at most {m}: lower task.k")
        if start.shape != (m, X[0].shape[-1]):
            raise FitError(f"a start of {tuple(start.shape)}; wanted {(m, X[0].shape[-1])}: give a decoder of it")
    stack = Stack(torch.stack([s.to(torch.float32) for s in starts]), specs, encoder_norm)
    generators = [seeded(spec.seed, "sae batches") for spec in specs]
    n_steps, n_rows = specs[0].n_steps, specs[0].batch_size
    for step in range(n_steps):
        rows = [s.batch(n_rows, generator) for s, generator in zip(states, generators, strict=True)]
        stack.step(torch.stack(rows), min(1.0, (n_steps - step) / (DECAY * n_steps)))
    if not all(bool(parameter.isfinite().all()) for parameter in stack.parameters):
        raise FitError(
            f"training an SAE with learning_rate={specs[0].learning_rate:g} ended with weights that are not finite; "
            "wanted finite ones: lower task.learning_rate"
        )
    return [s.folded(stack.sae(i)) for i, s in enumerate(states)]


def _start(spec: SAESpec, m: int, d: int) -> Tensor:
    seed = spec.seed if spec.start_seed is None else spec.start_seed
    return torch.randn(m, d, generator=seeded(seed, "sae start"))


class Scaled:
    """States as they are trained on: without their mean and, with `normalize`, of a mean norm of sqrt(d)."""

    def __init__(self, X: Tensor, normalize: bool) -> None:
        if X.ndim != 2 or not len(X):
            raise FitError(f"states of {tuple(X.shape)}; wanted (n, d) with some rows: give a matrix of states")
        self.X = X
        self.mean = X.double().mean(0)
        norm = sum(float((part.double() - self.mean).norm(dim=1).sum()) for part in X.split(CHUNK)) / len(X)
        if not 0.0 < norm < torch.inf:
            raise FitError(
                f"states whose mean norm about their mean is {norm}; wanted finite ones that differ: check them"
            )
        self.scale = X.shape[1] ** 0.5 / norm if normalize else 1.0

    def batch(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """(n_rows, d), rows drawn with replacement."""
        return self.scaled(self.X.index_select(0, torch.randint(len(self.X), (n_rows,), generator=generator)))

    def scaled(self, X: Tensor) -> Tensor:
        """Rows as they are trained on, in float32."""
        return (X.to(torch.promote_types(X.dtype, torch.float32)) - self.mean.to(X.dtype)).float() * self.scale

    def unscaled(self, X: Tensor) -> Tensor:
        """Back to states as they are, in float32."""
        return (X.double() / self.scale + self.mean).float()

    def folded(self, sae: SAE) -> SAE:
        """The SAE for states as they are; a batch_topk's threshold is read from all rows."""
        threshold = None
        if sae.kind == "batch_topk":
            assert sae.k is not None
            threshold = self._threshold(sae, sae.k) / self.scale
        return SAE(
            sae.kind,
            sae.W_enc.clone(),
            sae.b_enc / self.scale,
            sae.W_dec.clone(),
            (self.mean + sae.b_dec.double() / self.scale).float(),
            k=sae.k,
            # Rounded to float32, as files hold it.
            threshold=None if threshold is None else float(np.float32(threshold)),
        )

    def _threshold(self, sae: SAE, k: int) -> float:
        """Above which there are k pre-activations a row, on the average; 0 where fewer are positive."""
        tops = []
        for part in self.X.split(CHUNK):
            pre = sae.pre_activations(self.scaled(part)).numpy().reshape(-1)
            # No chunk is taken to hold more than 8 k a row.
            most = min(8 * k * len(part), len(pre))
            tops.append(np.partition(pre, -most)[-most:])
        every, n_kept = np.concatenate(tops), k * len(self.X)
        if n_kept >= len(every):
            return 0.0
        lowest, next_lower = np.partition(every, (-n_kept, -n_kept - 1))[[-n_kept, -n_kept - 1]]
        # Half way to the next value, so that rounding does not move what is kept.
        return max(0.0, float(lowest + next_lower) / 2.0)
