"""The recipes of the small models that bridge trains itself (`bridge.models.zoo`)."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bridge.data.attributes import WORDS, nouns
from bridge.data.facts import relations

RECIPE_VERSION = 3
# In the artefact store.
KIND = "model"


@dataclass(frozen=True)
class ZooSpec:
    """The options that determine the weights of one small model."""

    architecture: Literal["llama", "mistral"] = "llama"
    tokenizer: Literal["word", "bpe"] = "word"
    seed: int = 0
    n_blocks: int = 4
    width: int = 128
    n_steps: int = 260
    vocab_size: int = 3200

    def made_from(self) -> dict[str, Any]:
        """Everything that determines the weights, as the key of the artefact store."""
        facts = [(r.name, r.templates, r.facts) for r in relations().values()]
        worlds = json.dumps([facts, [(noun.name, noun.values) for noun in nouns()], WORDS], sort_keys=True)
        return {
            "recipe": RECIPE_VERSION,
            "spec": asdict(self),
            "worlds": hashlib.sha256(worlds.encode()).hexdigest(),
        }

    @property
    def torch_seed(self) -> int:
        """A seed for each architecture and tokenizer: from one seed two models would start with similar weights."""
        text = f"{self.architecture} {self.tokenizer} {self.seed}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
