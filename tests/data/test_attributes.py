"""Invented nouns: what they are made of, what the small models read of them, and what they are asked."""

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from bridge.data.attributes import (
    ATTRIBUTES,
    N_DESCRIPTIONS,
    N_MEANINGS,
    N_NOUNS,
    WORDS,
    attribute_lines,
    describe,
    held_out_order,
    nouns,
)
from bridge.data.facts import relations
from bridge.data.rosetta import rosetta_set
from bridge.data.sources import Attributes
from bridge.data.splitting import split
from bridge.errors import DataError
from bridge.models.recipe import ZooSpec
from bridge.models.zoo import train_tokenizer

# Word -> the value that it says.
VALUE = {word: value for value, words in WORDS.items() for word in words}


def test_every_noun_has_a_name_and_values_of_its_own() -> None:
    assert len(nouns()) == N_NOUNS
    assert len({noun.name for noun in nouns()}) == N_NOUNS
    assert len({noun.values for noun in nouns()}) == N_NOUNS
    for noun in nouns():
        assert all(value in values for value, values in zip(noun.values, ATTRIBUTES.values(), strict=True))
        assert {name: noun.value(name) for name in ATTRIBUTES} == dict(zip(ATTRIBUTES, noun.values, strict=True))


def test_every_value_of_every_attribute_is_about_as_frequent_as_the_others() -> None:
    for name, values in ATTRIBUTES.items():
        counts = Counter(noun.value(name) for noun in nouns())
        assert counts.keys() == set(values)
        assert min(counts.values()) > N_NOUNS / len(values) * 0.7


def test_no_noun_is_a_word_of_the_facts_or_a_value() -> None:
    texts = [text for r in relations().values() for words in (*r.facts, r.templates) for text in words]
    known = set(" ".join(texts).lower().split()) | {word for words in WORDS.values() for word in words}
    assert not known & {noun.name for noun in nouns()}


def test_the_order_that_is_asked_is_never_trained_on() -> None:
    def order(words: list[str]) -> tuple[str, ...]:
        return tuple(VALUE[word] for word in words)

    # whatever word says a value
    trained = {(noun, order(text.split()[1:-3])) for text, noun in attribute_lines() if text.startswith("A ")}
    trained |= {(text.split()[1], order(values.split())) for text, values in attribute_lines() if text[:3] == "The"}
    asked = {(item.answer, order(item.prompt.split()[1:-3])) for item in Attributes().load()}
    assert (len(trained), len(asked)) == (N_NOUNS * N_DESCRIPTIONS, N_NOUNS)
    assert not trained & asked


def test_a_noun_is_read_both_ways_in_several_orders() -> None:
    lines = attribute_lines()
    noun = nouns()[7]
    described = [prompt for prompt, answer in lines if answer == noun.name]
    meant = [answer for prompt, answer in lines if prompt == f"The {noun.name} is"]
    assert (len(set(described)), len(set(meant))) == (N_DESCRIPTIONS, N_MEANINGS)
    assert len(lines) == N_NOUNS * (N_DESCRIPTIONS + N_MEANINGS)
    for words in [*(prompt.split()[1:-3] for prompt in described), *(answer.split() for answer in meant)]:
        assert sorted(VALUE[word] for word in words) == sorted(noun.values)
    assert all(a != b for a, b in pairwise(described))


def test_nouns_are_the_same_in_every_process() -> None:
    code = "from bridge.data.attributes import *; print([(n.name, held_out_order(n)) for n in nouns()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{[(n.name, held_out_order(n)) for n in nouns()]}\n"


def test_every_noun_is_one_token_in_both_tokenizers() -> None:
    vocab_size = ZooSpec().vocab_size
    kept = rosetta_set(Attributes().load(), *(train_tokenizer(kind, vocab_size) for kind in ("word", "bpe")))
    assert kept.coverage == {"loaded": N_NOUNS, "kept": N_NOUNS}


def test_an_item_asks_for_a_noun_by_its_values() -> None:
    for noun, item in zip(nouns(), Attributes().load(), strict=True):
        assert (item.answer, item.subject, item.relation) == (noun.name, noun.name, noun.value("color"))
        words = item.prompt.split()[1:-3]
        assert item.prompt == describe(words)
        assert tuple(VALUE[word] for word in words) == held_out_order(noun)


def test_each_value_has_two_words_and_both_are_read_and_asked_about_equally_often() -> None:
    assert list(WORDS) == [value for values in ATTRIBUTES.values() for value in values]
    assert len(VALUE) == 2 * len(WORDS) == 48
    for prompts in ([prompt for prompt, _ in attribute_lines()], [item.prompt for item in Attributes().load()]):
        counts = Counter(word for prompt in prompts for word in prompt.split() if word in VALUE)
        for one, other in WORDS.values():
            assert 0.6 < counts[one] / counts[other] < 1.6, one


def test_words_apart_share_no_word_between_their_relations() -> None:
    items = Attributes(words="apart").load()
    parts = split(items, by="relation", eval_fraction=0.5)
    sides = [[items[i] for i in some.tolist()] for some in (parts.fit, parts.eval)]
    assert [len(side) for side in sides] == [N_NOUNS // 2] * 2
    for item in items:
        first = item.relation == "first words"
        assert first or item.relation == "second words"
        assert {(word in WORDS) == first for word in item.prompt.split()[1:-3]} == {True}
    words = [{word for item in side for word in item.prompt.split()[1:-3]} for side in sides]
    assert len(words[0]) == len(words[1]) == 24
    assert not words[0] & words[1]
    assert {VALUE[word] for word in words[0]} == {VALUE[word] for word in words[1]} == set(WORDS)
    for noun, item in zip(nouns(), items, strict=True):
        assert tuple(VALUE[word] for word in item.prompt.split()[1:-3]) == held_out_order(noun)


def test_values_can_be_missing_from_the_description() -> None:
    for whole, item in zip(Attributes().load(), Attributes(n_missing=2).load(), strict=True):
        assert whole.prompt.split()[1:5] == item.prompt.split()[1:5]
        assert item.prompt.split()[5:] == ["thing", "is", "a"]
    assert Attributes(n_missing=2).describe() == "attributes (2 values missing)"
    assert Attributes(n_missing=1, words="apart").describe() == "attributes (words apart, 1 value missing)"


def test_split_by_relation_holds_out_whole_values_and_their_combinations() -> None:
    items = Attributes(relation=["color", "shape"]).load()
    parts = split(items, by="relation", eval_fraction=0.25)
    fit, held = ({items[i].relation for i in some.tolist()} for some in (parts.fit, parts.eval))
    assert len(held) == 4
    assert not fit & held
    assert len(fit | held) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relation": ["colour"]}, "got the attribute 'colour'; wanted some of color, size, shape"),
        ({"n_missing": 6}, "got n_missing=6; wanted 0 to 5"),
        ({"n_missing": -1}, "got n_missing=-1; wanted 0 to 5"),
        ({"words": "none"}, "got words=none; wanted both or apart"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Attributes(**options).load()
