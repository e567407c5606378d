"""Translate: a hidden state is carried over and scored by the token that the target decodes from it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bridge.controls import CONTROLS, REFERENCES, Carrier
from bridge.data.rosetta import Item
from bridge.injection import Injection, LmHead, SoftPrefix
from bridge.maps.base import Map
from bridge.metrics import share_outside_span, state_scores, token_scores
from bridge.models.loading import LoadedModel
from bridge.normalize import Normalize
from bridge.tasks.gates import Side, decode_gate, pairing_gate, planted_gate, same_model_gate
from bridge.tasks.summary import Branch, contrast, summarize

METRICS = ("top1", "top5", "top10", "mrr", "logprob_nats", "kl_nats", "agreement")
LOGITS_AT_ONCE = 2**24
N_DECODE_CHECK = 16
log = logging.getLogger(__name__)


@dataclass
class Rows:
    """Matched states of one pair: row i of `X` and of `Y` come from one item at one text position.

    Shapes: for the fit X (n, d_source), Y (n, d_target), relations (n,) integer labels; for eval
    X (m, K, d_source), Y (m, K, d_target), where K is what the injection asks for and [:, -1] is the last.
    """

    X: Tensor
    Y: Tensor
    relations: Tensor

    def to(self, device: torch.device) -> "Rows":
        """The same rows on another device; the labels stay where they are."""
        return Rows(self.X.to(device), self.Y.to(device), self.relations)


@dataclass
class TaskResult:
    """What a task hands to the record: JSON-ready numbers, and one column per field of items.parquet."""

    columns: dict[str, Any]
    scores: dict[str, Any]
    contrasts: dict[str, Any]
    scores_by_answer: dict[str, Any]
    state_scores: dict[str, Any]
    gates: dict[str, dict[str, Any]]
    fit: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


class Translate:
    """Scores the fitted map beside its controls, the ceilings and both models' own answers.

    Args:
        n_resamples: bootstrap resamples and sign flips.
        gates: thresholds with the attributes decode, same_model, planted and pairing.
    """

    def __init__(self, n_resamples: int, gates: Any) -> None:
        self.n_resamples = n_resamples
        self.gates = gates

    def run(
        self,
        *,
        map: Map,
        normalize: Normalize,
        injection: Injection,
        fit: Rows,
        evaluation: Rows,
        items: Sequence[Item],
        seen_answer: Tensor,
        source: Side,
        target: Side,
        controls: Sequence[str],
        n_draws: int,
        seed: int,
    ) -> TaskResult:
        """Fit, carry, decode, score.

        Args:
            map: an unfitted map.
            normalize: an unfitted normalisation.
            injection: prepared for the eval prompts, in the order of `items`.
            fit: states to fit on.
            evaluation: states to carry, one entry per item.
            items: the m eval items.
            seen_answer: (m,) whether the answer of an item occurs among the fit rows.
            source: the source model's side.
            target: the target model's side.
            controls: names from `CONTROLS` that are scored.
            n_draws: draws of each random control.
            seed: seeds the controls and the resampling.

        Raises:
            FitError: states that hold NaN, or widths that the map cannot take.
        """
        fit, evaluation = fit.to(target.model.device), evaluation.to(target.model.device)
        m, k, _ = evaluation.X.shape
        carrier = Carrier(map, normalize, fit.X, fit.Y, fit.relations, n_draws, seed)
        X, Y = evaluation.X.flatten(0, 1), evaluation.Y.flatten(0, 1)
        carried = {name: carrier.carry(name, X, Y) for name in dict.fromkeys([*controls, *_GATE_CONTROLS])}
        carried = {name: c.unflatten(1, (m, k)) for name, c in carried.items()}

        decode = LmHead().prepare(target.model, [i.prompt for i in items], target.model.anatomy.n_blocks)
        native_logits = decode.logits(target.final_states, torch.arange(m))
        source_logits = (
            LmHead()
            .prepare(source.model, [i.prompt for i in items], source.model.anatomy.n_blocks)
            .logits(source.final_states, torch.arange(m))
        )
        source_answers = [source.model.tokenizer.decode([i]).strip() for i in source_logits.argmax(-1).tolist()]
        judge = _Judge(target, injection, native_logits, source_answers)

        branches = {
            "native_source": Branch(_alone(source_logits, source, None, source_answers)),
            "native_target": Branch(_alone(native_logits, target, native_logits, source_answers)),
        }
        if isinstance(injection, SoftPrefix):
            branches["gold_embedding"] = Branch(
                _alone(injection.gold_logits(target.gold), target, native_logits, source_answers)
            )
        scored = [c for c in CONTROLS if c in {*controls, "same_model"}]
        n_rows = sum(len(carried[c]) * m for c in scored)
        with tqdm(total=n_rows, desc="score states", delay=2.0, leave=False, disable=None) as bar:
            for name in scored:
                branches[name] = judge.branch(carried[name], bar)

        final_logits = ((source, source_logits), (target, native_logits))
        mean = carrier.Y_fit.mean(0)
        last = {name: states[:, :, -1] for name, states in carried.items()}
        gates = {
            "decode": decode_gate(final_logits, items[:N_DECODE_CHECK], self.gates.decode),
            "same_model": same_model_gate(branches, self.gates.same_model),
            "planted": planted_gate(carrier, last["planted"][0], evaluation.Y[:, -1], self.gates.planted),
            "pairing": pairing_gate(last, evaluation.Y[:, -1], mean, self.gates.pairing),
        }
        shown = [*controls, *(n for n in REFERENCES if n in branches)]
        generator = torch.Generator().manual_seed(seed)
        everyone = torch.ones(m, dtype=torch.bool)
        native = branches["native_target"]
        scores = {n: summarize(branches[n], everyone, native, self.n_resamples, generator) for n in shown}
        by_answer = {
            label: {
                "n": int(mask.sum()),
                "scores": {n: summarize(branches[n], mask, native, self.n_resamples, generator) for n in shown},
            }
            for label, mask in (("seen", seen_answer), ("unseen", ~seen_answer))
            if mask.any()
        }
        contrasts = {
            n: contrast(branches["fitted"], branches[n], self.n_resamples, generator)
            for n in shown
            if "fitted" in shown and n != "fitted"
        }
        return TaskResult(
            columns=_columns(branches, shown, items, seen_answer),
            scores=scores,
            contrasts=contrasts,
            scores_by_answer=by_answer,
            state_scores={n: _state_summary(last[n], evaluation.Y[:, -1], mean) for n in controls},
            gates=gates,
            **_fit_facts(carrier, fit, evaluation),
        )


_GATE_CONTROLS = ("fitted", "shuffled", "shuffled_within", "same_model", "planted")


class _Judge:
    """Decodes carried states inside the target and scores the tokens that come out."""

    def __init__(self, target: Side, injection: Injection, native_logits: Tensor, source_answers: list[str]) -> None:
        self.target = target
        self.injection = injection
        self.native_logits = native_logits
        self.source_answers = source_answers

    def branch(self, states: Tensor, bar: Any = None) -> Branch:
        """Score `states` (n_draws, m, K, d_target)."""
        n_draws, m = states.shape[:2]
        flat = states.flatten(0, 1)
        if self.injection.n_states == 1:
            flat = flat[:, -1]
        rows = torch.arange(m).repeat(n_draws)
        at_once = max(1, LOGITS_AT_ONCE // self.native_logits.shape[1])
        parts: list[dict[str, Any]] = []
        for chunk in torch.arange(len(rows)).split(at_once):
            picked = rows[chunk]
            logits = self.injection.logits(flat[chunk], picked)
            parts.append(
                _scored(
                    logits,
                    self.target.gold[picked],
                    self.native_logits[picked],
                    self.target.model,
                    [self.source_answers[i] for i in picked.tolist()],
                )
            )
            if bar is not None:
                bar.update(len(chunk))
        metrics = {name: torch.cat([p["metrics"][name] for p in parts]).view(n_draws, m) for name in METRICS}
        return Branch(metrics, [a for p in parts for a in p["answers"]])


def _alone(logits: Tensor, side: Side, native: Tensor | None, source_answers: list[str]) -> dict[str, Tensor]:
    """Scores of logits (m, V) that involve no map, one per eval item."""
    metrics: dict[str, Tensor] = _scored(logits, side.gold, native, side.model, source_answers)["metrics"]
    return {name: values[None] for name, values in metrics.items()}


def _scored(
    logits: Tensor, gold: Tensor, native: Tensor | None, model: LoadedModel, source_answers: list[str]
) -> dict[str, Any]:
    metrics = {n: v.cpu() for n, v in token_scores(logits, gold.to(logits.device), native).items()}
    metrics["mrr"] = metrics.pop("rr")
    best = logits.argmax(-1).tolist()
    texts = {i: model.tokenizer.decode([i]).strip() for i in set(best)}
    answers = [texts[i] for i in best]
    agrees = [a == s for a, s in zip(answers, source_answers, strict=True)]
    metrics["agreement"] = torch.tensor(agrees, dtype=torch.float64)
    return {"metrics": metrics, "answers": answers}


def _state_summary(Y_hat: Tensor, Y: Tensor, mean: Tensor) -> dict[str, Any]:
    """Mean and range over draws of the held-out state scores."""
    draws = [state_scores(draw, Y.double(), mean) for draw in Y_hat]
    summary: dict[str, Any] = {}
    for name in ("explained_variance", "relative_error", "cosine"):
        values = [float(d[name]) for d in draws]
        summary[name] = {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
    per_feature = torch.stack([d["explained_variance_per_feature"] for d in draws]).mean(0).cpu()
    low, median, high = torch.nanquantile(per_feature, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    summary["explained_variance_per_feature"] = {"p10": low, "median": median, "p90": high}
    return summary


def _fit_facts(carrier: Carrier, fit: Rows, evaluation: Rows) -> dict[str, Any]:
    n, d_source = fit.X.shape
    Z_fit = carrier.source_.transform(carrier.X_fit)
    Z_eval = carrier.source_.transform(evaluation.X[:, -1].double())
    outside = share_outside_span(Z_fit, Z_eval)
    in_sample = state_scores(carrier.carry("fitted", fit.X, fit.Y)[0], fit.Y.double(), carrier.Y_fit.mean(0))
    facts = {
        "n_rows": n,
        "d_source": d_source,
        "d_target": fit.Y.shape[1],
        "n_over_d": n / d_source,
        "rank": carrier.map_.rank_,
        "solver": carrier.map_.solver_,
        "eval_variance_outside_span": outside,
        "in_sample": {k: float(in_sample[k]) for k in ("explained_variance", "relative_error", "cosine")},
    }
    warnings = []
    if n < d_source:
        warnings.append(
            f"n={n} fit rows are fewer than d={d_source}: the map is undetermined on directions that hold "
            f"{outside:.0%} of the eval variance"
        )
    return {"fit": facts, "warnings": warnings}


def _columns(
    branches: dict[str, Branch], shown: Sequence[str], items: Sequence[Item], seen_answer: Tensor
) -> dict[str, Any]:
    """One entry per control, draw and item."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("control", "draw", "item", "prompt", "relation", "subject", "answer", "answer_seen", *METRICS)
    }
    m = len(items)
    for name in shown:
        branch = branches[name]
        n_draws = branch.n_draws
        columns["control"] += [name] * (n_draws * m)
        columns["draw"] += [d for d in range(n_draws) for _ in range(m)]
        columns["item"] += list(range(m)) * n_draws
        for attribute in ("prompt", "relation", "subject", "answer"):
            columns[attribute] += [getattr(i, attribute) for i in items] * n_draws
        columns["answer_seen"] += seen_answer.tolist() * n_draws
        for metric in METRICS:
            values = branch.metrics.get(metric)
            columns[metric] += [None] * (n_draws * m) if values is None else values.flatten().tolist()
    return columns
