"""How many items ask the same fact as another item."""

from collections import Counter
from collections.abc import Sequence

from bridge.data.items import Item


def repeated_facts(items: Sequence[Item]) -> int:
    """How many items share relation and subject with another one, whatever their prompts and answers are.

    Such items are wordings of one fact, so that a split by item may put one of them on either side. Items without a
    subject are not counted; without relations it is the subject alone.

    Example:
        >>> asked = [Item(f"{word} Rouen in?", "France", "country", "Rouen") for word in ("What is", "Where is")]
        >>> repeated_facts([*asked, Item("The mayor of Rouen is", "Nicolas", "mayor", "Rouen")])
        2
    """
    facts = Counter((item.relation.strip(), item.subject.strip()) for item in items if item.subject.strip())
    return sum(n for n in facts.values() if n > 1)
