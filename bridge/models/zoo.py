"""The small models that bridge trains itself, so that a fresh clone has a pair to run on.

A Llama with a word-level tokenizer and a Mistral with a byte-level BPE learn two data sets: the built-in facts
(`bridge.data.facts`), and invented nouns that are defined by attributes (`bridge.data.attributes`). Facts are learnt in
all wordings but one, and nouns in some orders of their values, each value in either of two words; the Rosetta sets ask
the held-out wording and order. They also learn to copy a word (``"Again Paris gives Paris"``), without which so small a
model could not use a soft prompt. Saved in the ordinary ``save_pretrained`` format, trained once, reproducible from the
seed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from bridge import errors
from bridge.data.attributes import attribute_lines, nouns
from bridge.data.facts import held_out_template, relations
from bridge.errors import BridgeError, ModelError
from bridge.models.recipe import KIND, SEEDED, Spec, ZooSpec, spec_of
from bridge.records.artefacts import Artefacts

COPY_PROMPT = "Again {word} gives"
SPECIAL_TOKENS = ["<pad>", "<s>", "</s>", "<unk>"]
N_FACTS, N_COPIES, N_ATTRIBUTES = 128, 48, 64  # lines in a batch
LEARNING_RATE = 3e-3
log = logging.getLogger(__name__)


def fact_lines() -> list[tuple[str, str]]:
    """(prompt, answer) of every fact in every wording but the one that the Rosetta set asks."""
    return [
        (template.format(subject=subject), answer)
        for relation in relations().values()
        for subject, answer in relation.facts
        for i, template in enumerate(relation.templates)
        if i != held_out_template(relation, subject)
    ]


def copy_lines() -> list[tuple[str, str]]:
    """(prompt, answer) that repeat a word; answers of facts three times as often as subjects and nouns."""
    facts = [fact for relation in relations().values() for fact in relation.facts]
    answers, subjects = sorted({a for _, a in facts}), sorted({s for s, _ in facts if " " not in s})
    names = [noun.name for noun in nouns()]
    return [(COPY_PROMPT.format(word=word), word) for word in [*answers * 3, *subjects, *names]]


def train_tokenizer(kind: Literal["word", "bpe"], vocab_size: int) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer that knows every word of the two data sets; answers are one token each."""
    lines = [*fact_lines(), *copy_lines(), *attribute_lines()]
    asked = [t.format(subject=s) for r in relations().values() for s, _ in r.facts for t in r.templates]
    answers = [f" {answer}" for _, answer in lines]
    if kind == "word":
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer: Any = trainers.WordLevelTrainer(vocab_size=1_000_000, special_tokens=SPECIAL_TOKENS)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    # Answers are repeated so that BPE merges them into single tokens.
    tokenizer.train_from_iterator([*asked, *(" ".join(p) for p in lines), *answers * 8], trainer)
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def _model(spec: ZooSpec, vocab_size: int) -> transformers.LlamaForCausalLM | transformers.MistralForCausalLM:
    shape: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": spec.width,
        "intermediate_size": 3 * spec.width,
        "num_hidden_layers": spec.n_blocks,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        # With the default initializer range of 0.02 tied embeddings learn slowly.
        "tie_word_embeddings": True,
        "initializer_range": 0.06,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if spec.architecture == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, num_key_value_heads=4))
    return transformers.MistralForCausalLM(transformers.MistralConfig(**shape, num_key_value_heads=2))


@dataclass(frozen=True)
class _Lines:
    """Lines as ids (n, T), padded on the right, and targets (n, T): the tokens of the answer, -100 elsewhere."""

    ids: Tensor
    targets: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, lines: Sequence[tuple[str, str]], tokenizer: transformers.PreTrainedTokenizerFast) -> _Lines:
        prompts = tokenizer([p for p, _ in lines])["input_ids"]
        wholes = tokenizer([f"{p} {a}" for p, a in lines])["input_ids"]
        lengths = torch.tensor([len(whole) for whole in wholes])
        ids = torch.zeros(len(lines), int(lengths.max()), dtype=torch.long)
        targets = torch.full_like(ids, -100)
        for i, (prompt, whole) in enumerate(zip(prompts, wholes, strict=True)):
            ids[i, : len(whole)] = torch.tensor(whole)
            targets[i, len(prompt) - 1 : len(whole) - 1] = torch.tensor(whole[len(prompt) :])
        return cls(ids, targets, lengths)

    def loss(self, model: Any, rows: Tensor) -> Tensor:
        """Mean cross-entropy of the answers' tokens of some lines; no logits are computed for other tokens."""
        width = int(self.lengths[rows].max())
        targets = self.targets[rows, :width]
        hidden = model.model(input_ids=self.ids[rows, :width]).last_hidden_state
        answered = targets >= 0
        return F.cross_entropy(model.lm_head(hidden[answered]), targets[answered])


def _epoch(lengths: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Batches of lines of similar length, in random order, so that little of a batch is padding."""
    noisy = lengths + torch.rand(len(lengths), generator=generator) * 2
    batches = torch.argsort(noisy).split(N_FACTS)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def train(spec: ZooSpec, folder: Path, name: str = "a model", bar_position: int = 0) -> None:
    """Train one model, called `name` in messages, and save it with its tokenizer under `folder`."""
    torch.set_num_threads(1)
    torch.manual_seed(spec.torch_seed)
    tokenizer = train_tokenizer(spec.tokenizer, spec.vocab_size)
    facts, copies = fact_lines(), copy_lines()
    words = _Lines.of([*facts, *copies], tokenizer)
    attributes = _Lines.of(attribute_lines(), tokenizer)
    model = _model(spec, len(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=spec.n_steps, pct_start=0.15)
    generator = torch.Generator().manual_seed(spec.torch_seed)
    steps = tqdm(range(spec.n_steps), desc=f"train {name}", position=bar_position, leave=False, disable=None)
    waiting: list[Tensor] = []
    for _ in steps:
        if not waiting:
            waiting = _epoch(words.lengths[: len(facts)], generator)
        copied = len(facts) + torch.randint(len(copies), (N_COPIES,), generator=generator)
        described = torch.randint(len(attributes.ids), (N_ATTRIBUTES,), generator=generator)
        # Two passes: descriptions are twice as long as the other lines.
        loss = words.loss(model, torch.cat([waiting.pop(), copied])) + attributes.loss(model, described)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        steps.set_postfix(loss=f"{loss.item():.3f}")
    if not torch.isfinite(loss):
        raise ModelError(f"training {name} ended with loss {loss.item()}; wanted a finite number: try another seed")
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _child(argument: str) -> None:
    """The body of a training process: it reads what to train as JSON from stdin, and prints an error to stdout."""
    root, wanted, device, bar_position = json.loads(argument)
    transformers_logging.disable_progress_bar()
    # Warnings were printed by the parent process already. The parent stops this process by SIGTERM, which becomes an
    # exit, so that the store removes its temporary folder.
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    store, specs = Artefacts(root), {name: spec_of(fields) for name, fields in wanted.items()}
    try:
        if seeds := [spec for spec in specs.values() if isinstance(spec, SEEDED)]:
            from bridge.models.seeded import ensure_seeds

            ensure_seeds(seeds, store, device, bar_position)
            return
        for name, spec in specs.items():
            store.ensure(KIND, spec.made_from(), _trainer(name, spec, bar_position))
    except BridgeError as error:
        print(json.dumps([type(error).__name__, str(error)]))
        sys.exit(1)


def _trainer(name: str, spec: Spec, bar_position: int) -> Callable[[Path], None]:
    assert isinstance(spec, ZooSpec)
    return lambda folder: train(spec, folder, name, bar_position)


def _start(store: Artefacts, specs: dict[str, Spec], device: str, bar_position: int) -> subprocess.Popen[str]:
    # Not multiprocessing: that would import a user's script a second time.
    path = os.pathsep.join(p for p in (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")) if p)
    code = "import sys; from bridge.models.zoo import _child; _child(sys.argv[1])"
    wanted = {name: asdict(spec) for name, spec in specs.items()}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, json.dumps([str(store.root.absolute()), wanted, device, bar_position])],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        # Ctrl-C reaches this process alone, which then stops the others.
        start_new_session=True,
    )


def _stop(trainer: subprocess.Popen[str]) -> None:
    """End a training process, and wait for its end."""
    while trainer.poll() is None:
        trainer.terminate()
        # Python drops an exit that is raised in a destructor, so one signal may have no effect.
        with suppress(subprocess.TimeoutExpired):
            trainer.wait(5)


def ensure(wanted: dict[str, Spec], store: Artefacts, device: str = "cpu") -> dict[str, Path]:
    """Train the models that do not exist yet, all at once, and return all folders.

    Each model has a process of its own, but seeds of one recipe for brackets or for a text, which are trained as one
    batched model.

    Args:
        wanted: name -> spec.
        store: the artefact store that holds the models.
        device: auto, cpu, cuda or cuda:N, where such seeds are trained; the other models are trained on the CPU.

    Returns:
        name -> folder in ``save_pretrained`` format.

    Raises:
        StoreError: the store cannot be written.
        ModelError: a training process failed.
    """
    missing = [name for name, spec in wanted.items() if store.find(KIND, spec.made_from()) is None]
    if missing:
        log.info("training %s once (a minute or more on two cores)", " and ".join(missing))
    together: dict[Any, list[str]] = {}
    for name in missing:
        spec = wanted[name]
        recipe = replace(spec, seed=0, checkpoint=None) if isinstance(spec, SEEDED) else name
        together.setdefault(recipe, []).append(name)
    trainers = {
        " and ".join(names): _start(store, {name: wanted[name] for name in names}, device, i)
        for i, names in enumerate(together.values())
    }
    try:
        answers = {name: trainer.communicate()[0] for name, trainer in trainers.items()}
    finally:
        for trainer in trainers.values():
            _stop(trainer)
    for name, trainer in trainers.items():
        if trainer.returncode == 0:
            continue
        if not answers[name]:
            raise ModelError(
                f"training {name} ended with exit code {trainer.returncode}; wanted 0: run the same command again"
            )
        kind, text = json.loads(answers[name])
        raise getattr(errors, kind)(text)
    return {name: store.path(KIND, spec.made_from()) for name, spec in wanted.items()}
