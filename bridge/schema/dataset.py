"""The items, and how they are split."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING


class SplitBy(Enum):
    """The attribute that no fit item shares with an eval item."""

    item = "item"
    answer = "answer"
    subject = "subject"
    relation = "relation"


class Unit(Enum):
    """Which eval items depend on each other: intervals and tests resample these whole."""

    answer = "answer"
    subject = "subject"
    fact = "fact"
    item = "item"


class Wordings(Enum):
    """Whether each fact is asked once, in words that the small models were not trained on, or in all its wordings."""

    held_out = "held_out"
    all = "all"


class Nesting(Enum):
    """Which Dyck-3 strings: like those of training, or those that nest brackets as no training string does."""

    trained = "trained"
    held_out = "held_out"


class Answers(Enum):
    """Which answers an item may have."""

    one_token = "one_token"
    any = "any"


@dataclass
class SplitConfig:
    """The groups that are never split between fit and eval, and the share of them that is held out."""

    by: SplitBy = SplitBy.item
    eval_fraction: float = 0.4
    eval_size: int | None = None


@dataclass
class DatasetConfig:
    """A list of items; `size` is the number of items to fit on (null: all that are left)."""

    _target_: str = MISSING
    name: str = MISSING
    size: int | None = None
    # any: answers of several tokens too, scored by the target's whole continuation.
    answers: Answers = Answers.one_token
    split: SplitConfig = field(default_factory=SplitConfig)
    # The default contains the units fact and wording, as these have one answer.
    unit: Unit = Unit.answer


@dataclass
class FactsConfig(DatasetConfig):
    """The built-in facts."""

    _target_: str = "bridge.data.sources.Facts"
    name: str = "facts"
    relations: list[str] | None = None
    # all: every wording of a fact; give split.by=subject with it.
    wordings: Wordings = Wordings.held_out


@dataclass
class AttributesConfig(DatasetConfig):
    """Invented nouns put together from attributes: answers that share structure."""

    _target_: str = "bridge.data.sources.Attributes"
    name: str = "attributes"
    # A noun is asked for once, so every eval answer is a new one.
    split: SplitConfig = field(default_factory=lambda: SplitConfig(by=SplitBy.answer))
    # With split.by=relation no noun with these values is fitted on.
    relation: list[str] = field(default_factory=lambda: ["color"])
    n_missing: int = 0
    words: str = "both"


@dataclass
class DyckConfig(DatasetConfig):
    """Strings of brackets, without answers."""

    _target_: str = "bridge.data.dyck_strings.DyckStrings"
    name: str = "dyck"
    unit: Unit = Unit.item
    n_strings: int = 1200
    min_length: int = 2
    max_length: int = 24
    nesting: Nesting = Nesting.trained
    strings_seed: int = 0


@dataclass
class JsonConfig(DatasetConfig):
    """A JSON or JSONL file with prompt, answer, and optionally relation and subject."""

    _target_: str = "bridge.data.sources.JsonFile"
    name: str = "json"
    path: str = MISSING


@dataclass
class SquadConfig(DatasetConfig):
    """A SQuAD 1.1 or 2.0 file: the questions with a one-word answer; the question word is the relation."""

    _target_: str = "bridge.data.sources.Squad"
    name: str = "squad"
    # Questions of one article go together.
    split: SplitConfig = field(default_factory=lambda: SplitConfig(by=SplitBy.subject))
    path: str = MISSING
    prompt: str = "Question: {question} Answer:"
    max_context_chars: int | None = None


@dataclass
class RelationsConfig(DatasetConfig):
    """Files of input/output pairs, and the template that makes a prompt of an input."""

    _target_: str = "bridge.data.sources.Relations"
    name: str = "relations"
    path: str = MISSING
    prompt: str = MISSING


@dataclass
class HuggingFaceConfig(DatasetConfig):
    """A data set from the Hugging Face hub."""

    _target_: str = "bridge.data.hub.HuggingFace"
    name: str = "huggingface"
    repository: str = MISSING
    config: str | None = None
    hub_split: str = "train"
    prompt_field: str = "prompt"
    answer_field: str | None = "answer"
    relation_field: str | None = None
    subject_field: str | None = None
    revision: str | None = None
