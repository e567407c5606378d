"""States at sites that are no block's input or output: the embeddings, and the middle of a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bridge.activations.sites import EMBED, site_depth, site_name
from bridge.errors import ConfigError, ModelError
from bridge.models.loading import LoadedModel

See = Callable[[float, Tensor], None]


def has_site(lm: LoadedModel, depth: float) -> bool:
    """Whether a model computes the state of a site; found by one pass of one token."""
    from bridge.activations.extract import watching

    found: list[Tensor] = []
    ids = torch.tensor([[lm.anatomy.filler_token]], device=lm.device)
    try:
        with watching(lm, [depth], lambda _, state: found.append(state)), torch.inference_mode():
            lm.anatomy.headless(input_ids=ids, **lm.kind.options)
    except ModelError:
        return False
    return True


def every_site(lm: LoadedModel) -> list[float]:
    """The depths of all sites that a model has, in order: the embeddings, then before, inside and after blocks.

    Blocks whose attention and MLP read the same state have no site between them, and embeddings of another width than
    the blocks are none.
    """
    n_blocks = lm.anatomy.n_blocks
    inside = [b + 0.5 for b in range(n_blocks)] if has_site(lm, 0.5) else []
    embed = [EMBED] if has_site(lm, EMBED) else []
    return [*embed, *sorted([*map(float, range(n_blocks + 1)), *inside])]


def watch_embeddings(lm: LoadedModel, see: See, stack: ExitStack) -> None:
    """Until `stack` closes, `see` gets what the embeddings of tokens give, before anything is added to it."""

    def given(module: nn.Module, args: Any, output: Tensor) -> None:
        if output.shape[-1] != lm.anatomy.width:
            raise ModelError(
                f"the embeddings of {lm.name} have width {output.shape[-1]}; wanted that of its blocks, "
                f"{lm.anatomy.width}: leave the site embed out"
            )
        see(EMBED, output)

    stack.callback(lm.anatomy.embeddings.register_forward_hook(given).remove)


def watch_middle(lm: LoadedModel, number: int, see: See, stack: ExitStack) -> None:
    """Until `stack` closes, `see` gets the residual stream between attention and MLP of a block.

    It is the one state that enters a part of the block and is neither the block's input nor another part's output.
    Parts get their inputs from each other, but for the sum of the stream and what attention adds to it.
    """
    block = lm.anatomy.blocks[number]
    known: list[Any] = []
    sums: list[Tensor] = []

    def entered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sums.clear()
        known[:] = [args[0] if args else kwargs["hidden_states"]]

    def part_entered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        state = args[0] if args else kwargs.get("hidden_states")
        if not isinstance(state, Tensor) or state.numel() != known[0].numel():
            return
        if not any(state is other for other in (*known, *sums)):
            sums.append(state)

    def part_left(module: nn.Module, args: Any, output: Any) -> None:
        known.append(output[0] if isinstance(output, tuple) else output)

    def left(module: nn.Module, args: Any, output: Any) -> None:
        if len(sums) != 1:
            raise ModelError(
                f"block {number} of {lm.name} ({type(block).__name__}) has {len(sums)} states between attention and "
                f"MLP; wanted one: leave the site resid_mid_{number} out"
            )
        see(number + 0.5, sums[0].view_as(known[0]))

    hooks = [partial(block.register_forward_pre_hook, entered, with_kwargs=True)]
    for part in block.children():
        hooks.append(partial(part.register_forward_pre_hook, part_entered, with_kwargs=True))
        hooks.append(partial(part.register_forward_hook, part_left))
    hooks.append(partial(block.register_forward_hook, left))
    for hook in hooks:
        stack.callback(hook().remove)


def depths_of(sites: str | Sequence[str], lm: LoadedModel, model: str) -> list[float]:
    """The depths of the wanted sites, in order and each once.

    Args:
        sites: "all", or names.
        lm: the model.
        model: its name, for the message.

    Raises:
        ConfigError: no site, or one that the model lacks.
    """
    if sites == "all":
        return every_site(lm)
    if not isinstance(sites, Sequence):
        raise ConfigError(
            f"task.sites={sites} is no list of names; wanted all or names such as [resid_mid_0,resid_post_1]: change it"
        )
    names = [sites] if isinstance(sites, str) else list(sites)
    if not names:
        raise ConfigError("task.sites is empty; wanted all or names such as [resid_mid_0,resid_post_1]: give some")
    depths = sorted({site_depth(name, lm.anatomy.n_blocks, model) for name in names})
    for depth in depths:
        if not has_site(lm, depth):
            raise ConfigError(
                f"{model} has no site {site_name(depth)}; wanted one of "
                f"{', '.join(map(site_name, every_site(lm)))}: change task.sites"
            )
    return depths
