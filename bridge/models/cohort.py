"""Trains the readers of Dyck-3 strings, all seeds of a recipe at once (`bridge.models.seeds`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from bridge.data.dyck import BOS, EOS, PAD, TOKENS, Labels, Strings, generate, label
from bridge.models.checkpoints import keeper, without_checkpoints
from bridge.models.dyck import DyckConfig, DyckModel, DyckOutput, losses
from bridge.models.dyck_neox import DyckNeoXConfig, DyckNeoXModel
from bridge.models.recipe import KIND, DyckSpec
from bridge.models.seeds import Schedule, State, started, train_seeds
from bridge.records.artefacts import Artefacts

# Batches that are written at once for each seed.
POOL = 8
# The probability to open a bracket in hard strings, which are deeper than others.
P_OPEN_HARD = 0.75
# Of the model whose embeddings and heads a shared cohort has.
FIRST_SEED = 0
Reader = DyckModel | DyckNeoXModel


class Batches(Iterator[tuple[Tensor, ...]]):
    """Batches of labelled strings of one seed, from a stream of its own.

    The strings of a batch have one length, so that nothing is padded, unless the recipe says otherwise. That length
    changes from step to step, alike for all seeds, whose batches then have one shape.
    """

    def __init__(self, spec: DyckSpec) -> None:
        self._spec, self._rng, self._of_all = spec, np.random.default_rng([spec.seed, 3]), np.random.default_rng(3)
        self._pools: dict[tuple[int, int], list[tuple[Tensor, ...]]] = {}

    def __next__(self) -> tuple[Tensor, ...]:
        """Token ids and the labels of bracket, depth and validity, each (b, T)."""
        lengths = 2, self._spec.max_length
        if self._spec.one_length:
            lengths = (2 * int(self._of_all.integers(1, self._spec.max_length // 2, endpoint=True)),) * 2
        if not self._pools.get(lengths):
            n = self._spec.batch_size
            strings = self._strings(POOL * n, lengths)
            parts = tensors(strings, label(strings))
            self._pools[lengths] = list(zip(*(part.split(n) for part in parts), strict=True))
        return self._pools[lengths].pop()

    def _strings(self, n: int, lengths: tuple[int, int]) -> Strings:
        """Strings, of which every second is a hard one where the recipe has such."""
        if not self._spec.hard_half:
            return generate(n, self._rng, lengths, self._spec.p_valid)
        plain = generate((n + 1) // 2, self._rng, lengths, self._spec.p_valid)
        hard = generate((n + 1) // 2, self._rng, lengths, self._spec.p_valid, P_OPEN_HARD, other_kind=True)
        ids = np.stack([plain.ids, hard.ids], axis=1).reshape(-1, plain.ids.shape[1])
        return Strings(ids[:n], np.stack([plain.lengths, hard.lengths], axis=1).reshape(-1)[:n])


def tensors(strings: Strings, labels: Labels) -> list[Tensor]:
    """Token ids and the labels of bracket, depth and validity, each (n, T)."""
    return [torch.from_numpy(part) for part in (strings.ids, labels.bracket, labels.depth, labels.validity)]


def schedule_of(spec: DyckSpec) -> Schedule:
    """How long and how fast to train."""
    return Schedule(spec.n_steps, spec.n_warmup, spec.learning_rate, spec.kept)


def train_cohort(
    specs: Sequence[DyckSpec],
    frozen: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    keep: Callable[[int, int, State], None] | None = None,
    bar_position: int = 0,
) -> list[Reader]:
    """Train some models at once that differ in their seeds alone.

    Args:
        specs: at least one; the seed decides a model's start and its strings.
        frozen, device, keep, bar_position: as in `bridge.models.seeds.train_seeds`.

    Returns:
        The trained models on the CPU, in the order of `specs`.

    Raises:
        ModelError: a loss is not finite at a kept step; its weights are not kept.
    """
    readers = [started(spec.seed, lambda spec=spec: make_reader(spec)) for spec in specs]  # type: ignore[misc]
    weight = specs[0].validity_weight

    def loss(output: DyckOutput, *labels: Tensor) -> Tensor:
        bracket, depth, validity = losses(output, *labels)
        return bracket + depth + weight * validity

    seeds, batches = [spec.seed for spec in specs], [Batches(spec) for spec in specs]
    train_seeds(readers, seeds, batches, loss, schedule_of(specs[0]), frozen, device, keep, bar_position)
    return readers


def ensure_cohort(
    specs: Sequence[DyckSpec], store: Artefacts, device: torch.device | str = "cpu", bar_position: int = 0
) -> None:
    """Train models that differ in seed and checkpoint alone, and store the weights of every kept step.

    In a shared cohort the embeddings and heads are those of the trained seed 0, which is trained first where it is not
    stored.

    Raises:
        ConfigError: a checkpoint that is not kept.
        StoreError: the store cannot be written.
    """
    last = without_checkpoints(specs)
    frozen = None
    if last[0].cohort == "shared":
        first = replace(last[0], seed=FIRST_SEED, cohort="independent")
        if store.find(KIND, first.made_from()) is None:
            ensure_cohort([first], store, device, bar_position)
        weights = load_file(store.path(KIND, first.made_from()) / "model.safetensors")
        frozen = {name: weights[name] for name in make_reader(first).shared}
    train_cohort(last, frozen, device, keeper(last, store, make_reader, make_tokenizer()), bar_position)


def make_reader(spec: DyckSpec) -> Reader:
    """A model of this architecture and shape, with random weights."""
    shape = {"hidden_size": spec.width, "num_hidden_layers": spec.n_blocks, "intermediate_size": 4 * spec.width}
    paper = DyckConfig(**shape)
    if spec.architecture == "paper":
        return DyckModel(paper)
    same = ("vocab_size", "num_attention_heads", "max_position_embeddings", "initializer_range")
    tokens = ("pad_token_id", "bos_token_id", "eos_token_id")
    config = DyckNeoXConfig(**shape, **{name: getattr(paper, name) for name in (*same, *tokens)})
    # torch.func has no batching rule for the fused attention.
    return DyckNeoXModel._from_config(config, attn_implementation="eager")


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token for each bracket, between begin and end."""
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, unk_token=TOKENS[PAD]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    )
