"""Trains small GPT-NeoX on a text file, all seeds at once (`bridge.models.seeds`).

They stand for the seeds of Pythia where there is no network: one architecture, one tokenizer, one text, and nothing
but the seed between two models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from bridge.data.reading import read_text
from bridge.errors import DataError
from bridge.models.checkpoints import keeper, without_checkpoints
from bridge.models.recipe import TextSpec
from bridge.models.seeds import Schedule, State, started, train_seeds
from bridge.records.artefacts import Artefacts

LEARNING_RATE = 3e-3
PAD, END = "<pad>", "<|endoftext|>"


class Windows(Iterator[tuple[Tensor, Tensor]]):
    """Batches of windows at random places of a text (n,), from a stream of the seed's own."""

    def __init__(self, ids: Tensor, spec: TextSpec) -> None:
        self._windows, self._n = ids.unfold(0, spec.context + 1, 1), spec.batch_size
        self._rng = np.random.default_rng([spec.seed, 4])

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Token ids (b, t), and the token (b, t) that follows each."""
        chosen = self._windows[torch.from_numpy(self._rng.integers(0, len(self._windows), self._n))]
        return chosen[:, :-1], chosen[:, 1:]


def train_tokenizer(text: str, vocab_size: int) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE that is trained on the text, without special tokens around a text, as Pythia's.

    It has at least the 256 bytes and two special tokens, and can write every text.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def make_model(spec: TextSpec, vocab_size: int) -> Any:
    """A GPT-NeoX of this shape, with random weights."""
    config = transformers.GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=spec.width,
        intermediate_size=4 * spec.width,
        num_hidden_layers=spec.n_blocks,
        num_attention_heads=4,
        max_position_embeddings=max(128, spec.context),
        # With the default of 0.02 so small a model learns slowly.
        initializer_range=0.06,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    # torch.func has no batching rule for the fused attention.
    return transformers.GPTNeoXForCausalLM._from_config(config, attn_implementation="eager")


def train_text_seeds(
    specs: Sequence[TextSpec],
    tokenizer: transformers.PreTrainedTokenizerFast,
    text: str,
    device: torch.device | str = "cpu",
    keep: Callable[[int, int, State], None] | None = None,
    bar_position: int = 0,
) -> list[Any]:
    """Train some models at once that differ in their seeds alone.

    Args:
        specs: at least one; the seed decides a model's start and the windows that it reads.
        tokenizer: of the text.
        text: what the models read.
        device, keep, bar_position: as in `bridge.models.seeds.train_seeds`.

    Returns:
        The trained models on the CPU, in the order of `specs`.

    Raises:
        DataError: the text is shorter than a window.
        ModelError: a loss is not finite at a kept step; its weights are not kept.
    """
    spec = specs[0]
    ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    if len(ids) <= spec.context:
        raise DataError(
            f"{spec.text} has {len(ids)} tokens; wanted more than context={spec.context}: give a longer text, or lower "
            "pair.source.zoo.context"
        )
    trained = [started(s.seed, partial(make_model, s, len(tokenizer))) for s in specs]

    def loss(output: Any, following: Tensor) -> Tensor:
        return F.cross_entropy(output.logits.flatten(0, 1), following.flatten())

    schedule = Schedule(spec.n_steps, spec.n_warmup, LEARNING_RATE, spec.kept)
    seeds, batches = [s.seed for s in specs], [Windows(ids, s) for s in specs]
    train_seeds(trained, seeds, batches, loss, schedule, None, device, keep, bar_position)
    return trained


def ensure_text_seeds(
    specs: Sequence[TextSpec], store: Artefacts, device: torch.device | str = "cpu", bar_position: int = 0
) -> None:
    """Train models that differ in seed and checkpoint alone, and store the weights of every kept step.

    Raises:
        ConfigError: a checkpoint that is not kept.
        DataError: the text cannot be read, or is shorter than a window.
        StoreError: the store cannot be written.
    """
    last = without_checkpoints(specs)
    text = read_text(Path(last[0].text).expanduser(), "a text")
    tokenizer = train_tokenizer(text, last[0].vocab_size)
    keep = keeper(last, store, lambda spec: make_model(spec, len(tokenizer)), tokenizer)
    train_text_seeds(last, tokenizer, text, device, keep, bar_position)
