"""Whether stored states are what the model computes for their texts, alone and behind padding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bridge.activations.extract import extract, watching
from bridge.models.loading import LoadedModel
from bridge.models.replay import overwriting

Tokens = tuple[int, ...]


class Checker:
    """Compares stored states with those of single texts, each computed in a pass of its own.

    The states of each text are cached, so checking another layer of the same texts costs one pass each.

    Args:
        lm: the model that the states should be from.
    """

    def __init__(self, lm: LoadedModel) -> None:
        self.lm = lm
        self._alone: dict[Tokens, tuple[Tensor, Tensor]] = {}
        self._means: dict[Tokens, dict[float, Tensor]] = {}
        self._padded: dict[tuple[Tokens, ...], dict[float, Tensor]] = {}

    def replay_error(self, texts: Sequence[Tokens], states: Tensor, layer: int) -> float:
        """Largest difference between the model's own logits and those that it gives with a stored state in its stream.

        Args:
            texts: b texts as tokens, up to the position of their state.
            states: (b, d) stored states, in the order of the texts.
            layer: the layer that they should be from.

        Returns:
            Relative to the largest logit of each text; rounding alone (1e-4 in float32) where all states are right.
        """
        errors = []
        for text, state in zip(texts, states, strict=True):
            with torch.inference_mode(), overwriting(self.lm.anatomy, state[None].to(self.lm.device), layer):
                logits = self._logits(text)
            own = self._of(text)[1]
            errors.append(float((logits - own).abs().max() / own.abs().max().clamp_min(1e-30)))
        return max(errors)

    def drift(self, texts: Sequence[Tokens], states: Tensor, layer: int, position: str = "last") -> float:
        """Largest relative difference between stored states and those of each text read alone.

        Args:
            texts: b texts as tokens.
            states: (b, d) stored states, in the order of the texts.
            layer: the layer that they should be from.
            position: "last", or "mean" over the tokens of each text.

        Returns:
            ||stored - alone|| / ||alone||; 0 where batches change nothing.
        """
        if position == "mean":
            alone = torch.stack([self._mean(text)[layer] for text in texts])
        else:
            alone = torch.stack([self._of(text)[0][layer] for text in texts])
        return _relative(states, alone)

    def padding_drift(self, texts: Sequence[Tokens], layer: int) -> float:
        """Largest relative difference between the last states of texts read alone and padded to one length.

        Args:
            texts: b texts as tokens.
            layer: which layer.
        """
        key = tuple(texts)
        if key not in self._padded:
            layers = range(self.lm.anatomy.n_blocks + 1)
            self._padded[key] = extract(self.lm, list(texts), layers, batch_size=len(texts), padding="left")
        alone = torch.stack([self._of(text)[0][layer] for text in texts])
        return _relative(self._padded[key][layer], alone)

    def _of(self, text: Tokens) -> tuple[Tensor, Tensor]:
        """States (N+1, d) at the last position and logits (V,) of one text."""
        if text not in self._alone:
            n = self.lm.anatomy.n_blocks
            states: dict[float, Tensor] = {}
            with torch.inference_mode(), watching(self.lm, range(n + 1), lambda at, s: states.update({at: s[0, -1]})):
                logits = self._logits(text)
            self._alone[text] = torch.stack([states[layer].to("cpu") for layer in range(n + 1)]), logits
        return self._alone[text]

    def _mean(self, text: Tokens) -> dict[float, Tensor]:
        if text not in self._means:
            layers = range(self.lm.anatomy.n_blocks + 1)
            means = extract(self.lm, [text], layers, position="mean")
            self._means[text] = {layer: states[0] for layer, states in means.items()}
        return self._means[text]

    def _logits(self, text: Tokens) -> Tensor:
        ids = torch.tensor([text], device=self.lm.device)
        return self.lm.model(input_ids=ids, use_cache=False).logits[0, -1].float().cpu()


def content_hash(tensors: Iterable[Tensor]) -> str:
    """A hash of the values of tensors, in hex digits."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:32]


def _relative(states: Tensor, wanted: Tensor) -> float:
    """Largest distance between a row and its reference row, relative to the reference's norm."""
    wanted = wanted.double()
    distance = (states.cpu().double() - wanted).norm(dim=1)
    return float((distance / wanted.norm(dim=1).clamp_min(1e-30)).max())
