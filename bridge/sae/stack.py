"""SAEs of one shape as one model: parameters are stacked, and gradients are written by hand."""

from collections.abc import Sequence

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

    def __init__(self, start: Tensor, specs: Sequence[SAESpec]) -> None:
        self.specs, self.kind = specs, specs[0].kind
        n, m, d = start.shape
        self.W_dec = start / start.norm(dim=2, keepdim=True)
        self.W_enc = self.W_dec.mT.contiguous()
        self.b_enc, self.b_dec = start.new_zeros(n, 1, m), start.new_zeros(n, 1, d)
        self.thawed = [i for i, spec in enumerate(specs) if not spec.frozen_decoder]
        self.l1 = start.new_tensor([spec.l1 if spec.kind == "relu_l1" else 0.0 for spec in specs])[:, None, None]
        self.k = [spec.k for spec in specs]
        self.gradients = [torch.zeros_like(t) for t in self.parameters]
        # Slices share the memory of the stack, and Adam moves every slice on its own.
        groups = []
        for i, spec in enumerate(specs):
            parameters = self.parameters if i in self.thawed else self.parameters[1:]
            slices = [torch.nn.Parameter(t[i]) for t in parameters]
            for parameter, gradient in zip(slices, self.gradients[-len(slices) :], strict=True):
                parameter.grad = gradient[i]
            groups.append({"params": slices, "lr": spec.learning_rate})
        self.optimizer = torch.optim.Adam(groups, fused=True)

    @property
    def parameters(self) -> list[Tensor]:
        """The decoder first, which a frozen SAE does not train."""
        return [self.W_dec, self.W_enc, self.b_enc, self.b_dec]

    def kept(self, pre: Tensor) -> Tensor:
        """(s, rows, m), which pre-activations a batch keeps."""
        positive = pre > 0
        if self.kind == "topk":
            top = pre.topk(max(self.k), dim=2)
            if min(self.k) < max(self.k):
                counts = torch.tensor(self.k)[:, None, None]
                top.values.masked_fill_(torch.arange(max(self.k)) >= counts, -1.0)
            return torch.zeros_like(positive).scatter_(2, top.indices, top.values > 0)
        if self.kind == "batch_topk":
            n_rows = pre.shape[1]
            flat = pre.flatten(1)
            least = [row.kthvalue(len(row) - k * n_rows + 1).values for row, k in zip(flat, self.k, strict=True)]
            return positive & (pre >= torch.stack(least)[:, None, None])
        return positive

    def step(self, X: Tensor, share: float) -> None:
        """One step on (s, rows, d), with a share of the learning rate."""
        dW_dec, dW_enc, db_enc, db_dec = self.gradients
        centered = X - self.b_dec
        pre = torch.baddbmm(self.b_enc, centered, self.W_enc)
        kept = self.kept(pre)
        features = pre * kept
        # The error's derivative of the mean over rows of its square.
        error = torch.bmm(features, self.W_dec).sub_(centered).mul_(2.0 / X.shape[1])
        torch.bmm(features.mT, error, out=dW_dec)
        back = torch.bmm(error, self.W_dec.mT).add_(self.l1 / X.shape[1]).mul_(kept)
        torch.bmm(centered.mT, back, out=dW_enc)
        torch.sum(back, 1, keepdim=True, out=db_enc)
        # b_dec is added to the reconstruction, and subtracted from what is encoded.
        torch.sum(error, 1, keepdim=True, out=db_dec)
        db_dec.sub_(torch.bmm(db_enc, self.W_enc.mT))
        if self.thawed:
            # A change along a row would be undone by its norm.
            dW_dec.sub_(self.W_dec * (dW_dec * self.W_dec).sum(2, keepdim=True))
        for group, spec in zip(self.optimizer.param_groups, self.specs, strict=True):
            group["lr"] = spec.learning_rate * share
        self.optimizer.step()
        for i in self.thawed:
            self.W_dec[i].div_(self.W_dec[i].norm(dim=1, keepdim=True))

    def sae(self, i: int) -> SAE:
        """The i-th, for states as it was trained on."""
        threshold = 0.0 if self.kind == "batch_topk" else None
        k = None if self.kind == "relu_l1" else self.k[i]
        return SAE(self.kind, self.W_enc[i], self.b_enc[i, 0], self.W_dec[i], self.b_dec[i, 0], k, threshold)
