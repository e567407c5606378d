"""The built-in facts: short true sentences whose last word is the answer, several wordings of each."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Relation:
    """One kind of fact: wordings with a ``{subject}``, and the (subject, answer) pairs they hold for."""

    name: str
    templates: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


@cache
def _load() -> tuple[Relation, ...]:
    raw = json.loads(files("bridge.data").joinpath("facts.json").read_text(encoding="utf-8"))
    return tuple(
        Relation(name, tuple(node["templates"]), tuple((subject, answer) for subject, answer in node["facts"]))
        for name, node in raw.items()
    )


def relations() -> dict[str, Relation]:
    """The built-in relations by name, always in the same order.

    Returns:
        a new dictionary; changing it changes nothing for the next caller.

    Example:
        >>> capital = relations()["country_capital"]
        >>> capital.templates[0].format(subject="France"), dict(capital.facts)["France"]
        ('The capital of France is', 'Paris')
    """
    return {relation.name: relation for relation in _load()}


def held_out_template(relation: Relation, subject: str) -> int:
    """The index of the held-out wording of a fact: it is asked, and never trained on.

    The small models are trained on every template of a fact but this one, so that a right answer to it shows that they
    know the fact and not only the sentence. The choice depends on the names alone, not on the order of the facts, the
    process or the machine.

    Args:
        relation: the relation the fact belongs to.
        subject: the subject of the fact.

    Returns:
        an index into ``relation.templates``.

    Example:
        >>> capital = relations()["country_capital"]
        >>> held_out_template(capital, "France") == held_out_template(capital, "France")
        True
    """
    digest = hashlib.sha256(f"{relation.name}\0{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % len(relation.templates)
