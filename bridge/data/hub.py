"""Items from the Hugging Face hub."""

from bridge.data.items import Item
from bridge.data.reading import text_of
from bridge.data.sources import Source
from bridge.errors import DataError


class HuggingFace(Source):
    """A data set on the Hugging Face hub, or in its local cache; needs the package `datasets`.

    Args:
        repository: the id on the hub, or a local folder that `datasets` can read.
        config: the configuration of the data set, where it has several.
        hub_split: which split of it.
        prompt_field: the column that holds the prompt.
        answer_field: the column that holds the answer, or None where there is none.
        relation_field: the column that holds the relation; None leaves it empty.
        subject_field: the column that holds the subject; None leaves it empty.
        revision: a commit or tag of the data set.
    """

    def __init__(
        self,
        repository: str,
        config: str | None = None,
        hub_split: str = "train",
        prompt_field: str = "prompt",
        answer_field: str | None = "answer",
        relation_field: str | None = None,
        subject_field: str | None = None,
        revision: str | None = None,
    ) -> None:
        self.repository = repository
        self.config = config
        self.hub_split = hub_split
        self.prompt_field = prompt_field
        self.answer_field = answer_field
        self.relation_field = relation_field
        self.subject_field = subject_field
        self.revision = revision

    def load(self) -> list[Item]:
        """One item per row."""
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise DataError(
                f"the package `datasets`, which the data set '{self.repository}' needs, is not installed; wanted it: "
                "run pip install 'bridge-llm[hub]'"
            ) from error
        try:
            rows = load_dataset(self.repository, self.config, split=self.hub_split, revision=self.revision)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"the data set '{self.repository}' (config {self.config}, split '{self.hub_split}') could not be "
                f"loaded ({type(error).__name__}: {reason}); wanted its rows: check its name, config and split, and "
                "that the hub can be reached, or download it and use a JSON file"
            ) from error
        fields = {
            "prompt": self.prompt_field,
            "answer": self.answer_field,
            "relation": self.relation_field,
            "subject": self.subject_field,
        }
        named = {name: field for name, field in fields.items() if field is not None}
        items = [
            Item(**{name: text_of(row, field, f"Row {index} of '{self.repository}'") for name, field in named.items()})
            for index, row in enumerate(rows)
        ]
        if not items:
            raise DataError(
                f"the data set '{self.repository}' has no rows in '{self.hub_split}'; wanted at least one: choose "
                "another split"
            )
        return items

    def describe(self) -> str:
        """The id, with the configuration where one is named."""
        return self.repository if self.config is None else f"{self.repository} ({self.config})"
