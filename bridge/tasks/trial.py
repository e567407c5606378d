"""One fitted map and what it is held against: each control is carried and scored once, when first asked for."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bridge.controls import CONTROLS, REFERENCES, Carrier
from bridge.injection import Injection, SoftPrefix
from bridge.metrics import share_outside_span, state_scores
from bridge.tasks.gates import decode_gate, pairing_gate, planted_gate, same_model_gate
from bridge.tasks.native import Native, whole_scores
from bridge.tasks.rows import Rows, TaskResult
from bridge.tasks.summary import Branch, contrast, summarize

# Few enough for the cache, but never so few rows that the head of a large vocabulary is read again and again.
LOGITS_AT_ONCE, ROWS_AT_LEAST = 2**22, 128
# Permutations of each form that the pairing probe is held against: a rank of 1 among them is p = 0.024.
N_PERMUTED = 20
# Permutations that a cycle is held against; their errors hardly differ.
N_CYCLES = 2


class Trial:
    """Everything that does not depend on which controls are asked for, and the controls asked for so far.

    No number depends on what was asked before or together with it: each control has a generator of its own, and
    all intervals and p values use the same resamples of the items, those of a generator seeded afresh.

    Args:
        carrier: the fitted map beside its controls.
        injection: prepared for the eval prompts.
        fit: states that were fitted on.
        evaluation: states to carry, on the target's device.
        native: both models' own answers on the eval items.
        seen_answer: (m,) whether the answer of an item occurs among the fit rows.
        n_resamples: bootstrap resamples and sign flips.
        gates: thresholds with the attributes decode, same_model, planted and pairing.
        seed: seeds the resampling.
    """

    def __init__(
        self,
        carrier: Carrier,
        injection: Injection,
        fit: Rows,
        evaluation: Rows,
        native: Native,
        seen_answer: Tensor,
        n_resamples: int,
        gates: Any,
        seed: int,
    ) -> None:
        self.carrier = carrier
        self.injection = injection
        self.fit_rows, self.evaluation = fit, evaluation
        self.native = native
        self.seen_answer = seen_answer
        self.n_resamples = n_resamples
        self.thresholds = gates
        self.seed = seed
        self.mean = carrier.Y_fit.mean(0)
        self._branches = dict(native.branches)
        self._carried: dict[str, Tensor] = {}
        self._state_scores: dict[str, Any] = {}
        self._scores: dict[str, Any] = {}
        self._contrasts: dict[str, Any] = {}
        if isinstance(injection, SoftPrefix):
            gold, answers = native.target.gold, native.target.answers
            continued = None if answers is None else injection.gold_continued(gold, answers)
            logits = injection.gold_logits(gold)
            self._branches["gold_embedding"] = native.branch_of(logits, native.target, native.logits, continued)

    def result(self, controls: Sequence[str]) -> TaskResult:
        """What a record tells of `controls`, beside the references and the gates."""
        gates = self.gates
        for name in controls:
            self._score(name)
        shown = [*controls, *(n for n in REFERENCES if n in self._branches)]
        summaries = {name: self._summaries(name) for name in shown}
        labels = [label for label, mask in self._masks.items() if label != "all" and mask.any()]
        facts, warnings = self.fit
        return TaskResult(
            columns=self._columns(shown),
            scores={name: summaries[name]["all"] for name in shown},
            scores_by_answer={
                label: {
                    "n": int(self._masks[label].sum()),
                    "scores": {name: summaries[name][label] for name in shown},
                }
                for label in labels
            },
            contrasts={name: self._contrast(name) for name in shown if "fitted" in shown and name != "fitted"},
            state_scores={name: self._state_scores[name] for name in controls},
            gates=gates,
            fit=facts,
            warnings=list(warnings),
        )

    @cached_property
    def gates(self) -> dict[str, dict[str, Any]]:
        """Whether any score means anything; the same for every control."""
        X, Y, limits = self.evaluation.X[:, -1], self.evaluation.Y[:, -1], self.thresholds
        planted = self._carry("planted")[0, :, -1]
        self._score("same_model")
        return {
            "decode": decode_gate(self.native, limits.decode),
            "same_model": same_model_gate(
                self._branches["same_model"], self._branches["native_target"], limits.same_model
            ),
            "planted": planted_gate(self.carrier, planted, Y, limits.planted),
            "pairing": pairing_gate(self.carrier, X, Y, N_PERMUTED, limits.pairing, self._generator()),
        }

    @cached_property
    def fit(self) -> tuple[dict[str, Any], list[str]]:
        """What the fit had to go on, and what a reader must be warned of."""
        carrier, X, Y = self.carrier, self.fit_rows.X, self.fit_rows.Y
        n, d_source = X.shape
        Z_fit = carrier.source_.transform(carrier.X_fit)
        outside = share_outside_span(Z_fit, carrier.source_.transform(self.evaluation.X[:, -1].double()))
        in_sample = state_scores(carrier.carry("fitted", X, Y)[0], Y.double(), self.mean)
        facts = {
            "n_rows": n,
            "d_source": d_source,
            "d_target": Y.shape[1],
            "n_over_d": n / d_source,
            "rank": carrier.map_.rank_,
            "solver": carrier.map_.solver_,
            "eval_variance_outside_span": outside,
            "in_sample": {k: float(in_sample[k]) for k in ("explained_variance", "relative_error", "cosine")},
            "n_parameters": carrier.map_.n_parameters_,
            "cycle": self._cycle(),
        }
        if hasattr(carrier.map_, "training_"):
            facts["training"] = carrier.map_.training_
        if n >= d_source:
            return facts, []
        return facts, [
            f"n={n} fit rows are fewer than d={d_source}: the map is undetermined on directions that hold "
            f"{outside:.0%} of the eval variance"
        ]

    def _cycle(self) -> dict[str, float]:
        """Relative error of eval states that went there and back, of rows as they are and of permuted rows.

        Back goes the same kind of map, fitted on states from target to source on the same rows. 1 is the error of the
        mean. For a rotation the way back is the inverse whatever the rows were, so the permuted rows say what an error
        is worth.
        """
        carrier, X = self.carrier, self.evaluation.X[:, -1].double()
        n, generator = len(carrier.X_fit), self._generator()
        permuted = torch.stack([torch.randperm(n, generator=generator) for _ in range(N_CYCLES)])
        ways = zip([carrier.map_, *carrier.fits(permuted)], [torch.arange(n), *permuted], strict=True)
        errors = []
        for there, order in ways:
            Y_fit = carrier.Y_fit[order.to(carrier.Y_fit.device)]
            back = Carrier(carrier.map, carrier.normalize, Y_fit, carrier.X_fit, carrier.relations, 1, self.seed)
            X_hat = back.through(back.map_, carrier.through(there, X))
            errors.append(float(state_scores(X_hat, X, carrier.X_fit.mean(0))["relative_error"]))
        return {"relative_error": errors[0], "permuted_relative_error": float(np.mean(errors[1:]))}

    def _carry(self, name: str) -> Tensor:
        """States (n_draws, m, K, d_target) under a control; kept until they are scored."""
        if name not in self._carried:
            X, Y = self.evaluation.X, self.evaluation.Y
            carried = self.carrier.carry(name, X.flatten(0, 1), Y.flatten(0, 1))
            self._carried[name] = carried.unflatten(1, X.shape[:2])
        return self._carried[name]

    def _score(self, name: str) -> None:
        if name in self._state_scores:
            return
        states = self._carry(name)
        self._branches[name] = self._decoded(states, name)
        self._state_scores[name] = _state_summary(states[:, :, -1], self.evaluation.Y[:, -1], self.mean)
        del self._carried[name]

    def _decoded(self, states: Tensor, name: str) -> Branch:
        """Score the tokens that the target says when it holds `states` (n_draws, m, K, d_target)."""
        n_draws, m = states.shape[:2]
        if self.injection.n_states == 1:
            states = states[:, :, -1]
        width = self.native.logits.shape[1]
        n_rows = min(m, max(ROWS_AT_LEAST, LOGITS_AT_ONCE // width))
        n_at_once = max(1, LOGITS_AT_ONCE // (n_rows * width))
        metrics = {name: torch.empty(n_draws, m, dtype=torch.float64) for name in self.native.metrics}
        answers = self.native.target.answers
        with tqdm(total=n_draws * m, desc=f"score {name}", delay=2.0, leave=False, disable=None) as bar:
            for draw, start in product(range(0, n_draws, n_at_once), range(0, m, n_rows)):
                draws, rows = slice(draw, draw + n_at_once), slice(start, start + n_rows)
                part = states[draws, rows]
                prompts = torch.arange(m)[rows].repeat(len(part))
                logits = self.injection.logits(part.flatten(0, 1), prompts).unflatten(0, part.shape[:2])
                scores = self.native.scored(logits, rows, self.native.target, self.native.logits)
                if answers is not None:
                    golds = answers[prompts]
                    whole = whole_scores(*self.injection.continued(part.flatten(0, 1), prompts, golds), golds)
                    scores |= {metric: values.unflatten(0, part.shape[:2]) for metric, values in whole.items()}
                for metric, values in scores.items():
                    metrics[metric][draws, rows] = values
                bar.update(len(prompts))
        return Branch(metrics)

    @cached_property
    def _masks(self) -> dict[str, Tensor]:
        return {"all": torch.ones_like(self.seen_answer), "seen": self.seen_answer, "unseen": ~self.seen_answer}

    def _summaries(self, name: str) -> dict[str, Any]:
        """Scores over all items, and over those whose answer was seen in the fit and was not."""
        if name not in self._scores:
            branch, native = self._branches[name], self._branches["native_target"]
            self._scores[name] = {
                label: summarize(branch, mask, native, self.n_resamples, self._generator())
                for label, mask in self._masks.items()
                if mask.any()
            }
        return self._scores[name]

    def _contrast(self, name: str) -> dict[str, Any]:
        if name not in self._contrasts:
            fitted, control = self._branches["fitted"], self._branches[name]
            drawn = name in CONTROLS and CONTROLS[name].drawn
            self._contrasts[name] = contrast(fitted, control, self.n_resamples, self._generator(), drawn)
        return self._contrasts[name]

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _columns(self, shown: Iterable[str]) -> dict[str, Any]:
        """One entry per control, draw and item."""
        items, seen = self.native.items, self.seen_answer.tolist()
        columns: dict[str, list[Any]] = {
            name: []
            for name in (
                "control",
                "draw",
                "item",
                "prompt",
                "relation",
                "subject",
                "answer",
                "answer_seen",
                *self.native.metrics,
            )
        }
        m = len(items)
        for name in shown:
            branch = self._branches[name]
            n_draws = branch.n_draws
            columns["control"] += [name] * (n_draws * m)
            columns["draw"] += [d for d in range(n_draws) for _ in range(m)]
            columns["item"] += list(range(m)) * n_draws
            for attribute in ("prompt", "relation", "subject", "answer"):
                columns[attribute] += [getattr(i, attribute) for i in items] * n_draws
            columns["answer_seen"] += seen * n_draws
            for metric in self.native.metrics:
                values = branch.metrics.get(metric)
                columns[metric] += [None] * (n_draws * m) if values is None else values.flatten().tolist()
        return columns


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
