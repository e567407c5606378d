"""Texts as one vector each: the states of an embedder's last layer, pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from bridge.errors import ConfigError, DataError
from bridge.models.encoding import Text, shown
from bridge.models.loading import LoadedModel

# (b, t, d) states of b texts of t tokens -> (b, d)
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda states: states.float().mean(1).to(states.dtype),
    "last": lambda states: states[:, -1],
    "cls": lambda states: states[:, 0],
}


@torch.inference_mode()
def embed(lm: LoadedModel, texts: Sequence[Text], pooling: str = "mean", batch_size: int = 64) -> Tensor:
    """One vector for each text: the model's own last hidden state, pooled over its tokens.

    Texts of one length go through the model together, so that nothing is padded.

    Source: Reimers and Gurevych (2019), "Sentence-BERT", arXiv:1908.10084, for the poolings.

    Args:
        lm: a model of any kind, read through its base model.
        texts: n texts, each as it is written or as its token ids.
        pooling: mean over all tokens, special ones too; last; or cls, the first token.
        batch_size: texts a pass.

    Returns:
        (n, d) on the CPU, in the model's dtype.

    Raises:
        ConfigError: an unknown pooling.
        DataError: a text without tokens.
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling={pooling!r} is unknown; wanted one of {', '.join(POOLINGS)}: change it")
    ids = lm.encode(texts)
    for text, row in zip(texts, ids, strict=True):
        if not row:
            raise DataError(f"{shown(text)} has no tokens; wanted at least one: leave this text out")
    vectors = torch.empty(len(ids), lm.anatomy.width, dtype=lm.dtype)
    order = sorted(range(len(ids)), key=lambda index: (-len(ids[index]), index))
    with tqdm(total=len(ids), desc=f"embed with {lm.name}", delay=2.0, leave=False, disable=None) as bar:
        while order:
            here = [i for i in order[:batch_size] if len(ids[i]) == len(ids[order[0]])]
            order = order[len(here) :]
            batch = torch.tensor([ids[i] for i in here], device=lm.device)
            states = lm.anatomy.headless(input_ids=batch, **lm.kind.options).last_hidden_state
            vectors[here] = POOLINGS[pooling](states).cpu()
            bar.update(len(here))
    return vectors
