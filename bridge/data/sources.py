"""Where items come from: built-in facts and nouns, JSON files, SQuAD files, relation files."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from bridge.data.attributes import ATTRIBUTES, WORDS, describe, held_out_order, in_words, nouns
from bridge.data.facts import held_out_template, relations
from bridge.data.items import Answers, Item
from bridge.data.questions import question_word
from bridge.data.reading import check_template, fill, got, read_json, read_json_lines, read_json_list, text_of
from bridge.errors import DataError


class Source(ABC):
    """A source of items. A constructor only stores its arguments; ``load`` reads and checks."""

    @abstractmethod
    def load(self) -> list[Item]:
        """All items in a stable order.

        Raises:
            DataError: the source cannot be read as items, or has none.
        """

    @abstractmethod
    def describe(self) -> str:
        """A short name for tables and records."""


class Facts(Source):
    """The built-in facts, each asked once, with the wording that the small models were not trained on, or in all.

    Args:
        relations: names of the relations to take; None takes all.
        wordings: "held_out" asks each fact once; "all" in every wording, to be split by subject, so that no fact is on
            both sides.

    Example:
        >>> Facts(relations=["country_capital"]).load()[0].answer
        'Paris'
    """

    def __init__(self, relations: list[str] | None = None, wordings: Literal["held_out", "all"] = "held_out") -> None:
        self.relations = relations
        self.wordings = wordings

    def load(self) -> list[Item]:
        """One item per fact, or per fact and wording."""
        known = relations()
        wanted = list(known) if self.relations is None else list(self.relations)
        if not wanted:
            raise DataError(
                f"got no relations; wanted at least one of {', '.join(known)}: name some in dataset.relations, or "
                "leave it out"
            )
        items = []
        for name in dict.fromkeys(wanted):
            if name not in known:
                raise DataError(f"got the relation '{name}'; wanted one of {', '.join(known)}: correct the name")
            relation = known[name]
            for subject, answer in relation.facts:
                held_out = relation.templates[held_out_template(relation, subject)]
                for template in relation.templates if self.wordings == "all" else [held_out]:
                    items.append(Item(template.format(subject=subject), answer, name, subject))
        return items

    def describe(self) -> str:
        """For example ``facts`` or ``facts (plural, young)``."""
        return "facts" if self.relations is None else f"facts ({', '.join(self.relations)})"


class Attributes(Source):
    """Invented nouns, each asked for by its values in an order that the small models were not trained on.

    Args:
        relation: the attributes whose values make up the relation of an item. A split by relation holds out all nouns
            that share these values; `shuffled_within` permutes rows among nouns that share them.
        n_missing: how many values each description leaves out, from its end.
        words: "both" says each value in either of its two words. "apart" describes every second noun in the first words
            alone and the others in the second ones. The relation is then the choice of words, whatever `relation` says,
            so that a split by relation has no word on both sides.

    Example:
        >>> item = Attributes().load()[0]
        >>> item.prompt, item.answer, item.relation
        ('A airy fluffy tiny yellow flat cool thing is a', 'kondel', 'yellow')
    """

    def __init__(
        self, relation: Sequence[str] = ("color",), n_missing: int = 0, words: Literal["both", "apart"] = "both"
    ) -> None:
        self.relation = list(relation)
        self.n_missing = n_missing
        self.words = words

    def load(self) -> list[Item]:
        """One item per noun."""
        unknown = [name for name in self.relation if name not in ATTRIBUTES]
        if unknown:
            raise DataError(
                f"got the attribute '{unknown[0]}'; wanted some of {', '.join(ATTRIBUTES)}: correct dataset.relation"
            )
        if not 0 <= self.n_missing < len(ATTRIBUTES):
            raise DataError(
                f"got n_missing={self.n_missing}; wanted 0 to {len(ATTRIBUTES) - 1}, as a description names at least "
                "one value: change it"
            )
        if self.words not in ("both", "apart"):
            raise DataError(f"got words={self.words}; wanted both or apart: correct dataset.words")
        items = []
        for i, noun in enumerate(nouns()):
            order = held_out_order(noun)
            if self.words == "apart":
                words = tuple(WORDS[value][i % 2] for value in order)
                relation = ("first words", "second words")[i % 2]
            else:
                words = in_words(order, "asked")
                relation = " ".join(noun.value(name) for name in self.relation)
            prompt = describe(words[: len(ATTRIBUTES) - self.n_missing])
            items.append(Item(prompt, noun.name, relation, noun.name))
        return items

    def describe(self) -> str:
        """For example ``attributes`` or ``attributes (words apart, 1 value missing)``."""
        parts = ["words apart"] * (self.words == "apart")
        if self.n_missing:
            parts.append(f"{self.n_missing} value{'s' if self.n_missing > 1 else ''} missing")
        return f"attributes ({', '.join(parts)})" if parts else "attributes"


class JsonFile(Source):
    """A .json file with a list of objects, or a .jsonl file with one object per line.

    Each object has ``prompt``, and may have ``answer``, ``relation`` and ``subject``; other keys are ignored.

    Args:
        path: the file; a relative path starts at the current folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def load(self) -> list[Item]:
        """One item per object."""
        path = Path(self.path)
        if path.suffix == ".jsonl":
            nodes = read_json_lines(path)
        elif path.suffix == ".json":
            nodes = read_json_list(path)
        else:
            raise DataError(f"got the file {path}; wanted a name ending in .json or .jsonl: rename or convert it")
        return [_item(node, f"Object {index} of {path}") for index, node in enumerate(nodes)]

    def describe(self) -> str:
        """The name of the file."""
        return Path(self.path).name


class Squad(Source):
    """Questions of a SQuAD file, format 1.1 or 2.0, that have a one-word answer, or any answer.

    Questions marked impossible are left out. Of several (one-word) answers the most frequent one is taken.
    The subject of an item is the title of its article, its relation the question word (`question_word`).

    Args:
        path: the file.
        prompt: a template with ``{question}``; it may also hold ``{context}``, the paragraph.
        max_context_chars: leave out questions whose paragraph is longer; None keeps all. Nothing is cut.
        answers: "one_token" takes one-word answers only, since no other can be one token; "any" takes all.
    """

    def __init__(
        self,
        path: str | Path,
        prompt: str = "Question: {question} Answer:",
        max_context_chars: int | None = None,
        answers: Answers = "one_token",
    ) -> None:
        self.path = path
        self.prompt = prompt
        self.max_context_chars = max_context_chars
        self.answers = answers

    def load(self) -> list[Item]:
        """One item per question with a usable answer."""
        check_template(self.prompt, "{question}")
        path = Path(self.path)
        raw = read_json(path)
        if not isinstance(raw, dict) or not isinstance(raw.get("data"), list):
            raise DataError(f"{path} {got(raw)}; wanted a SQuAD file with 'data', a list: check the path")
        n_questions = 0
        items = []
        for title, context, question, answers in _questions(raw["data"], path):
            n_questions += 1
            words = Counter(text for text in answers if self.answers == "any" or len(text.split()) == 1)
            if words and (self.max_context_chars is None or len(context) <= self.max_context_chars):
                prompt = fill(self.prompt, {"question": question, "context": context})
                items.append(Item(prompt, words.most_common(1)[0][0], question_word(question), title))
        if not items:
            limit = self.max_context_chars
            within = "" if limit is None else f" in a paragraph of at most {limit} characters"
            raise DataError(
                f"none of the {n_questions} questions in {path} has a one-word answer{within}; wanted at least one: "
                "choose a file with short answers or raise max_context_chars"
            )
        return items

    def describe(self) -> str:
        """The name of the file."""
        return Path(self.path).name


class Relations(Source):
    """Relation files: a list of ``{"input": ..., "output": ...}``, one file or a folder of them.

    The relation of an item is the name of its file without the ending, its subject is the input.

    Args:
        path: a .json file, or a folder whose .json files are all read, by name.
        prompt: a template with ``{input}``.
    """

    def __init__(self, path: str | Path, prompt: str = "{input}") -> None:
        self.path = path
        self.prompt = prompt

    def load(self) -> list[Item]:
        """One item per pair."""
        check_template(self.prompt, "{input}")
        path = Path(self.path)
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"the folder {path} has no .json file; wanted relation files: check the path")
        items = []
        for file in files:
            for index, node in enumerate(read_json_list(file)):
                where = f"Object {index} of {file}"
                subject, answer = text_of(node, "input", where), text_of(node, "output", where)
                items.append(Item(fill(self.prompt, {"input": subject}), answer, file.stem, subject))
        return items

    def describe(self) -> str:
        """The name of the file or folder."""
        return Path(self.path).name


def _item(node: Any, where: str) -> Item:
    prompt = text_of(node, "prompt", where)
    named = [name for name in ("answer", "relation", "subject") if node.get(name) is not None]
    return Item(prompt, **{name: text_of(node, name, where) for name in named})


def _questions(articles: list[Any], path: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    for i, article in enumerate(articles):
        try:
            for paragraph in article["paragraphs"]:
                for node in paragraph["qas"]:
                    if node.get("is_impossible", False):
                        continue
                    answers = [answer["text"].strip() for answer in node["answers"]]
                    yield article.get("title", ""), paragraph["context"], node["question"].strip(), answers
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"article {i} of {path} is not as in SQuAD ({type(error).__name__}: {error}); wanted paragraphs with "
                "context and qas, these with question and answers: convert the file"
            ) from error
