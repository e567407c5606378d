"""The loss that a model was trained with, text by text."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bridge.errors import ModelError
from bridge.models.loading import LoadedModel


@torch.inference_mode()
def string_losses(lm: LoadedModel, ids: Tensor) -> Tensor:
    """Mean loss over the tokens of each text.

    A causal language model is asked for each next token; a reader of Dyck-3 strings for bracket, depth and validity,
    whose losses are added.

    Args:
        lm: the model.
        ids: (b, t) token ids, unpadded; t >= 2.

    Returns:
        (b,) float64 on the CPU, in nats a token.

    Raises:
        ModelError: a kind of models without a loss.
    """
    if lm.kind.has_head:
        logits = lm.model(input_ids=ids, **lm.kind.options).logits[:, :-1].float()
        own = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return -own.double().mean(1).cpu()
    if lm.kind.name == "dyck":
        return _dyck(lm, ids)
    raise ModelError(
        f"{lm.name} is {lm.kind.called}, which has no loss; wanted a causal language model or a reader of Dyck-3 "
        "strings: choose another pair"
    )


def has_loss(lm: LoadedModel) -> bool:
    """Whether `string_losses` knows the loss of this kind of model."""
    return lm.kind.has_head or lm.kind.name == "dyck"


def _dyck(lm: LoadedModel, ids: Tensor) -> Tensor:
    from bridge.data.dyck import NO_LABEL

    bracket, depth, validity = (part.to(ids.device) for part in _labels(tuple(map(tuple, ids.tolist()))))
    output = lm.model(input_ids=ids)
    # Of two classes, the first has the logit 0.
    validity_logits = torch.stack([torch.zeros_like(output.validity), output.validity], -1)
    total = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    for logits, labels in ((output.bracket, bracket), (output.depth, depth), (validity_logits, validity)):
        there = labels != NO_LABEL
        own = logits.double().log_softmax(-1).gather(-1, labels.clamp_min(0)[..., None])[..., 0]
        total -= (own * there).sum(1) / there.sum(1).clamp_min(1)
    return total.cpu()


@lru_cache(256)
def _labels(rows: tuple[tuple[int, ...], ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Bracket, depth and validity of Dyck-3 strings of one length; the same batch is asked for again and again."""
    from bridge.data.dyck import Strings, label

    ids = np.array(rows, dtype=np.int64)
    known = label(Strings(ids, np.full(len(ids), ids.shape[1])))
    bracket, depth, validity = (torch.from_numpy(part) for part in (known.bracket, known.depth, known.validity))
    return bracket, depth, validity
