"""The parts of a model, located by structure and by hooks in one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from bridge.errors import ModelError
from bridge.models.kinds import KINDS, Kind


@dataclass
class Anatomy:
    """The parts of one model; layer l means the residual stream after `blocks[:l]`, before the final norm.

    `head` is None in a model of a kind without one, and `headless` is the model without it. `filler_token` is a token
    id that triggers no padding warning.
    """

    blocks: nn.ModuleList
    embeddings: nn.Module
    head: nn.Module | None
    final_norm: nn.Module | None
    headless: nn.Module
    n_blocks: int
    width: int
    vocab_size: int
    block_returns_tuple: bool
    filler_token: int

    def state_of(self, block_output: Any) -> Tensor:
        """The residual state in a block's output, which in some model families is the first entry of a tuple."""
        return block_output[0] if self.block_returns_tuple else block_output

    def block_output(self, state: Tensor) -> Any:
        """`state` in the form that the blocks of this model return."""
        return (state, None) if self.block_returns_tuple else state


def anatomy(model: transformers.PreTrainedModel, kind: Kind = KINDS["causal"]) -> Anatomy:
    """Find blocks, embeddings, head and final norm of a model without a table of families.

    The blocks are the one list of `num_hidden_layers` decoder layers; embeddings and head are what the model
    itself names as such; the final norm is the module that was seen to receive the last block's output.

    Args:
        model: a transformers model, on any device.
        kind: the kind of model; decides whether it must have a head.

    Returns:
        The parts. `final_norm` is None in families that have none.

    Raises:
        ModelError: the model has no such list, or more than one, no embeddings, or no head where its kind has one.
    """
    name = type(model).__name__
    config = model.config.get_text_config()
    n_blocks = getattr(config, "num_hidden_layers", None)
    lists = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) > 0
        and len(module) == n_blocks
        and all(isinstance(block, transformers.modeling_layers.GradientCheckpointingLayer) for block in module)
    ]
    if len(lists) != 1:
        raise ModelError(
            f"{name} has {len(lists)} lists of {n_blocks} decoder blocks; wanted exactly one: give {kind.called} of "
            "the transformers library with one stack of blocks"
        )
    embeddings = model.get_input_embeddings()
    head = model.get_output_embeddings() if kind.has_head else None
    if embeddings is None or (head is None and kind.has_head):
        missing = "input embeddings" if embeddings is None else "output head"
        raise ModelError(f"{name} has no {missing}; wanted one: give {kind.called}")
    filler_token = 1 if config.pad_token_id == 0 else 0
    final_norm, returns_tuple, vocab_size = _watch(model, kind, lists[0], head, filler_token)
    return Anatomy(
        blocks=lists[0],
        embeddings=embeddings,
        head=head,
        final_norm=final_norm,
        headless=model.base_model,
        n_blocks=len(lists[0]),
        width=config.hidden_size,
        vocab_size=vocab_size or embeddings.weight.shape[0],
        block_returns_tuple=returns_tuple,
        filler_token=filler_token,
    )


@torch.inference_mode()
def _watch(
    model: transformers.PreTrainedModel, kind: Kind, blocks: nn.ModuleList, head: nn.Module | None, token: int
) -> tuple[nn.Module | None, bool, int | None]:
    """One forward pass of one token: which module receives the last block's output, and in which form."""
    inside = {id(module) for module in blocks.modules()}
    last_output: list[Any] = []
    receivers: list[nn.Module] = []

    def keep_output(module: nn.Module, args: Any, output: Any) -> None:
        last_output.append(output)

    def note_receiver(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if last_output:
            output = last_output[0]
            state = output[0] if isinstance(output, tuple) else output
            if any(value is state for value in (*args, *kwargs.values())):
                receivers.append(module)

    handles = [blocks[-1].register_forward_hook(keep_output)]
    handles += [
        module.register_forward_pre_hook(note_receiver, with_kwargs=True)
        for name, module in model.named_modules()
        if id(module) not in inside and not f"{name}.".startswith(kind.unused)
    ]
    try:
        output = model(torch.tensor([[token]], device=model.device), **kind.options)
        n_logits = output.logits.shape[-1] if kind.has_head else None
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} could not read a single token ({type(error).__name__}: "
            f"{' '.join(str(error).split())}); wanted a model that works on token ids alone: give {kind.called} that "
            "does"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    norms = [m for m in receivers if m is not head and not isinstance(m, nn.Linear)]
    return (norms[0] if norms else None), isinstance(last_output[0], tuple), n_logits
