import random
import re

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from bridge.data.pairing import aligned_positions
from bridge.errors import DataError

WORDS = ["the", "café", "naïve", "Zürich", "Ærø", "dog's", "42", "don't", "cafe\u0301", "日本語", "Привет"]
WORDS += ["👩\u200d🚀", "🙂", "🙂🙃", "🇫🇷", "½", "—", "...", "hello,world", "x"]
SPACES = [" ", " ", " ", "  ", "   ", "\n", " \n\n", "\t"]


def _texts(n: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    texts = []
    for _ in range(n):
        parts = [chance.choice(WORDS) + chance.choice(SPACES) for _ in range(chance.randint(1, 12))]
        text = chance.choice(["", "", " ", "  "]) + "".join(parts)
        texts.append(text if chance.random() < 0.3 else text.rstrip())
    return texts


TEXTS = _texts(150, seed=1)


def _word_ends(text: str, tokenizer: PreTrainedTokenizerFast) -> dict[int, int]:
    """Where each word token ends, found by walking through the text without offsets."""
    ends, at = {}, 0
    for place, token in enumerate(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])):
        if token not in ("<s>", "</s>"):
            at = text.index(token, at) + len(token)
            ends[at] = place
    return ends


def _byte_ends(text: str, tokenizer: PreTrainedTokenizerFast) -> dict[int, int]:
    """Where the tokens up to each place decode to whole characters, found by decoding every prefix."""
    ends = {}
    ids = tokenizer(text)["input_ids"]
    for place, token in enumerate(ids):
        if token in tokenizer.all_special_ids:
            continue
        prefix = tokenizer.decode(ids[: place + 1], skip_special_tokens=True)
        if prefix and "\ufffd" not in prefix:
            assert text.startswith(prefix)
            ends[len(prefix)] = place
    return ends


def _with_the_end(ends: dict[int, int], text: str) -> dict[int, int]:
    return {end: place for end, place in ends.items() if end != max(ends)} | {len(text): ends[max(ends)]}


@pytest.mark.parametrize("trim_offsets", [False, True])
@pytest.mark.parametrize("special", [False, True])
def test_aligned_positions_have_read_the_same_text(word_level, byte_level, special, trim_offsets) -> None:
    source = word_level(TEXTS, bos=True, eos=special)
    target = byte_level(TEXTS, vocab_size=330, bos=special, eos=special, trim_offsets=trim_offsets)
    n_pairs = n_cut = 0
    for text in TEXTS:
        of_source, of_target = source(text)["input_ids"], target(text)["input_ids"]
        pairs = aligned_positions(text, source, target)
        n_pairs += len(pairs)
        for i, j in pairs:
            words = source.convert_ids_to_tokens(of_source[: i + 1], skip_special_tokens=True)
            prefix = target.decode(of_target[: j + 1], skip_special_tokens=True)
            n_cut += text[len(prefix) :].strip() != ""
            assert "\ufffd" not in prefix
            assert "".join(words) == "".join(prefix.split())
        assert pairs[-1] == (len(of_source) - 1 - special, len(of_target) - 1 - special)
        assert pairs == sorted(pairs)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        # nothing is left out: the naive way, without offsets, finds no pair more
        words_end = _with_the_end(_word_ends(text, source), text)
        bytes_end = _with_the_end(_byte_ends(text, target), text)
        assert pairs == [(words_end[end], bytes_end[end]) for end in sorted(words_end.keys() & bytes_end.keys())]
    assert n_pairs > 700
    assert n_cut > 500


def test_a_character_cut_into_bytes_is_aligned_at_its_last_byte(word_level, byte_level) -> None:
    source, target = word_level(["a 🙂 b"], bos=False), byte_level(["a"], vocab_size=260)
    assert len(target("a 🙂 b")["input_ids"]) == 8
    assert aligned_positions("a 🙂 b", source, target) == [(0, 0), (1, 5), (2, 7)]


def test_a_token_across_two_characters_leaves_no_boundary_between_them() -> None:
    letters = {"<unk>": 0, "é": 1}
    single = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    single.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    pieces = {"Ã": 0, "©": 1, "©Ã": 2}
    crossing = Tokenizer(models.BPE(pieces, [("©", "Ã")]))
    crossing.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    crossing.decoder = decoders.ByteLevel()
    source = PreTrainedTokenizerFast(tokenizer_object=single)
    target = PreTrainedTokenizerFast(tokenizer_object=crossing)
    assert target("éé")["input_ids"] == [0, 2, 1]
    assert aligned_positions("éé", source, target) == [(1, 2)]
    assert aligned_positions("éé", target, source) == [(2, 1)]


class Spans:
    """A tokenizer that is nothing but its offsets."""

    is_fast = True

    def __init__(self, *offsets: tuple[int, int]) -> None:
        self.offsets = list(offsets)

    def __call__(self, text: str, **_: object) -> dict[str, list]:
        return {"offset_mapping": self.offsets, "special_tokens_mask": [0] * len(self.offsets)}


def test_tokens_without_width_belong_to_the_text_read_before_them() -> None:
    letters = Spans((0, 1), (1, 2), (2, 3))
    assert aligned_positions("abc", letters, Spans((0, 0), (0, 1), (1, 1), (1, 3))) == [(0, 2), (2, 3)]


def test_a_later_token_that_reaches_back_leaves_no_boundary_under_it() -> None:
    letters = Spans((0, 1), (1, 2), (2, 3))
    assert aligned_positions("abc", letters, Spans((0, 1), (0, 2), (1, 2), (2, 3))) == [(1, 2), (2, 3)]
    assert aligned_positions("abc", letters, Spans((0, 1), (0, 2), (2, 3), (2, 3))) == [(1, 1), (2, 3)]
    assert aligned_positions("abc", letters, Spans((0, 1), (0, 1), (0, 2), (1, 2), (2, 3))) == [
        (1, 3),
        (2, 4),
    ]
    assert aligned_positions("abc", letters, Spans((0, 2), (2, 3), (1, 3))) == [(2, 2)]


def test_a_tokenizer_is_aligned_with_itself_everywhere(word_level) -> None:
    tokenizer = word_level(["one two three"])
    assert aligned_positions("one  two three ", tokenizer, tokenizer) == [(1, 1), (2, 2), (3, 3)]


class SlowTokenizer(PreTrainedTokenizer):
    vocab_size = 1

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0}

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return 0


def test_a_slow_tokenizer_is_refused_on_either_side(word_level) -> None:
    fast, slow = word_level(["a"]), SlowTokenizer()
    message = (
        "got SlowTokenizer, a slow tokenizer; wanted a fast one, as aligned positions need the characters of "
        "each token: load the fast tokenizer of the model, or use the last position"
    )
    for pair in ((fast, slow), (slow, fast)):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            aligned_positions("a", *pair)


def test_a_text_without_tokens_is_refused(word_level) -> None:
    tokenizer = word_level(["a"])
    with pytest.raises(DataError, match=r"^the text '  ' has no token; wanted at least one: leave it out$"):
        aligned_positions("  ", tokenizer, tokenizer)
