"""One sparse autoencoder, whoever trained it."""

import torch
from torch import Tensor, nn

from bridge.errors import DataError, FitError

# The last is only read from files: JumpReLU with a threshold for each feature (Rajamanoharan 2024, arXiv 2407.14435).
KINDS = ("topk", "batch_topk", "relu_l1", "jumprelu")


class SAE(nn.Module):
    """features = activate(x @ W_enc + b_enc), reconstruction = features @ W_dec + b_dec; features are never negative.

    Of row vectors. What `activate` does depends on the kind:

    - topk: keeps the k largest of each row that are positive (Gao 2024, arXiv 2406.04093).
    - batch_topk: keeps what is positive and above `threshold`, the same for all rows and features, so that a row's
      features do not depend on the other rows (Bussmann 2024, arXiv 2412.06410). In training it keeps the k largest
      a row, on the average over the batch.
    - relu_l1: keeps what is positive.
    - jumprelu: keeps what is positive and above its feature's threshold.

    Args:
        kind: one of the above.
        W_enc: (d, m).
        b_enc: (m,).
        W_dec: (m, d).
        b_dec: (d,).
        k: of topk; for batch_topk the average that it was trained for, or None where a file does not tell.
        threshold: of batch_topk.
        thresholds: (m,), of jumprelu.
        apply_b_dec_to_input: whether b_dec is subtracted from x first.

    Raises:
        DataError: tensors that do not fit one another, or a kind without what it needs or with what it does not use.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    thresholds: Tensor | None

    def __init__(
        self,
        kind: str,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        k: int | None = None,
        threshold: float | None = None,
        thresholds: Tensor | None = None,
        apply_b_dec_to_input: bool = True,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise DataError(f"an SAE of the kind {kind!r}; wanted one of {', '.join(KINDS)}: change it")
        shapes = [tuple(t.shape) for t in (W_enc, b_enc, W_dec, b_dec)]
        d, m = len(b_dec), len(b_enc)
        if shapes != [(d, m), (m,), (m, d), (d,)]:
            raise DataError(
                f"an SAE with W_enc, b_enc, W_dec, b_dec of {', '.join(map(str, shapes))}; wanted (d, m), (m,), "
                "(m, d), (d,): check whether a matrix is transposed"
            )
        if thresholds is not None and thresholds.shape != (m,):
            raise DataError(f"thresholds of {tuple(thresholds.shape)}; wanted ({m},): give one for each feature")
        needed = {"topk": ("k", k), "batch_topk": ("threshold", threshold), "jumprelu": ("thresholds", thresholds)}
        if kind in needed and needed[kind][1] is None:
            raise DataError(f"an SAE of the kind {kind} without {needed[kind][0]}; wanted it: give it")
        used = {"k": ("topk", "batch_topk"), "threshold": ("batch_topk",), "thresholds": ("jumprelu",)}
        for name, given in (("k", k), ("threshold", threshold), ("thresholds", thresholds)):
            if given is not None and kind not in used[name]:
                raise DataError(
                    f"an SAE of the kind {kind} with {name}; wanted {' or '.join(used[name])} with it: drop it"
                )
        if k is not None and not 1 <= k <= m:
            raise DataError(f"an SAE of {m} features with k = {k}; wanted 1..{m}: change k")
        self.kind, self.k, self.threshold, self.apply_b_dec_to_input = kind, k, threshold, apply_b_dec_to_input
        tensors = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "thresholds": thresholds}
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    @property
    def width(self) -> int:
        """Dimensions d of the states."""
        return self.W_dec.shape[1]

    @property
    def n_features(self) -> int:
        """Features m."""
        return self.W_dec.shape[0]

    def pre_activations(self, X: Tensor) -> Tensor:
        """(..., d) -> (..., m), before `activate`.

        Raises:
            FitError: states of another width.
        """
        if X.shape[-1] != self.width:
            raise FitError(
                f"states of width {X.shape[-1]}; wanted {self.width} for this SAE: give those of its own model"
            )
        X = X.to(self.W_enc.dtype)
        return (X - self.b_dec if self.apply_b_dec_to_input else X) @ self.W_enc + self.b_enc

    def encode(self, X: Tensor) -> Tensor:
        """(..., d) -> (..., m), the features, in the dtype of the weights."""
        return self.activate(self.pre_activations(X))

    def activate(self, pre: Tensor) -> Tensor:
        """(..., m) -> (..., m), what the kind keeps of the pre-activations."""
        features = pre.relu()
        if self.kind == "topk":
            assert self.k is not None
            top = features.topk(self.k, dim=-1, sorted=False)
            return torch.zeros_like(features).scatter_(-1, top.indices, top.values)
        if self.kind == "relu_l1":
            return features
        if self.thresholds is not None:
            return features * (pre > self.thresholds)
        assert self.threshold is not None
        return features * (pre > self.threshold)

    def decode(self, features: Tensor) -> Tensor:
        """(..., m) -> (..., d)."""
        return features @ self.W_dec + self.b_dec

    def forward(self, X: Tensor) -> Tensor:
        """(..., d) -> (..., d), the reconstruction."""
        return self.decode(self.encode(X))
