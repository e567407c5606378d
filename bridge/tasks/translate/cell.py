"""A cell of task=translate: from its config to states, map, injection and scores."""

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bridge.activations.checking import content_hash
from bridge.building import build
from bridge.carry.carrier import Carrier
from bridge.config import resolve_layer, to_plain
from bridge.data.items import Item
from bridge.data.rosetta import RosettaSet
from bridge.data.splitting import Split, labels, numbered, split
from bridge.errors import ConfigError
from bridge.injection import Injection, LateLayer
from bridge.maps.adapter import Adapter
from bridge.maps.saved import Saved
from bridge.models.continuation import padded
from bridge.results.points import Result
from bridge.results.scores import Part
from bridge.schema import Answers, BridgeConfig, ModelConfig, TrainingLoss
from bridge.session import Session
from bridge.tasks.registry import run_id
from bridge.tasks.translate.gates import pairing_gate, state_gates
from bridge.tasks.translate.kept_map import description, keep, put_to_use
from bridge.tasks.translate.native import Native, Side
from bridge.tasks.translate.rows import CellRows, cell_rows
from bridge.tasks.translate.trial import Trial
from bridge.training import ThroughTarget


@dataclass
class _Setting:
    """The cached work of cells that differ only in their controls: everything but the scores of the controls."""

    trial: Trial
    facts: dict[str, Any]
    warnings: list[str]
    about: dict[str, Any]
    fitted_on: list[Item]


def compute(config: BridgeConfig, session: Session, inputs: dict[str, str]) -> Result:
    """The result of a cell of task=translate.

    Args:
        config: of the cell.
        session: the caches that cells share.
        inputs: fingerprints of the weights and items.

    Raises:
        BridgeError: something that a user can put right.
    """
    plain = to_plain(config)
    plain["control"] = {k: v for k, v in plain["control"].items() if k != "names"}
    key = json.dumps([run_id(plain), inputs])
    setting = session.cached("setting", key, lambda: _setting(config, session, inputs))
    result = setting.trial.result(config.control.names)
    result.facts = {**setting.facts, **result.facts}
    if config.task.save_map:  # type: ignore[attr-defined]
        carrier = setting.trial.carrier
        adapter = Adapter(carrier.source_, carrier.map_, carrier.target_)
        result.facts["map_folder"] = keep(config, session, inputs, adapter, setting.about, setting.fitted_on)
    result.warnings += setting.warnings
    return result


def _setting(config: BridgeConfig, session: Session, inputs: dict[str, str]) -> _Setting:
    pair = config.pair
    source, target = session.model(pair.source), session.model(pair.target)
    for side, model in (("source", source), ("target", target)):
        if model.anatomy.head is None:
            raise ConfigError(
                f"{getattr(pair, side).name} is {model.kind.called}, which writes no tokens; wanted a model that "
                f"does, as task=translate scores them: give pair.{side}.kind=causal, or another task"
            )
    injection: Injection = build(config.injection)
    layers = _layers(config, injection, source.anatomy.n_blocks, target.anatomy.n_blocks)

    rosetta = session.rosetta(config)
    by = config.dataset.split
    parts = split(rosetta.items, by.by.value, config.dataset.size, by.eval_fraction, by.eval_size, config.seed)
    map_, about = session.map(config.map), description(config, inputs, layers, len(parts.fit))
    warnings: list[str] = []
    answers: set[str] = set()
    if isinstance(map_, Saved):
        map_.check_widths(source.anatomy.width, target.anatomy.width)
        warnings, answers = put_to_use(map_, about, [rosetta.items[i] for i in parts.eval.tolist()])
    some = _parts(config, rosetta, parts, answers)
    native = _native(config, session, inputs, rosetta, parts)
    trainer = _trainer(config, session, rosetta, parts, layers)
    injection.prepare(target, native.target.contexts, layers["target"])
    rows = cell_rows(config, session, rosetta, parts, layers, injection.n_states)
    chance = _chance(rosetta, parts, native.logits.shape[1])
    n_draws = config.control.n_draws
    assert isinstance(n_draws, int)
    carrier = Carrier(map_, build(config.normalize), rows.fit.to(target.device), n_draws, config.seed, trainer)
    trial = Trial(
        carrier=carrier,
        injection=injection,
        evaluation=rows.evaluation.to(target.device),
        native=native,
        parts=some,
        axes={"layer": [layers["source"], layers["target"]], "n_fit": len(parts.fit)},
        unit=config.dataset.unit.value,
        checks=_checks(config, session, layers, rows, native),
        commonest=chance["commonest_top1"],
        gates=config.task.gates,  # type: ignore[attr-defined]
    )
    facts = {
        "models": {"source": session.path(pair.source), "target": session.path(pair.target)},
        "layers": layers,
        "n_left": len(parts.pool),
        "coverage": rosetta.coverage,
        "chance": chance,
    }
    no_block = isinstance(injection, LateLayer) and layers["target"] == layers["n_target"]
    if no_block:
        warnings.append("late_layer with no block left is lm_head; give layer=... or injection.k=...")
    return _Setting(trial, facts, warnings, about, [rosetta.items[i] for i in parts.fit.tolist()])


def _parts(config: BridgeConfig, rosetta: RosettaSet, parts: Split, answers: set[str]) -> dict[str, Part]:
    """All eval items, those whose answer no fit row has, and the others; each with the units of inference.

    `answers` are those that a saved map was fitted on: they count as known too.
    """
    units = numbered(labels(rosetta.items, config.dataset.unit.value))[parts.eval]
    before = torch.tensor([rosetta.items[i].answer.strip() in answers for i in parts.eval.tolist()])
    token = parts.known(rosetta.gold_target.tolist()) | before
    whole = parts.known([item.answer.strip() for item in rosetta.items]) | before
    every = torch.ones_like(token)
    masks = {"all": (every, every), "new": (~token, ~whole), "known": (token, whole)}
    n_resamples = config.task.n_resamples  # type: ignore[attr-defined]
    keys = [("items", "token"), ("items", "whole")]
    return {
        name: Part({"items": units}, dict(zip(keys, both, strict=True)), n_resamples, config.seed)
        for name, both in masks.items()
    }


def _checks(
    config: BridgeConfig, session: Session, layers: dict[str, int], rows: CellRows, native: Native
) -> dict[str, dict[str, Any]]:
    """The gates that depend on states alone."""
    limits = config.task.gates  # type: ignore[attr-defined]
    sides = [
        (session.checker(model), layers[side], side)
        for side, model in (("source", config.pair.source), ("target", config.pair.target))
    ]
    pairing = session.memo(
        f"pairing {content_hash(rows.every)} {config.seed} {limits.pairing}",
        lambda: pairing_gate(rows.every, limits.pairing, config.seed),
    )
    own = {"source": native.source, "target": native.target}
    states = state_gates(sides, rows.fit, rows.evaluation, own, config.layer.position, config.seed, limits)
    return {**states, "pairing": pairing}


def _native(
    config: BridgeConfig, session: Session, inputs: dict[str, str], rosetta: RosettaSet, parts: Split
) -> Native:
    """Both models' own answers on the eval items: the same for every layer, map, injection and fit size."""
    pair, chosen = config.pair, parts.eval.tolist()
    whole = config.dataset.answers is Answers.any

    def side(config: ModelConfig, contexts: list[tuple[int, ...]], gold: Tensor, answers: list[list[int]]) -> Side:
        model = session.model(config)
        states = session.states(config, contexts, model.anatomy.n_blocks)
        wanted = padded([answers[i] for i in chosen]) if whole else None
        return Side(model, [contexts[i] for i in chosen], gold[parts.eval], states[parts.eval], wanted)

    def native() -> Native:
        source = side(pair.source, rosetta.contexts_source, rosetta.gold_source, rosetta.answers_source)
        target = side(pair.target, rosetta.contexts_target, rosetta.gold_target, rosetta.answers_target)
        return Native(source, target, [rosetta.items[i] for i in chosen])

    return session.cached("native", json.dumps([to_plain(config)["pair"], inputs, whole, chosen]), native)


def _trainer(
    config: BridgeConfig, session: Session, rosetta: RosettaSet, parts: Split, layers: dict[str, int]
) -> ThroughTarget | None:
    """The trainer through the target, prepared for the fit prompts; None if maps are fitted on states alone."""
    training = config.map.training
    if training.loss is TrainingLoss.states:
        return None
    if config.layer.position == "aligned":
        raise ConfigError(
            "layer.position=aligned gives many rows of one answer; wanted one row of each for training through the "
            "target: give layer.position=last or map.training.loss=states"
        )
    target = session.model(config.pair.target)
    injection: Injection = build(config.injection)
    injection.prepare(target, [rosetta.contexts_target[i] for i in parts.fit.tolist()], layers["target"])
    trainer: ThroughTarget = build(training, schedule=training)
    groups = numbered(labels(rosetta.items, config.dataset.split.by.value))[parts.fit]
    return trainer.prepare(injection, rosetta.gold_target[parts.fit], target.anatomy.vocab_size, config.seed, groups)


def _chance(rosetta: RosettaSet, parts: Split, n_tokens: int) -> dict[str, float]:
    """Scores of guesses that use nothing of an item.

    A uniform guess; a guess by the frequency of answers among the fit rows; and, for top-1, always the commonest eval
    answer.
    """
    fit, gold = rosetta.gold_target[parts.fit], rosetta.gold_target[parts.eval]
    counts = torch.bincount(fit, minlength=n_tokens).double() + 1 / n_tokens
    prior = (counts / counts.sum()).log()
    return {
        "uniform_logprob_nats": -math.log(n_tokens),
        "prior_logprob_nats": float(prior[gold].mean()),
        "commonest_top1": float(torch.bincount(gold).max() / len(gold)),
    }


def _layers(config: BridgeConfig, injection: Injection, n_source: int, n_target: int) -> dict[str, int]:
    """The layers as numbers. If `layer.target` is not given, the injection chooses it."""
    layer, pair = config.layer, config.pair
    source = resolve_layer(layer.source, n_source, pair.source.name)
    wanted = None if layer.target is None else resolve_layer(layer.target, n_target, pair.target.name)
    if wanted is None and isinstance(injection, LateLayer) and injection.k is None:
        wanted = resolve_layer(layer.source, n_target, pair.target.name)
    return {
        "source": source,
        "target": injection.target_layer(n_target, wanted, pair.target.name),
        "n_source": n_source,
        "n_target": n_target,
    }
