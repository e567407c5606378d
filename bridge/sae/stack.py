"""SAEs of one shape as one model: parameters are stacked, and gradients are written by hand."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bridge.sae.base import SAE
from bridge.sae.spec import SAESpec


class Stack:
    """s SAEs of one kind and shape, with an optimizer of their own each.

    Args:
        start: (s, m, d), decoders; rows are scaled to norm 1.
        specs: of the s SAEs, of one kind.
    """

    def __init__(self, start: Tensor, specs: Sequence[SAESpec], encoder_norm: float = 1.0) -> None:
        self.specs, self.kind = specs, specs[0].kind
        n, m, d = start.shape
        self.W_dec = start / start.norm(dim=2, keepdim=True)
        # (s, m, d) too, so that a feature's gradient is a row.
        self.W_enc = self.W_dec * encoder_norm
        self.b_enc, self.b_dec = start.new_zeros(n, m), start.new_zeros(n, d)
        self.thawed = [i for i, spec in enumerate(specs) if not spec.frozen_decoder]
        self.l1 = start.new_tensor([spec.l1 for spec in specs])[:, None, None]
        self.k = [spec.k for spec in specs]
        self.gradients = [torch.zeros_like(t) for t in self.parameters]
        # Slices share the memory of the stack, and Adam moves every slice on its own.
        groups = []
        for i, spec in enumerate(specs):
            first = 0 if i in self.thawed else 1
            slices = [torch.nn.Parameter(t[i]) for t in self.parameters[first:]]
            for parameter, gradient in zip(slices, self.gradients[first:], strict=True):
                parameter.grad = gradient[i]
            groups.append({"params": slices, "lr": spec.learning_rate})
        self.optimizer = torch.optim.Adam(groups, fused=True)

    @property
    def parameters(self) -> list[Tensor]:
        """The decoder first, which a frozen SAE does not train."""
        return [self.W_dec, self.W_enc, self.b_enc, self.b_dec]

    def step(self, X: Tensor, share: float) -> None:
        """One step on (s, rows, d), with a share of the learning rate."""
        centered = X - self.b_dec[:, None]
        pre = torch.baddbmm(self.b_enc[:, None], centered, self.W_enc.mT)
        error = self._dense(pre, centered) if self.kind == "relu_l1" else self._sparse(pre, centered)
        dW_dec, _, db_enc, db_dec = self.gradients
        # b_dec is added to the reconstruction, and subtracted from what is encoded.
        torch.sum(error, 1, out=db_dec)
        db_dec.sub_(torch.bmm(db_enc[:, None], self.W_enc)[:, 0])
        if self.thawed:
            # A change along a row would be undone by its norm.
            dW_dec.sub_(self.W_dec * (dW_dec * self.W_dec).sum(2, keepdim=True))
        for group, spec in zip(self.optimizer.param_groups, self.specs, strict=True):
            group["lr"] = spec.learning_rate * share
        self.optimizer.step()
        for i in self.thawed:
            self.W_dec[i].div_(self.W_dec[i].norm(dim=1, keepdim=True))

    def _dense(self, pre: Tensor, centered: Tensor) -> Tensor:
        """The derivative by the reconstruction; fills the gradients of all but b_dec."""
        dW_dec, dW_enc, db_enc, _ = self.gradients
        features, n_rows = pre.relu(), pre.shape[1]
        error = torch.bmm(features, self.W_dec).sub_(centered).mul_(2.0 / n_rows)
        torch.bmm(features.mT, error, out=dW_dec)
        back = torch.baddbmm(self.l1 / n_rows, error, self.W_dec.mT).mul_(pre > 0)
        torch.bmm(back.mT, centered, out=dW_enc)
        torch.sum(back, 1, out=db_enc)
        return error

    def _sparse(self, pre: Tensor, centered: Tensor) -> Tensor:
        """The same from the few features that are kept; all SAEs are one matrix of blocks on a diagonal."""
        dW_dec, dW_enc, db_enc, _ = self.gradients
        n, n_rows, m = pre.shape
        places = self.places(pre)
        values = pre.view(-1).index_select(0, places)
        rows, columns = places // m, places % m
        columns = columns + rows // n_rows * m
        W_dec, inputs = self.W_dec.view(n * m, -1), centered.view(n * n_rows, -1)
        firsts = torch.searchsorted(rows, torch.arange(n * n_rows))
        error = _weighted_sums(columns, W_dec, firsts, values).sub_(inputs).mul_(2.0 / n_rows)
        # index_select copies rows several times faster than indexing does.
        back = W_dec.index_select(0, columns).mul_(error.index_select(0, rows)).sum(1)
        # By feature, each with its rows.
        order = columns.argsort(stable=True)
        firsts, rows = torch.searchsorted(columns[order], torch.arange(n * m)), rows[order]
        for gradient, weights, vectors in ((dW_dec, values, error), (dW_enc, back, inputs)):
            gradient.copy_(_weighted_sums(rows, vectors, firsts, weights[order]).view_as(gradient))
        db_enc.zero_().view(-1).index_add_(0, columns, back)
        return error.view_as(centered)

    def places(self, pre: Tensor) -> Tensor:
        """Where in the flattened (s, rows, m) the pre-activations lie that a batch keeps, row by row."""
        if self.kind == "topk" and len(set(self.k)) == 1:
            top = pre.topk(self.k[0], dim=-1, sorted=False)
            firsts = torch.arange(0, pre.numel(), pre.shape[2]).view(*pre.shape[:2], 1)
            return (top.indices + firsts)[top.values > 0]
        least = torch.from_numpy(self._least(pre.numpy())).clamp_min_(torch.finfo(pre.dtype).tiny)
        # numpy finds them several times faster than torch does.
        return torch.from_numpy(np.flatnonzero((pre >= least).numpy()))

    def _least(self, pre: np.ndarray) -> np.ndarray:
        """(s, rows or 1, 1), the smallest that is kept; numpy finds it several times faster than torch."""
        found = []
        for one, k in zip(pre, self.k, strict=True):
            one = one if self.kind == "topk" else one.reshape(1, -1)
            place = one.shape[1] - k * (pre.shape[1] // len(one))
            found.append(np.partition(one, place, axis=1)[:, place, None])
        return np.stack(found)

    def sae(self, i: int) -> SAE:
        """The i-th, for states as it was trained on."""
        threshold = 0.0 if self.kind == "batch_topk" else None
        k = None if self.kind == "relu_l1" else self.k[i]
        return SAE(self.kind, self.W_enc[i].mT, self.b_enc[i], self.W_dec[i], self.b_dec[i], k, threshold)


def _weighted_sums(places: Tensor, vectors: Tensor, firsts: Tensor, weights: Tensor) -> Tensor:
    """For each bag of places, which starts where `firsts` says, the weighted sum of the vectors there."""
    return torch.nn.functional.embedding_bag(places, vectors, firsts, mode="sum", per_sample_weights=weights)
