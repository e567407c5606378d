"""What cells share while a process lives: loaded models, items, and the store of states."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.building import build
from bridge.data import items as data_items
from bridge.data.items import Item
from bridge.models.fingerprints import fingerprint
from bridge.models.recipe import KIND, Spec, spec_of
from bridge.records import contexts
from bridge.records.artefacts import Artefacts
from bridge.schema import BridgeConfig, DatasetConfig, MapConfig, ModelConfig, PairConfig
from bridge.tasks.registry import get

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.activations.checking import Checker
    from bridge.activations.store import Store
    from bridge.activations.tokens import TokenStates
    from bridge.data.prompts import Prompts
    from bridge.data.rosetta import RosettaSet
    from bridge.maps.base import Map
    from bridge.models.encoding import Text
    from bridge.models.loading import LoadedModel

# Modules that need torch or transformers are imported where they are used: a record is read back without either.
MODELS_IN_MEMORY = 2
T = TypeVar("T")
log = logging.getLogger("bridge")


class Session:
    """Caches models, Rosetta sets and states, so that a grid computes each of them once.

    Args:
        outputs: the outputs folder.
        device: where models run.
        batch_size: texts per pass in an extraction.
    """

    def __init__(self, outputs: str | Path, device: str, batch_size: int) -> None:
        self.outputs = Path(outputs)
        self.device = device
        self.batch_size = batch_size
        self.artefacts = Artefacts(self.outputs / "artefacts")
        self._models: dict[str, LoadedModel] = {}
        self._items: dict[str, tuple[list[Item], str]] = {}
        self._sets: dict[str, RosettaSet] = {}
        self._paths: dict[str, str] = {}
        self._states: dict[str, dict[float, Tensor]] = {}
        self._identities: dict[str, str] = {}
        self._cache: dict[str, tuple[str, Any]] = {}
        self._checkers: dict[str, Checker] = {}
        self._memos: dict[str, Any] = {}

    @cached_property
    def store(self) -> "Store":
        """The store of states."""
        from bridge.activations.store import Store

        return Store(self.outputs / "activations")

    def locate(self, pair: PairConfig) -> None:
        """Train those models of a pair that bridge trains itself, unless they are there."""
        both = [m for m in (pair.source, pair.target) if m.zoo is not None and _key(m) not in self._paths]
        specs = {m.name: _spec(m) for m in both}
        if not all(map(self.is_there, both)):
            from bridge.models.zoo import ensure

            ensure(specs, self.artefacts, self.device)
        folders = {name: self.artefacts.path(KIND, spec.made_from()) for name, spec in specs.items()}
        self._paths |= {_key(m): str(folders[m.name]) for m in both}

    def is_there(self, model: ModelConfig) -> bool:
        """Whether a model exists already, so that it need not be trained first."""
        return model.zoo is None or self.artefacts.find(KIND, _spec(model).made_from()) is not None

    def path(self, model: ModelConfig) -> str:
        """A local folder or a hub id."""
        return self._paths.get(_key(model), model.name)

    def inputs(self, config: BridgeConfig) -> dict[str, str]:
        """Hashes of the inputs that the task of a cell reads: weights and tokenizers as they are now, and items."""
        needs = get(config.task.name).needs(config)
        if needs.sides:
            self.locate(config.pair)
        inputs = {side: self.fingerprint(getattr(config.pair, side)) for side in needs.sides}
        if needs.items:
            inputs["items"] = self._source(config.dataset)[1]
        if "map" in get(config.task.name).uses and (kept := self._saved_map(config.map)) is not None:
            from bridge.maps.stored import content_of

            inputs["map"] = content_of(kept)
        return inputs

    def map(self, config: MapConfig) -> "Map":
        """The unfitted map of a cell, or a saved map, which is named by its folder or by its key in the store."""
        kept = self._saved_map(config)
        map_: Map = build(config if kept is None else replace(config, path=str(kept)))  # type: ignore[call-arg]
        return map_

    def _saved_map(self, config: MapConfig) -> Path | None:
        """The folder of a saved map; None for a map to fit."""
        path: str | None = getattr(config, "path", None)
        if path is None or Path(path).expanduser().is_dir():
            return None if path is None else Path(path).expanduser()
        return self.artefacts.get("map", path)

    def fingerprint(self, model: ModelConfig) -> str:
        """Hash or commit of the weights and the tokenizer, as they are now."""
        self._identities[_key(model)] = fingerprint(self.path(model), model.revision)
        return self._identities[_key(model)]

    def _identity(self, model: ModelConfig) -> str:
        """The model with the fingerprint that it had when the running cell began."""
        return f"{_key(model)} {self._identities.get(_key(model)) or self.fingerprint(model)}"

    def cached(self, kind: str, key: str, make: Callable[[], T]) -> T:
        """A cache with one entry for each `kind`: a new `key` drops the old entry before `make` is called."""
        if self._cache.get(kind, ("", None))[0] != key:
            self._cache.pop(kind, None)
            self._cache[kind] = key, make()
        value: T = self._cache[kind][1]
        return value

    def memo(self, key: str, make: Callable[[], T]) -> T:
        """A cache for small values, kept as long as the session."""
        if key not in self._memos:
            self._memos[key] = make()
        value: T = self._memos[key]
        return value

    def checker(self, config: ModelConfig) -> "Checker":
        """Compares stored states of a model with what it computes now; kept as long as the model."""
        from bridge.activations.checking import Checker

        loaded, key = self.model(config), self._identity(config)
        if key not in self._checkers:
            self._checkers[key] = Checker(loaded)
        return self._checkers[key]

    def model(self, config: ModelConfig) -> "LoadedModel":
        """The loaded model; the two models used last stay in memory."""
        from bridge.models.loading import load

        key = self._identity(config)
        if key not in self._models:
            while len(self._models) >= MODELS_IN_MEMORY:
                gone = next(iter(self._models))
                del self._models[gone]
                self._checkers.pop(gone, None)
            self._models[key] = load(
                self.path(config),
                revision=config.revision,
                dtype=config.dtype.value,
                device=self.device,
                device_map=config.device_map,
                attn_implementation=config.attn_implementation,
                trust_remote_code=config.trust_remote_code,
                kind=config.kind.value,
            )
        self._models[key] = self._models.pop(key)
        return self._models[key]

    def items(self, dataset: DatasetConfig) -> list[Item]:
        """All items of a data set, before any tokenizer has seen them."""
        return self._source(dataset)[0]

    def _source(self, dataset: DatasetConfig) -> tuple[list[Item], str]:
        source = build(dataset)
        key = json.dumps(_plain(source.__dict__), sort_keys=True) + type(source).__name__
        if key not in self._items:
            items = source.load()
            self._items[key] = items, data_items.fingerprint(items)
        return self._items[key]

    def rosetta(self, config: BridgeConfig) -> "RosettaSet":
        """The items whose answer is one token in both tokenizers."""
        items, _ = self._source(config.dataset)
        pair, answers, key = config.pair, config.dataset.answers.value, self._rosetta_key(config)
        if key not in self._sets:
            from bridge.data.rosetta import describe_coverage, rosetta_set
            from bridge.models.loading import load_tokenizer

            source, target = (
                load_tokenizer(self.path(m), m.revision, m.trust_remote_code) for m in (pair.source, pair.target)
            )
            rosetta = rosetta_set(items, source, target, answers)
            log.info(describe_coverage(rosetta.coverage))
            contexts.note(self.outputs, key, (rosetta.contexts_source, rosetta.contexts_target))
            self._sets[key] = rosetta
        return self._sets[key]

    def prompts(self, config: BridgeConfig) -> "Prompts":
        """The items in both models' tokens, for a task that asks for no answer.

        Where items have answers they are those of the Rosetta set, so that tasks on one data set have the same rows.
        """
        from bridge.data.prompts import Prompts

        items, _ = self._source(config.dataset)
        if any(item.answer.strip() for item in items):
            known = self.rosetta(config)
            return Prompts(known.items, known.contexts_source, known.contexts_target, known.coverage)
        return self.cached("prompts", self._rosetta_key(config), lambda: self._encoded(config))

    def _encoded(self, config: BridgeConfig) -> "Prompts":
        from bridge.data.prompts import prompts_of
        from bridge.models.encoding import encode
        from bridge.models.kinds import kind_of
        from bridge.models.loading import load_tokenizer

        def encoder(model: ModelConfig) -> Callable[[Sequence[str]], list[list[int]]]:
            tokenizer = load_tokenizer(self.path(model), model.revision, model.trust_remote_code)
            return lambda texts: encode(tokenizer, texts, kind_of(model.kind.value).ends_texts)

        prompts = prompts_of(self.items(config.dataset), encoder(config.pair.source), encoder(config.pair.target))
        contexts.note(self.outputs, self._rosetta_key(config), (prompts.contexts_source, prompts.contexts_target))
        return prompts

    def noted_contexts(self, config: BridgeConfig) -> contexts.Contexts | None:
        """The contexts in both models' tokens, as `rosetta` wrote them to disk; None if it did not."""
        return contexts.noted(self.outputs, self._rosetta_key(config))

    def _rosetta_key(self, config: BridgeConfig) -> str:
        identity, answers = self._source(config.dataset)[1], config.dataset.answers.value
        return f"{self._identity(config.pair.source)} {self._identity(config.pair.target)} {identity} {answers}"

    def states(
        self,
        model: ModelConfig,
        texts: Sequence["Text"],
        layer: int,
        position: str = "last",
        positions: Sequence[Sequence[int]] | None = None,
    ) -> "Tensor":
        """States at one layer, from the store where they are there."""
        # All layers come from one pass, so that a layer ablation extracts once; aligned positions, of which one
        # prompt gives many, are kept only where they are wanted.
        loaded = self.model(model)
        layers = [layer] if positions is not None else list(range(loaded.anatomy.n_blocks + 1))
        key = f"{self._identity(model)} {position} {layers} {hash(tuple(texts))} {hash(str(positions))}"
        if key not in self._states:
            self._states[key] = self.store.states(
                loaded.fingerprint,
                lambda: loaded,
                texts,
                layers,
                position,
                positions,
                dtype=model.dtype.value,
                attn_implementation=model.attn_implementation,
                batch_size=self.batch_size,
            )
        return self._states[key][layer]

    def token_states(
        self, model: ModelConfig, texts: "Sequence[Text]", layers: Sequence[float]
    ) -> "dict[float, TokenStates]":
        """States of every token of the texts, special ones too, in shards from the store where they are there."""
        from bridge.activations.tokens import token_states

        loaded = self.model(model)
        return token_states(
            self.store,
            loaded.fingerprint,
            lambda: loaded,
            [tuple(ids) for ids in loaded.encode(texts)],
            layers,
            dtype=model.dtype.value,
            attn_implementation=model.attn_implementation,
            batch_size=self.batch_size,
        )

    def serves(self, config: BridgeConfig) -> bool:
        """Whether this session was made for the outputs, device and batch size of `config`."""
        mine = (self.outputs, self.device, self.batch_size)
        return mine == (Path(config.paths.outputs), config.device, config.batch_size)


def _key(model: ModelConfig) -> str:
    return json.dumps(_plain(asdict(model)), sort_keys=True)


def _spec(model: ModelConfig) -> Spec:
    return spec_of(_plain(model.zoo))


def _plain(node: Any) -> dict[str, Any]:
    values = node if isinstance(node, dict) else asdict(node)
    return json.loads(json.dumps(values, default=lambda enum: enum.value))
