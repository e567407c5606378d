"""The tokens of answers against two other ways to find them: the tokens that follow the prompt's, and decoding."""

import itertools

import pytest
from tokenizer_kinds import ITEMS, KINDS, ODD, WORD_BY_WORD, tokenizer_of
from transformers import PreTrainedTokenizer

from bridge.data.items import Item
from bridge.data.pairing import aligned_contexts, aligned_positions
from bridge.data.placing import Placed, placed
from bridge.data.rosetta import rosetta_set
from bridge.models.encoding import encode


def together(item):
    """Prompt and answer as one text."""
    touching = item.prompt[-1].isspace() or item.answer[0].isspace()
    return item.prompt + ("" if touching else " ") + item.answer.rstrip()


def following(item, tokenizer):
    """The tokens of the prompt and those that the answer adds, or None where it changes the prompt's."""
    short, long = encode(tokenizer, [item.prompt, together(item)])
    return (tuple(short), long[len(short) :]) if long[: len(short)] == short else None


def places(items, tokenizer):
    return placed([(item.prompt, item.answer) for item in items], tokenizer)


@pytest.mark.parametrize("kind", WORD_BY_WORD)
def test_where_nothing_merges_the_context_is_the_prompt_and_the_gold_what_the_answer_adds(kind):
    tokenizer = tokenizer_of(kind)
    n_alone = 0
    for item, place in zip(ITEMS + ODD, places(ITEMS + ODD, tokenizer), strict=True):
        context, gold = following(item, tokenizer)
        if not tokenizer.convert_ids_to_tokens(gold[0]).strip("▁Ġ"):
            # the space between prompt and answer is a token of its own, and no character of the answer
            context, gold, n_alone = (*context, gold[0]), gold[1:], n_alone + 1
        assert (place.context, place.gold) == (context, gold), item
        assert not place.prompt_changes
    assert n_alone < (150 if kind == "unigram" else 5)


@pytest.mark.parametrize("kind", KINDS)
def test_context_and_gold_are_the_whole_text_and_the_gold_is_its_shortest_end_with_the_answer(kind):
    tokenizer = tokenizer_of(kind)
    unknown = tokenizer.unk_token_id
    n_checked = 0
    for item, place in zip(ITEMS + ODD, places(ITEMS + ODD, tokenizer), strict=True):
        ids = encode(tokenizer, [together(item)])[0]
        assert [*place.context, *place.gold] == ids
        if unknown in place.gold:
            continue
        ends = [tokenizer.decode(ids[at:], clean_up_tokenization_spaces=False) for at in range(len(ids))]
        last = max(at for at, end in enumerate(ends) if end.endswith(item.answer.strip()))
        assert len(place.context) == last, item
        n_checked += 1
    assert n_checked > 800


def test_an_answer_that_changes_the_last_token_of_the_prompt_keeps_its_item():
    source, target = tokenizer_of("zoo_word"), tokenizer_of("ends_in_space")
    n_following = sum(following(item, target) is not None for item in ITEMS)
    kept = rosetta_set(ITEMS, source, target)
    assert n_following == 0
    assert kept.coverage["kept"] >= 930
    for item, context, gold in zip(kept.items, kept.contexts_target, kept.gold_target.tolist(), strict=True):
        assert target.decode(context, skip_special_tokens=True) == f"{item.prompt} "
        assert target.decode([gold]) == item.answer
    assert kept.contexts_source == [tuple(row) for row in encode(source, [item.prompt for item in kept.items])]


def test_an_answer_that_is_one_token_with_the_end_of_the_prompt_is_read_before_that_token():
    tokenizer = tokenizer_of("byte_level_trimmed")
    merging = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>")
    merging.add_tokens(["is Paris"])
    item = Item("The capital of France is", "Paris")
    [place] = places([item], merging)
    assert merging.decode(place.context) == "<s>The capital of France "
    assert merging.convert_ids_to_tokens(place.gold) == ["is Paris"]
    alone, spaced = places([Item("is", "Paris"), Item(" is", "Paris")], merging)
    assert alone == Placed((), place.gold)
    assert merging.decode(spaced.context) == "<s> "


@pytest.mark.parametrize("around", ["$A", "<s> $A </s>", "$A </s>", "<s> </s> $A </s> <s>"])
def test_tokens_around_a_text_are_never_gold_and_those_in_front_are_read(around):
    plain = places(ITEMS[:50], tokenizer_of("byte_fallback", "$A"))
    front = encode(tokenizer_of("byte_fallback", around.split("$A")[0] + "$A"), [""])[0]
    for one, other in zip(plain, places(ITEMS[:50], tokenizer_of("byte_fallback", around)), strict=True):
        assert other == Placed((*front, *one.context), one.gold)


@pytest.mark.parametrize("kind", ["zoo_bpe", "byte_fallback", "byte_level_trimmed"])
def test_where_nothing_merges_aligned_contexts_are_the_aligned_positions_of_the_prompts(kind):
    source, target = tokenizer_of("zoo_word"), tokenizer_of(kind)
    kept = rosetta_set(ITEMS[::5], source, target)
    assert aligned_contexts(kept, source, target) == [aligned_positions(i.prompt, source, target) for i in kept.items]


@pytest.mark.parametrize("kind", ["ends_in_space", "across_words"])
def test_aligned_contexts_have_read_the_same_text_and_end_just_before_the_answer(kind):
    source, target = tokenizer_of("zoo_bpe"), tokenizer_of(kind)
    kept = rosetta_set(ITEMS[::5], source, target)
    assert len(kept.items) > 150
    for k, pairs in enumerate(aligned_contexts(kept, source, target)):
        of_source, of_target = kept.contexts_source[k], kept.contexts_target[k]
        assert pairs[-1] == (len(of_source) - 1, len(of_target) - 1)
        assert all(a < b and c < d for (a, c), (b, d) in itertools.pairwise(pairs))
        for i, j in pairs if kind == "ends_in_space" else pairs[:-1]:
            read = [
                tokenizer.decode(ids[: at + 1], skip_special_tokens=True)
                for tokenizer, ids, at in ((source, of_source, i), (target, of_target, j))
            ]
            assert read[0].rstrip() == read[1].rstrip()


def test_nothing_asked_is_nothing_placed():
    assert placed([], tokenizer_of("zoo_word")) == []


class SlowTokenizer(PreTrainedTokenizer):
    """Words, of which one is another word at the end of a text than before others."""

    words = ("<unk>", "a", "b", "b.", "c")
    vocab_size = 5

    def get_vocab(self):
        return {word: at for at, word in enumerate(self.words)}

    def _tokenize(self, text, **_):
        words = text.split()
        return [*words[:-1], "b." if words[-1] == "b" else words[-1]]

    def _convert_token_to_id(self, token):
        return self.words.index(token) if token in self.words else 0


def test_without_offsets_the_gold_is_what_follows_the_prompt_and_a_prompt_that_changes_is_dropped(word_level):
    slow = SlowTokenizer(unk_token="<unk>")
    items = [Item("a a", "c"), Item("a b", "c"), Item("a c", "b"), Item("c c", "z")]
    assert [(p.context, p.gold, p.prompt_changes) for p in places(items, slow)] == [
        ((1, 1), [4], False),
        ((1, 3), [4], True),
        ((1, 4), [3], False),
        ((4, 4), [0], False),
    ]
    fast = word_level(["a b c z"])
    kept = rosetta_set(items, slow, fast)
    assert kept.items == [items[0], items[2]]
    assert kept.coverage == {
        "loaded": 4,
        "kept": 2,
        "prompt_tokens_change_in_source": 1,
        "unknown_token_in_source": 1,
    }
    assert rosetta_set(items, fast, slow).coverage["prompt_tokens_change_in_target"] == 1
    assert rosetta_set(items, slow, slow).coverage["prompt_tokens_change_in_both"] == 1
