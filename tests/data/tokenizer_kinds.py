"""Tokenizers of the kinds that published models come with, trained here on the built-in facts."""

import functools

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bridge.data.items import Item
from bridge.data.sources import Facts
from bridge.models.zoo import train_tokenizer

SPECIAL = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
ITEMS = Facts().load()
TEXTS = [f"{item.prompt} {item.answer}" for item in ITEMS] + [f" {item.answer}" for item in ITEMS] * 4
ODD = [
    Item("In 1905 the number is", "1963"),
    Item("The mood is", "🙂"),
    Item("Zürich lies in", "Ærø"),
    Item("One says", "naïve café"),
    Item("The  spaces   are", "wide"),
    Item("Ask: the capital of Italy?\n", "Rome"),
    Item("A quote: ", '"Paris"'),
    Item("He said (", "Rome)."),
    Item("東京は", "日本"),
    Item("The answer\tis\t", " Madrid "),
]


def _byte_level(ignore_merges: bool = False, trim_offsets: bool = False) -> Tokenizer:
    """As in GPT-2, Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=SPECIAL[:3],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.model.ignore_merges = ignore_merges
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    return tokenizer


def _byte_fallback() -> Tokenizer:
    """As in Llama 2 and Mistral: spaces become a sign, and what is not known becomes bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # without a pre-tokenizer merges would cross words here; the real ones have learnt none that do
    learning = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    learning.normalizer = tokenizer.normalizer
    learning.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    learning.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=2000, special_tokens=SPECIAL, show_progress=False)
    )
    tokenizer.model = learning.model
    return tokenizer


def _unigram() -> Tokenizer:
    """As in T5 and Gemma."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=1200, special_tokens=SPECIAL[:3], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _ends_in_space() -> Tokenizer:
    """A token ends in the space behind it, so that an answer changes the last token of the prompt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "merged_with_previous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=SPECIAL[:3],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.strip() for text in TEXTS], trainer)
    return tokenizer


def _across_words() -> Tokenizer:
    """Whole phrases are tokens: the end of the prompt and the answer may be one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=SPECIAL[:3],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS[: len(ITEMS)], trainer)
    return tokenizer


KINDS = {
    "byte_level": _byte_level,
    "byte_level_whole_words": functools.partial(_byte_level, ignore_merges=True),
    "byte_level_trimmed": functools.partial(_byte_level, trim_offsets=True),
    "byte_fallback": _byte_fallback,
    "unigram": _unigram,
    "ends_in_space": _ends_in_space,
    "across_words": _across_words,
}
WORD_BY_WORD = ["zoo_word", "zoo_bpe", *list(KINDS)[:5]]


@functools.cache
def tokenizer_of(kind: str, around: str = "<s> $A") -> PreTrainedTokenizerFast:
    """One tokenizer of a kind; those of the zoo are as bridge trains them."""
    if kind.startswith("zoo_"):
        return train_tokenizer(kind.removeprefix("zoo_"), 2600)
    tokenizer = KINDS[kind]()
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    steps = [processors.TemplateProcessing(single=around, special_tokens=ids)]
    if tokenizer.post_processor is not None:
        steps.insert(0, tokenizer.post_processor)
    tokenizer.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>" if kind in ("byte_fallback", "unigram") else None,
        clean_up_tokenization_spaces=False,
    )
