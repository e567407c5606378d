"""A cell of task=translate: from its config to states, map, injection and scores."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bridge import record
from bridge.config import build, resolve_layer, to_plain
from bridge.data.pairing import aligned_positions
from bridge.data.rosetta import RosettaSet, Split, split
from bridge.errors import ConfigError, DataError
from bridge.injection import Injection, LateLayer
from bridge.maps import Adapter
from bridge.models.continuation import padded
from bridge.schema import Answers, BridgeConfig, ModelConfig, TrainingLoss
from bridge.session import Session
from bridge.tasks.native import Native, Side
from bridge.tasks.rows import Rows
from bridge.tasks.trial import Trial
from bridge.training import ThroughTarget

log = logging.getLogger("bridge")


@dataclass
class _Setting:
    """What cells share that differ in their controls alone: all of the work but the controls' own."""

    trial: Trial
    facts: dict[str, Any]
    warnings: list[str]


def compute(config: BridgeConfig, session: Session, inputs: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a cell of task=translate leaves in record.json, and its per-item columns.

    Args:
        config: of the cell.
        session: what cells share.
        inputs: what the results rest on.

    Raises:
        BridgeError: something that a user can put right.
    """
    plain = to_plain(config)
    plain["control"] = {k: v for k, v in plain["control"].items() if k != "names"}
    key = json.dumps([record.run_id(plain), inputs])
    setting = session.kept("setting", key, lambda: _setting(config, session, inputs))
    result = setting.trial.result(config.control.names)
    saved = {"map_folder": _saved(config, setting, inputs)} if getattr(config.task, "save_map", False) else {}
    warnings = [*result.warnings, *setting.warnings]
    for warning in warnings:
        log.warning(warning)
    data = {
        **setting.facts,
        **saved,
        "rank": result.fit["rank"],
        "fit": result.fit,
        "gates": result.gates,
        "valid": all(gate["passed"] for gate in result.gates.values()),
        "scores": result.scores,
        "scores_by_answer": result.scores_by_answer,
        "contrasts": result.contrasts,
        "state_scores": result.state_scores,
        "warnings": warnings,
    }
    return data, result.columns


def _saved(config: BridgeConfig, setting: _Setting, inputs: dict[str, str]) -> str:
    """Write the fitted map with what it was fitted for, and say where."""
    folder = Path(config.paths.outputs) / "maps" / record.run_id(to_plain(config))
    pair, layers = config.pair, setting.facts["layers"]
    carrier = setting.trial.carrier
    about: dict[str, str | int | float | bool | None] = {
        "pair": pair.name,
        "source": pair.source.name,
        "target": pair.target.name,
        "source_weights": inputs["source"],
        "target_weights": inputs["target"],
        "source_layer": layers["source"],
        "target_layer": layers["target"],
        "position": config.layer.position,
        "n_fit": setting.facts["n_fit"],
    }
    Adapter(carrier.source_, carrier.map_, carrier.target_).save(folder, about)
    return str(folder)


def _setting(config: BridgeConfig, session: Session, inputs: dict[str, str]) -> _Setting:
    pair = config.pair
    source, target = session.model(pair.source), session.model(pair.target)
    injection: Injection = build(config.injection)
    layers = _layers(config, injection, source.anatomy.n_blocks, target.anatomy.n_blocks)

    rosetta = session.rosetta(config)
    by = config.dataset.split
    parts = split(rosetta.items, by.by.value, config.dataset.size, by.eval_fraction, by.eval_size, config.seed)
    native = _native(config, session, inputs, rosetta, parts)
    trainer = _trainer(config, session, rosetta, parts, layers)
    injection.prepare(target, [i.prompt for i in native.items], layers["target"])
    fit, evaluation = _rows(config, session, rosetta, parts, layers, injection.n_states)
    trial: Trial = build(config.task).fit(
        map=build(config.map),
        normalize=build(config.normalize),
        injection=injection,
        fit=fit,
        evaluation=evaluation,
        native=native,
        seen_answer=parts.seen_answer,
        n_draws=config.control.n_draws,
        seed=config.seed,
        trainer=trainer,
    )
    facts = {
        "models": {"source": session.path(pair.source), "target": session.path(pair.target)},
        "layers": layers,
        "n_fit": len(parts.fit),
        "n_eval": len(native.items),
        "n_left": parts.pool_size,
        "coverage": rosetta.coverage,
        "chance": _chance(rosetta, parts, native.logits.shape[1]),
    }
    no_block = isinstance(injection, LateLayer) and layers["target"] == layers["n_target"]
    said = ["late_layer with no block left is lm_head; give layer=... or injection.k=..."] if no_block else []
    return _Setting(trial, facts, said)


def _native(
    config: BridgeConfig, session: Session, inputs: dict[str, str], rosetta: RosettaSet, parts: Split
) -> Native:
    """What the two models say themselves on the eval items: the same for every layer, map, injection and fit size."""
    pair = config.pair
    items = [rosetta.items[i] for i in parts.eval.tolist()]

    whole = config.dataset.answers is Answers.any

    def side(config: ModelConfig, gold: Tensor, answers: list[list[int]]) -> Side:
        model = session.model(config)
        states = session.states(config, [i.prompt for i in rosetta.items], model.anatomy.n_blocks)
        wanted = padded([answers[i] for i in parts.eval.tolist()]) if whole else None
        return Side(model, gold[parts.eval], states[parts.eval], wanted)

    def native() -> Native:
        source = side(pair.source, rosetta.gold_source, rosetta.answers_source)
        return Native(source, side(pair.target, rosetta.gold_target, rosetta.answers_target), items)

    return session.kept("native", json.dumps([to_plain(config)["pair"], inputs, whole, parts.eval.tolist()]), native)


def _trainer(
    config: BridgeConfig, session: Session, rosetta: RosettaSet, parts: Split, layers: dict[str, int]
) -> ThroughTarget | None:
    """What trains the map through the target, holding the fit prompts; None where it is fitted on states alone."""
    training = config.map.training
    if training.loss is TrainingLoss.states:
        return None
    if config.layer.position == "aligned":
        raise ConfigError(
            "layer.position=aligned gives many rows of one answer, and training through the target needs one; give "
            "layer.position=last or map.training.loss=states"
        )
    target = session.model(config.pair.target)
    injection: Injection = build(config.injection)
    injection.prepare(target, [rosetta.items[i].prompt for i in parts.fit.tolist()], layers["target"])
    trainer: ThroughTarget = build(training)
    return trainer.prepare(injection, rosetta.gold_target[parts.fit], target.anatomy.vocab_size, config.seed)


def _chance(rosetta: RosettaSet, parts: Split, n_tokens: int) -> dict[str, float]:
    """What knowing nothing of an item is worth: all tokens alike, or each as often as it is an answer in the fit."""
    fit, gold = rosetta.gold_target[parts.fit], rosetta.gold_target[parts.eval]
    counts = torch.bincount(fit, minlength=n_tokens).double() + 1 / n_tokens
    prior = (counts / counts.sum()).log()
    return {
        "uniform_logprob_nats": -math.log(n_tokens),
        "prior_logprob_nats": float(prior[gold].mean()),
        "prior_top1": float((gold == counts.argmax()).double().mean()),
    }


def _layers(config: BridgeConfig, injection: Injection, n_source: int, n_target: int) -> dict[str, int]:
    """The layers as numbers. Where `layer.target` is not given, the injection says where it wants its states."""
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


def _rows(
    config: BridgeConfig,
    session: Session,
    rosetta: RosettaSet,
    parts: Split,
    layers: dict[str, int],
    n_states: int,
) -> tuple[Rows, Rows]:
    """States to fit on and states to carry, row by row from the same item at the same text position."""
    pair, position = config.pair, config.layer.position
    prompts = [i.prompt for i in rosetta.items]
    names = {name: k for k, name in enumerate(sorted({i.relation for i in rosetta.items}))}
    labels = torch.tensor([names[i.relation] for i in rosetta.items])

    def both(at: str, positions: list[list[list[int]]] | None = None) -> list[Tensor]:
        return [
            session.states(m, prompts, layers[side], at, None if positions is None else positions[k])
            for k, (side, m) in enumerate((("source", pair.source), ("target", pair.target)))
        ]

    if position not in ("last", "mean", "aligned"):
        raise ConfigError(f"layer.position={position} is unknown; give last, mean or aligned")
    if position == "mean" and n_states > 1:
        raise ConfigError(
            f"layer.position=mean gives one state, the injection wants {n_states}; give layer.position=last or "
            "injection.k=1"
        )
    if n_states == 1:
        X, Y = (states[:, None] for states in both("mean" if position == "mean" else "last"))
    else:
        X, Y = both(f"last:{n_states}")
    evaluation = Rows(X[parts.eval], Y[parts.eval], labels[parts.eval])
    if position != "aligned":
        return Rows(X[parts.fit, -1], Y[parts.fit, -1], labels[parts.fit]), evaluation

    tokenizers = [session.model(m).tokenizer for m in (pair.source, pair.target)]
    matched = [aligned_positions(p, *tokenizers) for p in prompts]
    if not all(matched):
        raise DataError("a prompt has no position where both tokenizers have a boundary; give layer.position=last")
    X, Y = both("index", [[[m[side] for m in row] for row in matched] for side in (0, 1)])
    item = torch.tensor([i for i, row in enumerate(matched) for _ in row])
    rows = torch.isin(item, parts.fit)
    return Rows(X[rows], Y[rows], labels[item[rows]]), evaluation
