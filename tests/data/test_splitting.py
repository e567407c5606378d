"""Splits: whole groups are held out, and what is known and which items are one unit is said of the items as drawn."""

import re
from collections import Counter

import pytest

from bridge.data.items import Item
from bridge.data.splitting import labels, numbered, split
from bridge.errors import DataError


def uneven() -> list[Item]:
    """Ten answers, of which answer i has 1 + 3i items."""
    return [Item(f"{i} {k} is", f"answer{i}", "r", f"{i} {k}") for i in range(10) for k in range(1 + 3 * i)]


def names(items: list[Item], indices: list[int], by: str) -> set[str]:
    return {labels(items, by)[i] for i in indices}


@pytest.mark.parametrize("by", ["item", "answer", "subject", "relation"])
@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_on_both_sides(numbers, by, seed) -> None:
    once = [Item(item.prompt, item.answer, item.relation, f"{i}") for i, item in enumerate(numbers)]
    items = once if by == "item" else numbers
    parts = split(items, by=by, seed=seed)
    fit, held = parts.fit.tolist(), parts.eval.tolist()
    assert not names(items, fit, by) & names(items, held, by)
    assert sorted(fit + held) == list(range(len(items)))
    assert sorted(fit) == parts.pool.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_a_share_of_the_groups_is_held_out_whatever_the_number_of_their_items(seed) -> None:
    items = uneven()
    parts = split(items, by="answer", eval_fraction=0.4, seed=seed)
    assert len(names(items, parts.eval.tolist(), "answer")) == 4
    assert len(names(items, parts.pool.tolist(), "answer")) == 6
    nearly_all = split(items, by="answer", eval_fraction=0.99, seed=seed)
    nearly_none = split(items, by="answer", eval_fraction=0.01, seed=seed)
    assert len(names(items, nearly_all.pool.tolist(), "answer")) == 1
    assert len(names(items, nearly_none.eval.tolist(), "answer")) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_number_of_eval_items_is_drawn_across_the_groups_and_the_rest_is_not_fitted_on(seed) -> None:
    items = uneven()
    whole = split(items, by="answer", seed=seed)
    groups = Counter(items[i].answer for i in whole.eval.tolist())
    for eval_size in (1, 3, 9, len(whole.eval)):
        parts = split(items, by="answer", eval_size=eval_size, seed=seed)
        drawn = Counter(items[i].answer for i in parts.eval.tolist())
        assert drawn.total() == eval_size
        assert set(parts.eval.tolist()) <= set(whole.eval.tolist())
        assert parts.pool.equal(whole.pool)
        # a group has fewer items than another one only where it has no more
        most = max(drawn.values())
        assert all(n >= min(most - 1, size) for n, size in ((drawn[name], groups[name]) for name in groups))


def test_the_evaluation_does_not_depend_on_the_size_and_fits_are_nested(numbers) -> None:
    whole = split(numbers, by="subject", seed=3)
    for size in (1, 7, 20):
        part = split(numbers, by="subject", size=size, seed=3)
        assert part.eval.equal(whole.eval)
        assert part.fit.equal(whole.fit[:size])
        assert part.pool.equal(whole.pool)
    assert not split(numbers, by="subject", seed=4).eval.equal(whole.eval)
    assert not split(numbers, by="subject", seed=4).fit.equal(whole.fit)


def test_what_is_known_is_that_of_the_fit_as_drawn_and_not_of_the_pool(numbers) -> None:
    answers = [item.answer for item in numbers]
    few = split(numbers, by="subject", size=2, seed=1)
    fitted = {answers[i] for i in few.fit.tolist()}
    assert few.known(answers).tolist() == [answers[i] in fitted for i in few.eval.tolist()]
    assert 0 < int(few.known(answers).sum()) < len(few.eval)
    assert split(numbers, by="subject", seed=1).known(answers).all()
    assert not split(numbers, by="answer", seed=1).known(answers).any()


def test_an_answer_can_be_new_though_its_first_token_is_known() -> None:
    items = [Item(f"{i} is", f"answer{i}") for i in range(10)]
    parts = split(items, by="answer", seed=0)
    # as with "New York" and "New Delhi", every answer of which begins with one of two tokens
    assert parts.known([i % 2 for i in range(10)]).all()
    assert not parts.known([item.answer for item in items]).any()


def test_answers_are_compared_without_outer_space_but_with_case() -> None:
    items = [Item("1", "Rome"), Item("2", " Rome"), Item("3", "rome"), Item("4", "rome ")]
    for seed in range(8):
        parts = split(items, by="answer", eval_fraction=0.5, seed=seed)
        assert sorted(parts.eval.tolist()) in ([0, 1], [2, 3])
    assert labels(items, "answer") == ["Rome", "Rome", "rome", "rome"]


def test_a_fact_is_a_subject_in_a_relation() -> None:
    items = [Item("a", "x", "r", "s"), Item("b", "x", "r ", " s"), Item("c", "x", "q", "s"), Item("d", "x", "r", "t")]
    assert numbered(labels(items, "fact")).tolist() == [1, 1, 0, 2]
    assert numbered(labels(items, "subject")).tolist() == [0, 0, 0, 1]
    assert numbered(labels(items, "answer")).tolist() == [0, 0, 0, 0]
    assert numbered(labels(items, "item")).tolist() == [0, 1, 2, 3]


def test_facts_asked_in_several_wordings_are_not_split_by_item() -> None:
    # two wordings of one fact, as a JSON file may have them
    twice = [Item(f"{word} {i} is", f"a{i}", "r", f"s{i}") for i in range(6) for word in ("That", "What")]
    text = (
        "got 12 items that ask a fact that another item asks too, and split by item can put one fact on both sides; "
        "wanted a split that keeps a fact together: give dataset.split.by=subject or answer"
    )
    with pytest.raises(DataError, match=f"^{re.escape(text)}$"):
        split(twice)
    for by in ("subject", "answer"):
        parts = split(twice, by=by)
        assert not names(twice, parts.fit.tolist(), "fact") & names(twice, parts.eval.tolist(), "fact")
    # a subject in two relations is two facts
    split([Item(f"{i} {r}", "a", r, f"s{i}") for i in range(6) for r in ("p", "q")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"size": 37, "by": "subject"},
            "got a data set size of 37; wanted 1 to 36, as that many of 60 items are left to fit on after 24 went to "
            "the evaluation: ask for fewer, evaluate on fewer, or give more data",
        ),
        (
            {"size": 0, "by": "subject"},
            "got a data set size of 0; wanted 1 to 36, as that many of 60 items are left to fit on",
        ),
        (
            {"eval_size": 25, "by": "subject"},
            "got an evaluation size of 25; wanted 1 to 24, as that many of 60 items can be evaluated on when split by "
            "subject with eval_fraction=0.4: ask for fewer, hold out more, or give more data",
        ),
        ({"eval_size": 0, "by": "subject"}, "got an evaluation size of 0; wanted 1 to "),
        ({"eval_fraction": 1.0}, "got eval_fraction=1.0; wanted a number between 0 and 1: change it"),
        (
            {"by": "colour"},
            "got split by 'colour'; wanted one of item, answer, subject, relation: change dataset.split.by",
        ),
        ({"by": "fact"}, "got split by 'fact'; wanted one of item, answer, subject, relation: change dataset.split.by"),
    ],
)
def test_a_split_that_cannot_be_made_says_both_numbers(numbers, arguments, message) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        split(numbers, **arguments)


def test_items_without_a_group_or_in_one_group_cannot_be_split() -> None:
    message = (
        "item 1 ('c\\nd') has no subject, so the items cannot be grouped by subject; wanted one for every item: "
        "fill in 'subject', or split by item or answer"
    )
    nameless = [Item("a", "b", subject="s"), Item("c\nd", "e", subject=" ")]
    for grouped in (lambda: split(nameless, by="subject"), lambda: labels(nameless, "subject")):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            grouped()
    one = "got 2 items in 1 group(s) when split by answer; wanted at least two groups, one to fit on and one to"
    with pytest.raises(DataError, match=f"^{re.escape(one)}"):
        split([Item("a", "b"), Item("c", "b")], by="answer")
    with pytest.raises(DataError, match=re.escape("got 0 items in 0 group(s)")):
        split([])
    with pytest.raises(DataError, match=r"^got groups by 'colour'; wanted one of item, answer, subject, relation, "):
        labels(nameless, "colour")


def test_labels_are_numbered_in_the_order_of_their_names() -> None:
    assert numbered(["b", "a", "c", "a"]).tolist() == [1, 0, 2, 0]
    assert numbered([]).tolist() == []
