"""A dataclass for every node of the configuration, registered for Hydra.

``_target_`` stands only here, as a default: YAML files name options, never classes.
"""

from dataclasses import dataclass, field
from enum import Enum

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from bridge.controls import CONTROLS


class Scale(Enum):
    """How rows are scaled before a fit."""

    none = "none"
    l2 = "l2"
    frobenius = "frobenius"


class Completion(Enum):
    """What an orthogonal map does outside the span of its fit rows."""

    nearest = "nearest"
    none = "none"


class Context(Enum):
    """Which prompt a mapped state is put behind."""

    same = "same"
    neutral = "neutral"


class SplitBy(Enum):
    """What fit and eval never share."""

    item = "item"
    answer = "answer"
    subject = "subject"
    relation = "relation"


class Dtype(Enum):
    """The precision a model runs in. Maps are fitted in float64 whatever it is."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Architecture(Enum):
    """The architectures of the small models that bridge trains itself."""

    llama = "llama"
    mistral = "mistral"


class TokenizerKind(Enum):
    """The tokenizers of the small models."""

    word = "word"
    bpe = "bpe"


class TrackerMode(Enum):
    """Where Weights & Biases keeps a run."""

    online = "online"
    offline = "offline"
    disabled = "disabled"


@dataclass
class ZooConfig:
    """A small model that bridge trains itself; these fields decide its weights."""

    architecture: Architecture = MISSING
    tokenizer: TokenizerKind = MISSING
    seed: int = 0
    n_blocks: int = 4
    width: int = 128
    n_steps: int = 210
    vocab_size: int = 1600


@dataclass
class ModelConfig:
    """One model: a local folder, a hub id, or (with `zoo`) one that bridge trains."""

    name: str = MISSING
    revision: str | None = None
    dtype: Dtype = Dtype.float32
    device_map: str | None = None
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    zoo: ZooConfig | None = None


@dataclass
class PairConfig:
    """Source model -> target model, and two prompts that both know how to go on from."""

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


@dataclass
class InjectionConfig:
    """How a mapped state enters the target."""

    _target_: str = MISSING
    name: str = MISSING


@dataclass
class LmHeadConfig(InjectionConfig):
    """Decoded by the target's final norm and head."""

    _target_: str = "bridge.injection.lm_head.LmHead"
    name: str = "lm_head"


@dataclass
class LateLayerConfig(InjectionConfig):
    """Put in k blocks before the end, at the last position."""

    _target_: str = "bridge.injection.late_layer.LateLayer"
    name: str = "late_layer"
    k: int | None = None
    context: Context = Context.neutral
    neutral_prompt: str = "${pair.neutral_prompt}"


@dataclass
class SoftPrefixConfig(InjectionConfig):
    """The last k states as input embeddings."""

    _target_: str = "bridge.injection.soft_prefix.SoftPrefix"
    name: str = "soft_prefix"
    k: int = 1
    template: str = "${pair.copy_prompt}"


@dataclass
class ControlConfig:
    """What is scored, and how many draws a random control has."""

    names: list[str] = field(default_factory=lambda: list(CONTROLS))
    n_draws: int = 20


@dataclass
class SplitConfig:
    """What fit and eval never share, and the share of items kept for eval."""

    by: SplitBy = SplitBy.item
    eval_fraction: float = 0.4
    eval_size: int | None = None


@dataclass
class DatasetConfig:
    """A list of items; `size` is the number of items to fit on (null: all that are left)."""

    _target_: str = MISSING
    name: str = MISSING
    size: int | None = None
    split: SplitConfig = field(default_factory=SplitConfig)


@dataclass
class FactsConfig(DatasetConfig):
    """The built-in facts."""

    _target_: str = "bridge.data.sources.Facts"
    name: str = "facts"
    relations: list[str] | None = None


@dataclass
class JsonConfig(DatasetConfig):
    """A JSON or JSONL file with prompt, answer, and optionally relation and subject."""

    _target_: str = "bridge.data.sources.JsonFile"
    name: str = "json"
    path: str = MISSING


@dataclass
class SquadConfig(DatasetConfig):
    """A SQuAD 1.1 or 2.0 file: the questions with a one-word answer."""

    _target_: str = "bridge.data.sources.Squad"
    name: str = "squad"
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

    _target_: str = "bridge.data.sources.HuggingFace"
    name: str = "huggingface"
    repository: str = MISSING
    config: str | None = None
    hub_split: str = "train"
    prompt_field: str = "prompt"
    answer_field: str = "answer"
    relation_field: str | None = None
    subject_field: str | None = None
    revision: str | None = None


@dataclass
class MapConfig:
    """What is fitted from the source's states to the target's."""

    _target_: str = MISSING
    name: str = MISSING


@dataclass
class OrthogonalConfig(MapConfig):
    """Orthogonal Procrustes."""

    _target_: str = "bridge.maps.orthogonal.Orthogonal"
    name: str = "orthogonal"
    completion: Completion = Completion.nearest


@dataclass
class LinearConfig(MapConfig):
    """Least squares of minimum norm."""

    _target_: str = "bridge.maps.linear.Linear"
    name: str = "linear"


@dataclass
class RidgeConfig(MapConfig):
    """Least squares with a penalty."""

    _target_: str = "bridge.maps.linear.Ridge"
    name: str = "ridge"
    penalty: float = 1.0


@dataclass
class NormalizeConfig:
    """What is done to states before a fit and undone in the target's scale and mean after it."""

    _target_: str = "bridge.normalize.Normalize"
    center: bool = True
    scale: Scale = Scale.none


@dataclass
class GatesConfig:
    """Thresholds of the validity gates."""

    decode: float = 1e-4
    same_model: float = 0.8
    planted: float = 0.05
    pairing: float = 0.05


@dataclass
class TaskConfig:
    """What is carried and how it is scored."""

    _target_: str = MISSING
    name: str = MISSING


@dataclass
class TranslateConfig(TaskConfig):
    """A hidden state, scored by the token that the target decodes from it."""

    _target_: str = "bridge.tasks.translate.Translate"
    name: str = "translate"
    n_resamples: int = 2000
    gates: GatesConfig = field(default_factory=GatesConfig)


@dataclass
class TrackerConfig:
    """Where results are streamed to."""

    _target_: str = MISSING
    name: str = MISSING


@dataclass
class NoTrackerConfig(TrackerConfig):
    """Nowhere: records alone."""

    _target_: str = "bridge.tracking.NoTracker"
    name: str = "none"


@dataclass
class WandbConfig(TrackerConfig):
    """Weights & Biases."""

    _target_: str = "bridge.tracking.WandbTracker"
    name: str = "wandb"
    project: str = "bridge"
    entity: str | None = None
    group: str | None = None
    mode: TrackerMode = TrackerMode.online
    init_timeout_s: float = 20.0


@dataclass
class PathsConfig:
    """Where everything that is computed goes."""

    outputs: str = "outputs"


@dataclass
class BridgeConfig:
    """The whole configuration of one cell."""

    pair: PairConfig = field(default_factory=PairConfig)
    layer: LayerConfig = field(default_factory=LayerConfig)
    injection: InjectionConfig = field(default_factory=InjectionConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    map: MapConfig = field(default_factory=MapConfig)
    normalize: NormalizeConfig = field(default_factory=NormalizeConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    seed: int = 0
    device: str = "auto"
    batch_size: int = 64
    recompute: bool = False


# Every schema that a YAML file of the same group can stand on: (group, name, class).
SCHEMAS: tuple[tuple[str, str, type], ...] = (
    ("pair", "pair", PairConfig),
    ("layer", "layer", LayerConfig),
    ("injection", "lm_head", LmHeadConfig),
    ("injection", "late_layer", LateLayerConfig),
    ("injection", "soft_prefix", SoftPrefixConfig),
    ("control", "control", ControlConfig),
    ("dataset", "facts", FactsConfig),
    ("dataset", "json", JsonConfig),
    ("dataset", "squad", SquadConfig),
    ("dataset", "relations", RelationsConfig),
    ("dataset", "huggingface", HuggingFaceConfig),
    ("map", "orthogonal", OrthogonalConfig),
    ("map", "linear", LinearConfig),
    ("map", "ridge", RidgeConfig),
    ("normalize", "normalize", NormalizeConfig),
    ("task", "translate", TranslateConfig),
    ("tracker", "none", NoTrackerConfig),
    ("tracker", "wandb", WandbConfig),
)
LAYER_NUMBERS: tuple[int, ...] = (*range(-1, 129),)
LAYER_FRACTIONS: tuple[float, ...] = tuple(
    sorted({*(i / 20 for i in range(1, 20)), *(i / 8 for i in range(1, 8)), 0.33, 0.67})
)


def register() -> None:
    """Put every schema, and the numbered and fractional layers, into Hydra's ConfigStore."""
    store = ConfigStore.instance()
    store.store(name="bridge_schema", node=BridgeConfig)
    for group, name, node in SCHEMAS:
        store.store(group=f"schema/{group}", name=name, node=node)
    for layer in (*LAYER_NUMBERS, *LAYER_FRACTIONS):
        store.store(group="layer", name=str(layer), node=LayerConfig(source=layer))
