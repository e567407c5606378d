"""The pair and the layer."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING


class Dtype(Enum):
    """The precision a model runs in. Maps are always fitted in float64."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class ModelKind(Enum):
    """What a model is: see `bridge.models.kinds`."""

    causal = "causal"
    embedder = "embedder"
    dyck = "dyck"


class Pooling(Enum):
    """How an embedder pools the states of a text's tokens into one vector."""

    mean = "mean"
    last = "last"
    cls = "cls"


class Architecture(Enum):
    """The architectures of the small models that bridge trains itself."""

    llama = "llama"
    mistral = "mistral"


class TokenizerKind(Enum):
    """The tokenizers of the small models."""

    word = "word"
    bpe = "bpe"


class DyckArchitecture(Enum):
    """The architectures of readers of Dyck-3 strings."""

    paper = "paper"
    gpt_neox = "gpt_neox"


class Cohort(Enum):
    """What the seeds of Dyck-3 models share: nothing, or the embeddings and heads of the trained seed 0, frozen."""

    independent = "independent"
    shared = "shared"


@dataclass
class ZooConfig:
    """A small model that bridge trains itself; the fields of its family determine its weights."""


@dataclass
class WordsZooConfig(ZooConfig):
    """A language model of facts and of invented nouns."""

    architecture: Architecture = MISSING
    tokenizer: TokenizerKind = MISSING
    seed: int = 0
    n_blocks: int = 4
    width: int = 128
    n_steps: int = 260
    vocab_size: int = 3200


@dataclass
class DyckZooConfig(ZooConfig):
    """A reader of Dyck-3 strings."""

    architecture: DyckArchitecture = DyckArchitecture.paper
    seed: int = 0
    cohort: Cohort = Cohort.independent
    n_blocks: int = 2
    width: int = 64
    n_steps: int = 5000
    # Steps in which the learning rate rises to this peak.
    n_warmup: int = 200
    learning_rate: float = 5e-3
    batch_size: int = 64
    max_length: int = 24
    # Strings of a batch have one length, which changes from batch to batch: nothing is padded.
    one_length: bool = True
    p_valid: float = 0.3
    # Every second string is deeper and, if it is not valid, broken by the kind of one bracket alone.
    hard_half: bool = True
    # Of its loss, where those of the other heads have 1.
    validity_weight: float = 4.0
    # The weights after this step of the same training, one of those that are kept; null: the last.
    checkpoint: int | None = None


@dataclass
class TextZooConfig(ZooConfig):
    """A small GPT-NeoX that is trained on a text file, whose content decides its weights, not its place."""

    # A UTF-8 file.
    text: str = MISSING
    seed: int = 0
    n_blocks: int = 3
    width: int = 64
    n_steps: int = 600
    n_warmup: int = 60
    batch_size: int = 16
    # Tokens that the model is trained to read at once.
    context: int = 64
    # The largest number of tokens of the tokenizer, which is trained on the file.
    vocab_size: int = 512
    checkpoint: int | None = None


@dataclass
class ModelConfig:
    """One model: a local folder, a hub id, or (with `zoo`) one that bridge trains."""

    name: str = MISSING
    kind: ModelKind = ModelKind.causal
    # Of an embedder's tokens.
    pooling: Pooling = Pooling.mean
    revision: str | None = None
    dtype: Dtype = Dtype.float32
    device_map: str | None = None
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    zoo: ZooConfig | None = None


@dataclass
class PairConfig:
    """Source model -> target model, and two prompts that both models can continue."""

    name: str = MISSING
    source: ModelConfig = field(default_factory=ModelConfig)
    target: ModelConfig = field(default_factory=ModelConfig)
    neutral_prompt: str = "The answer is"
    copy_prompt: str = "cat -> cat; 1135 -> 1135; hello -> hello; {state} ->"


@dataclass
class LayerConfig:
    """A layer in 0..N: the raw residual stream after that many blocks; -1, fractions and 'final' too."""

    source: int | float | str = "final"
    # null: where the injection wants it (lm_head and soft_prefix: final; late_layer: the same layer).
    target: int | float | str | None = None
    position: str = "last"
