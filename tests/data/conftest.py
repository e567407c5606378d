import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bridge.data.items import Item

sys.path.insert(0, str(Path(__file__).parent))

Build = Callable[..., PreTrainedTokenizerFast]
SPECIAL = ["<unk>", "<s>", "</s>"]


def _finished(tokenizer: Tokenizer, bos: bool, eos: bool, unk: bool) -> PreTrainedTokenizerFast:
    if bos or eos:
        single = ("<s> " if bos else "") + "$A" + (" </s>" if eos else "")
        ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        steps = [processors.TemplateProcessing(single=single, special_tokens=ids)]
        if tokenizer.post_processor is not None:
            steps.insert(0, tokenizer.post_processor)
        tokenizer.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>" if unk else None,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def word_level() -> Build:
    """Words and punctuation, each one token; what was not in the texts is unknown."""

    def build(texts: Iterable[str], bos: bool = True, eos: bool = False) -> PreTrainedTokenizerFast:
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(vocab_size=10_000, special_tokens=SPECIAL, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        return _finished(tokenizer, bos, eos, unk=True)

    return build


@pytest.fixture(scope="session")
def byte_level() -> Build:
    """Byte-level BPE with leading spaces inside the tokens; a small vocabulary cuts characters into bytes."""

    def build(
        texts: Iterable[str],
        vocab_size: int = 400,
        bos: bool = False,
        eos: bool = False,
        trim_offsets: bool = False,
    ) -> PreTrainedTokenizerFast:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets, add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return _finished(tokenizer, bos, eos, unk=False)

    return build


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data files beside the repository, for tests that want to see some."""
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("There is no folder ../shared/data with real data files beside the repository.")
    return folder


@pytest.fixture
def numbers() -> list[Item]:
    """Sixty items, six answers, four relations, each answer in every relation or so."""
    return [Item(f"number {i} is", f"word{i % 6}", f"relation{i % 4}", f"subject{i // 3}") for i in range(60)]
