from bridge.data.items import Item
from bridge.data.repeats import repeated_facts
from bridge.data.sources import Facts


def test_items_of_one_relation_and_subject_are_counted_each() -> None:
    rouen = [Item(f"{wording} Rouen", "France", "country", "Rouen") for wording in ("a", "b", "c")]
    lyon = [Item("a Lyon", "France", "country", "Lyon"), Item("b Lyon", "Gaul", "country", " Lyon ")]
    once = [Item("a Oslo", "Norway", "country", "Oslo"), Item("mayor of Rouen", "Nicolas", "mayor", "Rouen")]
    assert repeated_facts(rouen) == 3
    assert repeated_facts([*rouen, *lyon, *once]) == 5
    assert repeated_facts(once) == repeated_facts([]) == 0


def test_without_a_subject_nothing_is_known_to_be_repeated_and_without_a_relation_the_subject_counts() -> None:
    assert repeated_facts([Item("a", "x", "country"), Item("b", "x", "country"), Item("c", "x", subject=" ")]) == 0
    assert repeated_facts([Item("a", "x", subject="Rouen"), Item("b", "y", subject="Rouen")]) == 2


def test_the_built_in_facts_are_repeated_only_in_all_their_wordings() -> None:
    assert repeated_facts(Facts().load()) == 0
    everything = Facts(wordings="all").load()
    assert repeated_facts(everything) == len(everything)
