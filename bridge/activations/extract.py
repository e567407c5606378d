"""Read raw residual states out of a model, at all wanted layers in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bridge.activations.inside import watch_embeddings, watch_middle
from bridge.activations.positions import wanted_tokens
from bridge.activations.sites import EMBED
from bridge.errors import ConfigError, DataError, ModelError, layer_out_of_range
from bridge.models.encoding import Text, shown
from bridge.models.loading import LoadedModel
from bridge.models.replay import skipped

Padding = Literal["none", "left", "right"]


@dataclass(frozen=True)
class Batch:
    """Texts that go through the model together: ids and mask (b, t), and where each text starts."""

    indices: list[int]
    ids: Tensor
    mask: Tensor | None
    starts: list[int]


def extract(
    lm: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[float],
    position: str = "last",
    positions: Sequence[Sequence[int]] | None = None,
    batch_size: int = 64,
    padding: Padding = "none",
) -> dict[float, Tensor]:
    """Raw residual states of a model at some layers and positions of some texts.

    Layer l is the residual stream after l blocks, before the final norm; 0 is what enters the first block.
    One pass for all layers, through the model without its head, and no further than the highest layer. Only
    the wanted positions are kept. By default a batch holds texts of one length, so that nothing is padded;
    the result is the same for any batch size and padding up to the last bits of the model's arithmetic.

    Args:
        texts: n texts, each as it is written or as its token ids.
        layers: each in 0..N, or the depth of another site (`bridge.activations.sites`).
        position: "last"; "mean" over the text's tokens but the special ones the tokenizer adds; "last:K"; "all" for
            every token, special ones too; or "index".
        positions: for "index", the token positions wanted of each text, special tokens counted.
        batch_size: texts per pass.
        padding: "none", or the side on which shorter texts of a batch are padded.

    Returns:
        {layer: states} on the CPU in the model's dtype: (n, d) for last and mean, (n, K, d) for last:K, and
        for all and index the positions of all texts one after the other, (sum of their numbers, d).

    Raises:
        ConfigError: a layer, or the position, is out of range or unknown.
        DataError: a text has too few tokens, or more than the model can read.
        ModelError: the model gave NaN or infinite states.
    """
    _check_layers(lm, layers)
    ids = lm.encode(texts)
    wanted = wanted_tokens(lm.tokenizer, texts, ids, position, positions)
    _check_lengths(lm, texts, ids)
    offsets = [0]
    for tokens in wanted:
        offsets.append(offsets[-1] + (1 if position == "mean" else len(tokens)))
    result = {layer: torch.empty(offsets[-1], lm.anatomy.width, dtype=lm.dtype) for layer in sorted(set(layers))}
    some = [index for index, tokens in enumerate(wanted) if tokens]
    bar = tqdm(total=len(some), desc=f"states of {lm.name}", unit="text", delay=2.0, leave=False, disable=None)
    with bar, torch.inference_mode():
        for batch in _batches(ids, some, batch_size, padding, lm.device):
            rows = [row for row, index in enumerate(batch.indices) for _ in wanted[index]]
            columns = [start + t for start, i in zip(batch.starts, batch.indices, strict=True) for t in wanted[i]]
            counts = [len(wanted[index]) for index in batch.indices] if position == "mean" else None
            into = torch.tensor([at for i in batch.indices for at in range(offsets[i], offsets[i + 1])])
            for layer, states in _states(lm, batch, list(result), rows, columns, counts).items():
                result[layer][into] = states.to("cpu")
            bar.update(len(batch.indices))
    _check_finite(lm, result, offsets)
    if position.startswith("last:"):
        return {layer: states.view(len(texts), -1, lm.anatomy.width) for layer, states in result.items()}
    return result


def estimate_bytes(
    lm: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[float],
    position: str = "last",
    positions: Sequence[Sequence[int]] | None = None,
) -> int:
    """How many bytes `extract` would return for the same arguments."""
    wanted = wanted_tokens(lm.tokenizer, texts, lm.encode(texts), position, positions)
    n_rows = len(texts) if position == "mean" else sum(len(tokens) for tokens in wanted)
    return n_rows * len(set(layers)) * lm.anatomy.width * lm.dtype.itemsize


def _states(
    lm: LoadedModel,
    batch: Batch,
    layers: list[float],
    rows: list[int],
    columns: list[int],
    counts: list[int] | None,
) -> dict[float, Tensor]:
    """The wanted positions of one batch at every layer; with `counts`, the mean of each text's positions."""

    at = torch.tensor([rows, columns])

    def gather(state: Tensor) -> Tensor:
        picked = state[tuple(at.to(state.device))]
        if counts is None:
            return picked
        return torch.stack([part.float().mean(0) for part in picked.split(counts)]).to(picked.dtype)

    kept: dict[float, Tensor] = {}
    extra: dict[str, Tensor] = {}
    if batch.mask is not None:
        extra["attention_mask"] = batch.mask
        if lm.kind.has_head:
            extra["position_ids"] = (batch.mask.cumsum(1) - 1).clamp(min=0)
    with watching(lm, layers, lambda layer, state: kept.__setitem__(layer, gather(state))):
        lm.anatomy.headless(input_ids=batch.ids, **lm.kind.options, **extra)
    return kept


@contextmanager
def watching(lm: LoadedModel, layers: Sequence[float], see: Callable[[float, Tensor], None]) -> Iterator[None]:
    """A context manager: `see` gets every state at `layers`, and blocks above them are skipped."""

    def entered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(0, args[0] if args else kwargs["hidden_states"])

    def left(layer: float) -> Callable[..., None]:
        return lambda module, args, output: see(layer, lm.anatomy.state_of(output))

    blocks = lm.anatomy.blocks
    with ExitStack() as stack:
        stack.enter_context(skipped(lm.anatomy, blocks[math.ceil(max(layers)) :]))
        for layer in layers:
            if layer == EMBED:
                watch_embeddings(lm, see, stack)
            elif layer == 0:
                stack.callback(blocks[0].register_forward_pre_hook(entered, with_kwargs=True).remove)
            elif layer % 1:
                watch_middle(lm, int(layer), see, stack)
            else:
                stack.callback(blocks[int(layer) - 1].register_forward_hook(left(layer)).remove)
        yield


def _batches(
    ids: list[list[int]], some: list[int], batch_size: int, padding: Padding, device: torch.device
) -> Iterator[Batch]:
    """Batches of `some` of the texts, longest first, so that an out-of-memory error comes at once."""
    order = sorted(some, key=lambda index: (-len(ids[index]), index))
    while order:
        longest = len(ids[order[0]])
        here = [i for i in order[:batch_size] if padding != "none" or len(ids[i]) == longest]
        order = order[len(here) :]
        pads = [longest - len(ids[index]) for index in here]
        starts = [pad if padding == "left" else 0 for pad in pads]
        table = torch.zeros(len(here), longest, dtype=torch.long)
        mask = torch.zeros(len(here), longest, dtype=torch.long)
        for row, (index, start) in enumerate(zip(here, starts, strict=True)):
            table[row, start : start + len(ids[index])] = torch.tensor(ids[index])
            mask[row, start : start + len(ids[index])] = 1
        yield Batch(here, table.to(device), mask.to(device) if any(pads) else None, starts)


def _check_layers(lm: LoadedModel, layers: Sequence[float]) -> None:
    n_blocks = lm.anatomy.n_blocks
    if not layers:
        raise ConfigError(f"no layer was given for {lm.name}; wanted at least one of 0..{n_blocks}: name one")
    for layer in layers:
        if layer != EMBED and not (0 <= layer <= n_blocks and 2 * layer % 1 == 0):
            raise layer_out_of_range(layer, lm.name, n_blocks)


def _check_lengths(lm: LoadedModel, texts: Sequence[Text], ids: list[list[int]]) -> None:
    limit = getattr(lm.model.config.get_text_config(), "max_position_embeddings", None)
    for text, row in zip(texts, ids, strict=True):
        if limit is not None and len(row) > limit:
            raise DataError(
                f"{shown(text)} has {len(row)} tokens; wanted at most {limit}, as many as {lm.name} reads: leave "
                "this text out"
            )


def _check_finite(lm: LoadedModel, result: dict[float, Tensor], offsets: list[int]) -> None:
    item_of_row = torch.arange(len(offsets) - 1).repeat_interleave(torch.tensor(offsets).diff())
    for layer, states in result.items():
        n_bad = len(item_of_row[~torch.isfinite(states).all(dim=1)].unique())
        if n_bad:
            raise ModelError(
                f"{lm.name} gave NaN or infinite states at layer {layer} for {n_bad} of {len(offsets) - 1} items; "
                "wanted finite numbers: run it in another dtype (float32, bfloat16) or look at its weights"
            )
