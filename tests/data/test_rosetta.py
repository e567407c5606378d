import re

import pytest
import torch
from tokenizers import normalizers

from bridge.data.items import Item, fingerprint
from bridge.data.rosetta import describe_coverage, rosetta_set
from bridge.data.sources import Facts
from bridge.errors import DataError
from bridge.models.encoding import encode

PROMPTS = ["The capital of France is", "The capital of Spain is", "Ask: the capital of Italy?\n"]
WORDS = "The the capital of France Spain Italy is Ask : ? Paris Madrid Rome"


def test_gold_is_the_one_token_that_the_answer_adds_in_each_tokenizer(word_level, byte_level) -> None:
    items = [Item(prompt, answer) for prompt, answer in zip(PROMPTS, ("Paris", " Madrid", "Rome "), strict=True)]
    source = word_level([WORDS])
    target = byte_level([f"{WORDS} Paris Madrid Rome \nRome \nRome"] * 5, vocab_size=500)
    kept = rosetta_set(items, source, target)
    assert kept.items == items
    assert source.batch_decode(kept.gold_source[:, None]) == ["Paris", "Madrid", "Rome"]
    assert target.batch_decode(kept.gold_target[:, None]) == [" Paris", " Madrid", "Rome"]
    assert kept.gold_source.dtype == kept.gold_target.dtype == torch.long
    assert kept.coverage == {"loaded": 3, "kept": 3}
    assert kept.contexts_source == [tuple(ids) for ids in encode(source, PROMPTS)]
    assert kept.contexts_target == [tuple(ids) for ids in encode(target, PROMPTS)]


def test_an_end_token_that_a_tokenizer_adds_does_not_hide_the_answer(word_level) -> None:
    items = [Item(PROMPTS[0], "Paris"), Item(PROMPTS[1], "Madrid")]
    plain = rosetta_set(items, word_level([WORDS]), word_level([WORDS]))
    ended = rosetta_set(items, word_level([WORDS], eos=True), word_level([WORDS], bos=False, eos=True))
    assert ended.gold_source.equal(plain.gold_source)
    assert ended.gold_target.equal(plain.gold_target)
    assert (ended.gold_source > 2).all()


def test_coverage_counts_every_reason_once(word_level) -> None:
    source = word_level([f"{WORDS} Lisbon"])
    target = word_level([f"{WORDS} Oslo"])
    items = [
        Item(PROMPTS[0], "Paris"),
        Item(PROMPTS[0], " "),
        Item(" ", "Paris"),
        Item(PROMPTS[0], "Madrid"),
        Item("The capital of Portugal is", "Lisbon"),
        Item("The capital of Norway is", "Oslo"),
        Item("The capital of Peru is", "Lima"),
        Item("The capital of Chad is", "New Rome"),
        Item(PROMPTS[1], "Madrid"),
    ]
    kept = rosetta_set(items, source, target)
    assert kept.items == [items[0], items[8]]
    assert kept.coverage == {
        "loaded": 9,
        "kept": 2,
        "empty": 2,
        "duplicate_prompt": 1,
        "unknown_token_in_target": 1,
        "unknown_token_in_source": 1,
        "unknown_token_in_both": 1,
        "one_token_in_neither": 1,
    }
    assert describe_coverage(kept.coverage) == (
        "2 of 9 items kept; dropped: 2 empty, 1 duplicate prompt, 1 unknown token in target, "
        "1 unknown token in source, 1 unknown token in both, 1 one token in neither"
    )


ROMES = Item("Ask: the capital of Italy?", "Rome Rome")


@pytest.mark.parametrize(
    ("item", "answers", "reason", "turned_reason"),
    [
        (Item(PROMPTS[0], "Paris"), "any", None, None),
        (ROMES, "any", None, None),
        (ROMES, "one_token", "one_token_in_neither", "one_token_in_neither"),
        (Item(PROMPTS[0], "Rom"), "one_token", "not_one_token_in_target", "not_one_token_in_source"),
        (Item(PROMPTS[0], "Rom"), "any", None, None),
        (Item(PROMPTS[0], "Lutetia"), "one_token", "unknown_token_in_source", "not_one_token_in_source"),
        (Item(PROMPTS[0], "Lutetia"), "any", "unknown_token_in_source", "unknown_token_in_target"),
        (Item(PROMPTS[0], "Lutetia, Rom"), "one_token", "one_token_in_neither", "one_token_in_neither"),
        (Item(PROMPTS[0], "Rome " * 16), "any", None, None),
        (Item(PROMPTS[0], "Rome " * 17), "any", "more_than_16_tokens_in_both", "more_than_16_tokens_in_both"),
        (Item(PROMPTS[0], "Rom " * 12), "any", "more_than_16_tokens_in_target", "more_than_16_tokens_in_source"),
    ],
)
def test_what_is_dropped_is_counted_under_its_reason(
    word_level, byte_level, item, answers, reason, turned_reason
) -> None:
    source, target = word_level([f"{WORDS} Rom"]), byte_level([f"{WORDS} Rome Rome Rome"] * 5, 500)
    other = Item(PROMPTS[1], "Rome")
    kept = rosetta_set([item, other], source, target, answers)
    turned = rosetta_set([item, other], target, source, answers)
    for coverage, why in ((kept.coverage, reason), (turned.coverage, turned_reason)):
        assert coverage == ({"loaded": 2, "kept": 1, why: 1} if why else {"loaded": 2, "kept": 2})


def test_an_answer_that_a_tokenizer_reads_as_nothing_has_no_token(byte_level) -> None:
    nothing = byte_level([WORDS], 500)
    nothing.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    items = [Item(PROMPTS[0], "\u200b"), Item(PROMPTS[1], "Rome")]
    for answers, reason in (("any", "no_answer_token_in_both"), ("one_token", "one_token_in_neither")):
        assert rosetta_set([*items, Item("a", "a")], nothing, nothing, answers).coverage[reason] == 1


def test_an_answer_that_begins_with_the_prompt_has_nothing_before_it(word_level) -> None:
    plain, merging = word_level([f"{WORDS} Again"]), word_level([f"{WORDS} Again"])
    merging.add_tokens(["Again Rome", "is Paris"])
    items = [Item("Again", "Rome"), Item(PROMPTS[0], "Paris")]
    for pair, where in (((plain, merging), "target"), ((merging, plain), "source"), ((merging, merging), "both")):
        kept = rosetta_set(items, *pair)
        assert kept.items == [items[1]]
        assert kept.coverage == {"loaded": 2, "kept": 1, f"no_token_before_the_answer_in_{where}": 1}


def test_items_that_both_models_read_alike_are_duplicates_whatever_their_prompts(word_level, byte_level) -> None:
    items = [Item("The capital  of France is", "Paris"), Item(PROMPTS[0], "Rome"), Item(PROMPTS[1], "Rome")]
    source, target = word_level([WORDS]), byte_level([WORDS] * 5, 500)
    assert rosetta_set(items, source, source).items == [items[0], items[2]]
    assert rosetta_set(items, source, source).coverage["duplicate_prompt"] == 1
    assert rosetta_set(items, source, target, "any").items == items
    source.add_tokens(["is Paris"])
    twice = [Item(PROMPTS[0], "Paris"), Item(PROMPTS[0], "Rome"), items[2]]
    assert rosetta_set(twice, source, source).items == [twice[0], twice[2]]


def test_a_space_at_the_end_of_a_prompt_that_the_answer_swallows_is_not_read_before_it(byte_level) -> None:
    tokenizer = byte_level(["The capital of France is Paris   "] * 5)
    one_space, two_spaces = (Item(f"The capital of France is{end}", "Paris") for end in (" ", "  "))
    kept = rosetta_set([one_space, two_spaces], tokenizer, tokenizer)
    assert kept.items == [one_space, two_spaces]
    assert tokenizer.batch_decode(kept.contexts_source) == ["The capital of France is", one_space.prompt]
    assert tokenizer.batch_decode(kept.gold_source[:, None]) == [" Paris", " Paris"]


def test_no_usable_item_says_what_fell_out_and_what_to_do(word_level) -> None:
    tokenizer = word_level([WORDS])
    items = [Item(PROMPTS[0], "Lutetia"), Item(PROMPTS[1], "")]
    message = (
        "no usable item (0 of 2 items kept; dropped: 1 empty, 1 unknown token in both); wanted answers that "
        "are one known token in both tokenizers: use shorter, commoner answers, or choose another data set"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        rosetta_set(items, tokenizer, tokenizer)
    with pytest.raises(DataError, match=r"^no usable item \(0 of 0 items kept\); wanted"):
        rosetta_set([], tokenizer, tokenizer)


def test_the_built_in_facts_are_usable_with_a_word_level_and_a_byte_level_tokenizer(word_level, byte_level) -> None:
    items = Facts().load()
    texts = [f"{item.prompt} {item.answer}" for item in items] + [f" {item.answer}" for item in items] * 3
    kept = rosetta_set(items, word_level(texts), byte_level(texts, vocab_size=2_000))
    assert kept.coverage["loaded"] == 947
    assert kept.coverage["kept"] >= 930


def test_a_fingerprint_changes_with_every_field_and_with_the_order() -> None:
    item = Item("a", "b", "c", "d")
    changed = [
        Item("x", "b", "c", "d"),
        Item("a", "x", "c", "d"),
        Item("a", "b", "x", "d"),
        Item("a", "b", "c", "x"),
    ]
    prints = [fingerprint([other]) for other in [item, *changed, Item("ab", "", "c", "d")]]
    prints += [fingerprint([]), fingerprint([item, changed[0]]), fingerprint([changed[0], item])]
    assert len(set(prints)) == 9
    assert fingerprint([Item("a", "b", "c", "d")]) == prints[0]
    assert re.fullmatch("[0-9a-f]{64}", prints[0])
