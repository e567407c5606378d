"""Put other states into a site, at every token, and what the model then loses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bridge.activations.extract import watching
from bridge.activations.sites import EMBED
from bridge.models.loading import LoadedModel
from bridge.models.loss import string_losses

Change = Callable[[Tensor], Tensor]
Tokens = tuple[int, ...]


@contextmanager
def changing(lm: LoadedModel, depth: float, change: Change) -> Iterator[None]:
    """A context manager in which the state of one site is `change` of what it would be, and all that follows sees that.

    Args:
        lm: the model.
        depth: of the site; in the middle of a block the change reaches both the MLP and the stream.
        change: (b, t, d) -> (b, t, d).
    """
    blocks = lm.anatomy.blocks
    if depth == EMBED:
        handles = [lm.anatomy.embeddings.register_forward_hook(lambda module, args, output: change(output))]
    elif depth % 1:
        handles = _in_the_middle(lm, int(depth), change)
    elif depth == 0:
        handles = [blocks[0].register_forward_pre_hook(_entering(change), with_kwargs=True)]
    else:

        def leave(module: nn.Module, args: Any, output: Any) -> Any:
            state = change(lm.anatomy.state_of(output))
            return (state, *output[1:]) if isinstance(output, tuple) else state

        handles = [blocks[int(depth) - 1].register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(change: Change) -> Callable[..., Any]:
    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return enter


def _in_the_middle(lm: LoadedModel, number: int, change: Change) -> list[Any]:
    """Hooks that change the state between attention and MLP of a block.

    The part that this state enters gets the new one. The block adds what its MLP gives to the old one, so the
    difference is added to its output.
    """
    block = lm.anatomy.blocks[number]
    part = _part_after_attention(lm, number)
    moved: list[Tensor] = []

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # Some families flatten batch and tokens inside a block.
        moved[:] = [args[0] if args else kwargs["hidden_states"]]

    def moving(old: Tensor) -> Tensor:
        stream = old.view_as(moved[0])
        new = change(stream)
        moved[:] = [new - stream]
        return new.view_as(old)

    def leave(module: nn.Module, args: Any, output: Any) -> Any:
        state = lm.anatomy.state_of(output) + moved[0]
        return (state, *output[1:]) if isinstance(output, tuple) else state

    return [
        block.register_forward_pre_hook(begin, with_kwargs=True),
        part.register_forward_pre_hook(_entering(moving), with_kwargs=True),
        block.register_forward_hook(leave),
    ]


def _part_after_attention(lm: LoadedModel, number: int) -> nn.Module:
    """The part of a block that the state in its middle enters."""
    states: list[Tensor] = []
    entered: list[tuple[nn.Module, Any]] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.append((module, args[0] if args else kwargs.get("hidden_states")))

    handles = [part.register_forward_pre_hook(note, with_kwargs=True) for part in lm.anatomy.blocks[number].children()]
    ids = torch.tensor([[lm.anatomy.filler_token]], device=lm.device)
    try:
        with watching(lm, [number + 0.5], lambda _, state: states.append(state)), torch.inference_mode():
            lm.anatomy.headless(input_ids=ids, **lm.kind.options)
    finally:
        for handle in handles:
            handle.remove()
    (part,) = (m for m, state in entered if isinstance(state, Tensor) and state.data_ptr() == states[0].data_ptr())
    return part


def losses_with(
    lm: LoadedModel,
    texts: Sequence[Tokens],
    wanted: Sequence[Sequence[int]],
    depth: float,
    states: Tensor | None,
    batch_size: int = 64,
) -> Tensor:
    """The model's loss on each text while other states stand at one site.

    Args:
        lm: the model.
        texts: n texts as token ids.
        wanted: for each text, the positions whose states are replaced.
        depth: of the site.
        states: (m, d), those of all wanted positions, text by text; None leaves the model as it is.
        batch_size: texts per pass.

    Returns:
        (n,) float64, in nats a token; see `bridge.models.loss`.
    """
    starts = [0]
    for positions in wanted:
        starts.append(starts[-1] + len(positions))
    losses = torch.empty(len(texts), dtype=torch.float64)
    by_length: dict[int, list[int]] = {}
    for i, text in enumerate(texts):
        by_length.setdefault(len(text), []).append(i)
    for same in by_length.values():
        for at in range(0, len(same), batch_size):
            some = same[at : at + batch_size]
            ids = torch.tensor([texts[i] for i in some], device=lm.device)
            if states is None:
                losses[some] = string_losses(lm, ids)
                continue
            rows = torch.tensor([row for row, i in enumerate(some) for _ in wanted[i]], dtype=torch.long)
            columns = torch.tensor([t for i in some for t in wanted[i]], dtype=torch.long)
            given = torch.cat([states[starts[i] : starts[i + 1]] for i in some])

            def change(stream: Tensor, at: tuple[Tensor, Tensor] = (rows, columns), given: Tensor = given) -> Tensor:
                return stream.index_put(at, given.to(stream))

            with changing(lm, depth, change):
                losses[some] = string_losses(lm, ids)
    return losses
