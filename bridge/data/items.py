"""Items: what every source loads, before any tokenizer has seen it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal

Answers = Literal["one_token", "any"]


@dataclass(frozen=True)
class Item:
    """One prompt, with one gold answer; answer, relation and subject are empty where the data does not name them."""

    prompt: str
    answer: str = ""
    relation: str = ""
    subject: str = ""


def fingerprint(items: Sequence[Item]) -> str:
    """A sha256 over every field of every item, in order."""
    text = json.dumps([astuple(item) for item in items], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
