import os
import string
import subprocess
import sys
from collections import Counter

import pytest

from bridge.data.facts import Relation, held_out_template, relations

RELATIONS = list(relations().values())
FACTS = [(relation.name, *fact) for relation in RELATIONS for fact in relation.facts]


def test_there_are_enough_facts_and_relations() -> None:
    assert len(FACTS) == 947
    assert len(RELATIONS) == 23
    assert list(relations()) == [relation.name for relation in RELATIONS]


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_a_relation_is_well_formed(relation: Relation) -> None:
    assert len(relation.templates) >= 4
    assert len(relation.facts) >= 10
    for template in relation.templates:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        assert fields == ["subject"], template
        assert template == template.strip()
        assert template[-1].isalpha() or template.endswith("{subject}")
    subjects = [subject for subject, _ in relation.facts]
    assert Counter(subjects).most_common(1)[0][1] == 1
    for subject, answer in relation.facts:
        assert answer.isascii()
        assert answer.isalpha(), f"{answer} is not one plain word"
        assert 1 <= len(subject.split(" ")) <= 2
        assert subject.replace(" ", "").isalpha()
        assert subject != answer


def test_no_prompt_is_made_twice() -> None:
    prompts = Counter(
        template.format(subject=subject)
        for relation in RELATIONS
        for template in relation.templates
        for subject, _ in relation.facts
    )
    assert sum(prompts.values()) > 3_700
    assert [prompt for prompt, n in prompts.items() if n > 1] == []


def test_most_facts_share_their_answer_with_at_least_three_others() -> None:
    times = Counter(answer for _, _, answer in FACTS)
    shared = sum(times[answer] >= 4 for _, _, answer in FACTS) / len(FACTS)
    assert 0.75 <= shared <= 0.82


def test_one_template_of_each_fact_is_held_out_and_all_of_them_are_used() -> None:
    for relation in RELATIONS:
        chosen = [held_out_template(relation, subject) for subject, _ in relation.facts]
        assert set(chosen) <= set(range(len(relation.templates)))
        assert len(set(chosen)) >= 3, relation.name


def test_the_held_out_template_is_the_same_in_every_process() -> None:
    code = (
        "from bridge.data.facts import held_out_template, relations\n"
        "print([held_out_template(r, s) for r in relations().values() for s, _ in r.facts])"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    here = [held_out_template(relation, subject) for relation in RELATIONS for subject, _ in relation.facts]
    assert printed == [f"{here}\n"] * 2


def test_changing_the_returned_relations_changes_nothing_for_the_next_caller() -> None:
    relations().clear()
    assert len(relations()) == len(RELATIONS)
