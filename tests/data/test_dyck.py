"""Dyck-3 strings and their labels, against a parser that reads one string at a time."""

import numpy as np
import pytest

from bridge.data.dyck import (
    BOS,
    CLOSING,
    EOS,
    HELD_OUT,
    LONG,
    MAX_DEPTH,
    NO_LABEL,
    OPENING,
    PAD,
    Strings,
    generate,
    held_out,
    label,
    nests_held_out,
)

PAIRS = dict(zip(CLOSING, OPENING, strict=True))
CLOSERS = {opening: closing for closing, opening in PAIRS.items()}


def parsed(row: list[int]) -> list[tuple[int, int, int]]:
    """Bracket, depth and validity after every token of one string, by a stack."""
    stack: list[int] = []
    valid, known = True, []
    for token in row:
        if token == PAD:
            known.append((NO_LABEL,) * 3)
            continue
        if token in CLOSERS:
            stack.append(token)
            valid &= len(stack) <= MAX_DEPTH
        elif token in PAIRS:
            valid &= bool(stack) and stack[-1] == PAIRS[token]
            stack = stack[:-1]
        elif token == EOS:
            valid &= not stack
        known.append((CLOSERS[stack[-1]] if valid and stack else NO_LABEL, len(stack) if valid else NO_LABEL, valid))
    return known


@pytest.fixture(scope="module")
def strings() -> Strings:
    return generate(3000, np.random.default_rng(0))


def test_labels_are_those_of_a_parser_with_a_stack(strings: Strings) -> None:
    known = label(strings)
    table = np.stack([known.bracket, known.depth, known.validity], axis=2)
    assert [parsed(row) for row in strings.ids.tolist()] == [[tuple(x) for x in row] for row in table.tolist()]


def test_a_string_is_written_between_begin_and_end(strings: Strings) -> None:
    rows = np.arange(len(strings))
    assert strings.ids.shape == (3000, 64)
    assert (strings.ids[:, 0] == BOS).all()
    assert (strings.ids[rows, strings.lengths - 1] == EOS).all()
    assert ((strings.ids != PAD).sum(1) == strings.lengths).all()
    assert set((strings.lengths - 2).tolist()) == set(range(2, 63, 2))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_strings_is_valid_and_the_others_never_are(share: float) -> None:
    some = generate(2000, np.random.default_rng(1), p_valid=share)
    ends = label(some).validity[np.arange(len(some)), some.lengths - 1]
    # Four standard errors.
    assert abs(ends.mean() - share) <= 4 * (share * (1 - share) / 2000) ** 0.5


def test_no_training_string_nests_as_in_the_test_set_and_every_string_of_that_does(strings: Strings) -> None:
    def nests(text: str) -> bool:
        stack: list[int] = []
        kinds = {c: k for k, c in enumerate("([{")} | {c: k for k, c in enumerate(")]}")}
        for c in text.split():
            if c in "([{":
                stack.append(kinds[c])
                if len(stack) > MAX_DEPTH:
                    return False
                if tuple(stack[-3:]) == HELD_OUT:
                    return True
            elif not stack or stack.pop() != kinds[c]:
                return False
        return False

    assert not any(map(nests, strings.texts()))
    tested = held_out(300, np.random.default_rng(2))
    assert len(tested) == 300
    assert all(map(nests, tested.texts()))
    free = generate(3000, np.random.default_rng(0), avoid_held_out=False)
    assert nests_held_out(free).tolist() == [nests(text) for text in free.texts()]
    assert 0.2 < nests_held_out(free).mean() < 0.8


def test_depth_reaches_its_bound_and_goes_no_further(strings: Strings) -> None:
    depths = label(generate(500, np.random.default_rng(3), LONG, p_valid=1.0)).depth
    assert set(np.unique(depths)) == {NO_LABEL, *range(MAX_DEPTH + 1)}


def test_brackets_open_as_often_as_asked_where_both_are_allowed() -> None:
    some = generate(4000, np.random.default_rng(4), (40, 62), p_valid=1.0, p_open=0.55)
    depth = label(some).depth
    opened = []
    # Far from the end.
    for t in range(1, 25):
        free = (depth[:, t] > 0) & (depth[:, t] < MAX_DEPTH)
        opened.append(depth[free, t + 1] > depth[free, t])
    share = np.concatenate(opened)
    assert abs(share.mean() - 0.55) < 4 * (0.25 / len(share)) ** 0.5


def test_the_same_seed_gives_the_same_strings() -> None:
    one, two = (generate(50, np.random.default_rng(7)) for _ in range(2))
    assert (one.ids == two.ids).all()
    assert (one.ids != generate(50, np.random.default_rng(8)).ids).any()


@pytest.mark.parametrize("options", [{"lengths": (3, 3)}, {"p_valid": 1.5}, {"p_open": -0.1}, {"lengths": (8, 4)}])
def test_what_cannot_be_written_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"wanted an even length"):
        generate(3, np.random.default_rng(0), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("avoid_held_out", [False, True])
def test_strings_can_be_broken_by_the_kind_of_one_bracket_alone(avoid_held_out: bool) -> None:
    strings = generate(
        3000, np.random.default_rng(0), (2, 20), p_valid=0.0, avoid_held_out=avoid_held_out, other_kind=True
    )
    opening = np.isin(strings.ids, OPENING)
    assert (opening.sum(1) * 2 == strings.lengths - 2).all()
    known = label(strings)
    assert (known.validity[np.arange(3000), strings.lengths - 1] == 0).all()
    # Brackets of every kind are put in place of every other.
    plain = generate(3000, np.random.default_rng(0), (2, 20), p_valid=1.0, avoid_held_out=avoid_held_out)
    changed = plain.ids != strings.ids
    assert (changed.sum(1) == 1).all()
    pairs = set(zip(plain.ids[changed].tolist(), strings.ids[changed].tolist(), strict=True))
    assert pairs == {(a, b) for group in (OPENING, CLOSING) for a in group for b in group if a != b}
