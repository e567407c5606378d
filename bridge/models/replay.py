"""Put a state into a model at some layer, and run the remaining blocks with the model's own code."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from bridge.errors import ModelError
from bridge.models.anatomy import Anatomy


@contextmanager
def skipped(anatomy: Anatomy, blocks: Iterable[nn.Module], states: Tensor | None = None) -> Iterator[None]:
    """A context manager in which `blocks` compute nothing: they return `states`, or their input.

    `forward` is replaced on the instance, on top of any hook of accelerate, and restored when the context ends, also
    after an error.
    """

    blocks = list(blocks)

    def forward(*args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        return anatomy.block_output(given if states is None else states)

    before = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = forward
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            if own is not None:
                block.forward = own
            else:
                block.__dict__.pop("forward", None)


@contextmanager
def entering(anatomy: Anatomy, states: Tensor, layer: int) -> Iterator[None]:
    """A context manager in which every forward pass has `states` (b, t, d) as its residual stream after `layer` blocks.

    The blocks before are skipped, so they cache no keys and values either.
    """
    with replacing(anatomy, states, 0) if layer == 0 else skipped(anatomy, anatomy.blocks[:layer], states):
        yield


@contextmanager
def replacing(anatomy: Anatomy, states: Tensor, layer: int) -> Iterator[None]:
    """A context manager in which the input of `blocks[layer]` is replaced by `states` (b, t, d)."""

    def replace(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (states, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": states}

    handle = anatomy.blocks[layer].register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def overwriting(anatomy: Anatomy, states: Tensor, layer: int) -> Iterator[None]:
    """A context manager in which `states` (b, d) replace the residual stream after `layer` blocks at the last position.

    All blocks run, and all other positions are unchanged.
    """

    def overwritten(stream: Tensor) -> Tensor:
        stream = stream.clone()
        stream[:, -1] = states.to(stream)
        return stream

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (overwritten(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": overwritten(kwargs["hidden_states"])}

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (overwritten(output[0]), *output[1:])
        return overwritten(output)

    if layer == 0:
        handle = anatomy.blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = anatomy.blocks[layer - 1].register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


# no_grad rather than inference mode: tensors of inference mode cannot be used where a gradient is needed later
@torch.no_grad()
def context_cache(
    model: transformers.PreTrainedModel, anatomy: Anatomy, input_ids: Tensor, from_layer: int = 0
) -> transformers.DynamicCache:
    """Keys and values of a context, made by the model's own forward pass without its head.

    Args:
        input_ids: (b, T) token ids, all rows of one length and without padding.
        from_layer: keep keys and values of `blocks[from_layer:]`; of earlier blocks their length alone.

    Returns:
        The cache of positions 0..T-1.

    Raises:
        ModelError: the model caches something other than keys and values per position.
    """
    cache = transformers.DynamicCache(config=model.config)
    anatomy.headless(input_ids=input_ids.to(model.device), past_key_values=cache, use_cache=True)
    for index, entry in enumerate(cache.layers):
        if not isinstance(entry, transformers.cache_utils.DynamicLayer):
            raise ModelError(
                f"block {index} of {type(model).__name__} keeps a {type(entry).__name__}, so it is not an attention "
                "block; wanted keys and values, which a state behind a context attends to: use injection=lm_head"
            )
        if index < from_layer:
            _keep_length_only(entry)
    return cache


def replay(
    model: transformers.PreTrainedModel,
    anatomy: Anatomy,
    states: Tensor,
    layer: int,
    cache: transformers.DynamicCache | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Logits of the model when `states` are its residual stream after `layer` blocks, at one new position.

    The model's own forward pass runs blocks `layer`..N, its final norm (once), its head and its processing of logits;
    the first `layer` blocks are skipped. Equal to a full forward pass in which a hook overwrites the block's output at
    the last position, since that changes no earlier position. Not thread-safe.

    Args:
        states: (b, d), raw residual states; brought to the model's device and dtype.
        layer: 0..N. N runs the final norm and the head only.
        cache: the context from `context_cache`, never changed; None puts the state at position 0.
        rows: (b,) which row of the cache each state stands behind; None when the cache has b rows, or one.

    Returns:
        (b, V) logits in the model's dtype; they carry a gradient where `states` do.
    """
    device, dtype = model.device, model.dtype
    entered = states.to(device=device, dtype=dtype).unsqueeze(1)
    past = None if cache is None else selected(cache, layer, len(states), rows)
    position = 0 if past is None else past.get_seq_length()
    keep = {"logits_to_keep": 1} if takes_logits_to_keep(model) else {}
    with entering(anatomy, entered, layer):
        output = model(
            input_ids=torch.full((len(states), 1), anatomy.filler_token, device=device),
            position_ids=torch.full((len(states), 1), position, device=device),
            past_key_values=past,
            use_cache=past is not None,
            **keep,
        )
    return output.logits[:, -1]


def selected(
    cache: transformers.DynamicCache, from_layer: int, n: int, rows: Tensor | None = None
) -> transformers.DynamicCache:
    """A copy of a cache with `n` rows, whose entries can grow without changing the given cache.

    Entries before `from_layer` are not read, so only their length is kept.
    """
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(entry) for entry in cache.layers]
    for entry in chosen.layers[from_layer:]:
        for name, value in list(vars(entry).items()):
            if isinstance(value, Tensor) and value.ndim >= 3:
                setattr(entry, name, _rows_of(value, n, rows))
    return chosen


def takes_logits_to_keep(model: transformers.PreTrainedModel) -> bool:
    """Whether the model can be told to compute the vocabulary logits of the last position only."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _rows_of(value: Tensor, n: int, rows: Tensor | None) -> Tensor:
    if value.shape[0] == 1:
        return value.expand(n, *value.shape[1:])
    return value if rows is None else value.index_select(0, rows.to(value.device))


def _keep_length_only(entry: transformers.cache_utils.DynamicLayer) -> None:
    """Drop keys and values but keep their length: attention masks are built from the length of the first entries."""
    if entry.is_initialized:
        placeholder = entry.keys.new_zeros(1, 1, 1, 1).expand(1, 1, entry.keys.shape[-2], 1)
        entry.keys = entry.values = placeholder
