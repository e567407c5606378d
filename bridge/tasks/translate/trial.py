"""One fitted map and what it is held against: each control is carried and scored once, when first asked for."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from bridge.controls.carrier import Carrier
from bridge.controls.names import KINDS, REFERENCES
from bridge.controls.rows import Rows
from bridge.injection import Injection, SoftPrefix
from bridge.results.scores import Branch, Part, contrast, summarize
from bridge.tasks.translate.columns import item_columns
from bridge.tasks.translate.fit_facts import fit_facts, state_summary
from bridge.tasks.translate.gates import alive_gate, known_gate, planted_gate
from bridge.tasks.translate.native import Native, whole_scores
from bridge.tasks.translate.result import TaskResult

# Few enough for the cache, but never so few rows that the head of a large vocabulary is read again and again.
LOGITS_AT_ONCE, ROWS_AT_LEAST = 2**22, 128


class Trial:
    """Everything that does not depend on which controls are asked for, and the controls asked for so far.

    No number depends on what was asked before or together with it: each control has a generator of its own, and
    all intervals and p values use the same resamples of the units.

    Args:
        carrier: the fitted map beside its controls.
        injection: prepared for the eval prompts.
        evaluation: states to carry, on the target's device.
        native: both models' own answers on the eval items.
        parts: "all", "new" and "known" items.
        checks: gates that do not depend on map or injection.
        commonest: share of eval items that have the commonest answer.
        gates: thresholds with the attributes alive and planted.
    """

    def __init__(
        self,
        *,
        carrier: Carrier,
        injection: Injection,
        evaluation: Rows,
        native: Native,
        parts: Mapping[str, Part],
        checks: Mapping[str, dict[str, Any]],
        commonest: float,
        gates: Any,
    ) -> None:
        self.carrier = carrier
        self.injection = injection
        self.evaluation = evaluation
        self.native = native
        self.parts = parts
        self.checks = checks
        self.commonest = commonest
        self.thresholds = gates
        self.absent = dict(carrier.absent_)
        if "bag_of_words" not in self.absent and not carrier.bag_.tells_apart(evaluation.source):
            self.absent["bag_of_words"] = "no eval item differs from another in words that a fit row has"
        self._branches = {"own_state": self._decoded(evaluation.Y[None], "own_state"), **native.branches}
        self._carried: dict[str, Tensor] = {}
        self._state_scores: dict[str, Any] = {}
        self._scores: dict[tuple[str, str], Any] = {}
        self._contrasts: dict[tuple[str, str], Any] = {}
        if isinstance(injection, SoftPrefix):
            gold, answers = native.target.gold, native.target.answers
            continued = None if answers is None else injection.gold_continued(gold, answers)
            logits = injection.gold_logits(gold)
            self._branches["gold_embedding"] = native.branch_of(logits, native.target, native.logits, continued)

    def result(self, controls: Sequence[str]) -> TaskResult:
        """What a record tells of `controls`, beside the references and the gates."""
        gates = self.gates
        controls = [name for name in controls if name not in self.absent]
        for name in controls:
            self._score(name)
        shown = [*controls, *(n for n in REFERENCES if n in self._branches)]
        against = [n for n in shown if n != "fitted"] if "fitted" in shown else []
        by_answer: dict[str, Any] = {}
        for label in ("new", "known"):
            by_answer[label] = self.parts[label].sizes()
            if self.parts[label].is_scored:
                by_answer[label] |= {
                    "scores": {name: self._summary(name, label) for name in shown},
                    "contrasts": {name: self._contrast(name, label) for name in against},
                }
        facts, warnings = self.fit
        return TaskResult(
            columns=item_columns(self._branches, shown, self.native.items, self.parts, self.native.metrics),
            scores={name: self._summary(name, "all") for name in shown},
            contrasts={name: self._contrast(name, "all") for name in against},
            by_answer=by_answer,
            state_scores={name: self._state_scores[name] for name in controls},
            absent=dict(self.absent),
            gates=gates,
            fit=facts,
            warnings=list(warnings),
        )

    @cached_property
    def gates(self) -> dict[str, dict[str, Any]]:
        """Whether any score means anything; the same for every control."""
        Y, limits = self.evaluation.Y[:, -1], self.thresholds
        own, native = self._branches["own_state"], self._branches["native_target"]
        return {
            **self.checks,
            "known": known_gate(native, self.commonest),
            "alive": alive_gate(own, native, limits.alive),
            "planted": planted_gate(self.carrier, self._carry("planted")[0, :, -1], Y, limits.planted),
        }

    @cached_property
    def fit(self) -> tuple[dict[str, Any], list[str]]:
        """What the fit had to go on, and what a reader must be warned of."""
        return fit_facts(self.carrier, self.evaluation)

    def _carry(self, name: str) -> Tensor:
        """States (n_draws, m, K, d_target) under a control; kept until they are scored."""
        if name not in self._carried:
            X, Y = self.evaluation.X, self.evaluation.Y
            answers = self.evaluation.answers.repeat_interleave(X.shape[1])
            # At the k-th of K states the source had read all but the last K - 1 - k tokens.
            ends = range(X.shape[1] - 1, -1, -1)
            texts = [text[: len(text) - left] for text in self.evaluation.source for left in ends]
            carried = self.carrier.carry(name, X.flatten(0, 1), Y.flatten(0, 1), answers, texts)
            self._carried[name] = carried.unflatten(1, X.shape[:2])
        return self._carried[name]

    def _score(self, name: str) -> None:
        if name in self._state_scores:
            return
        states = self._carry(name)
        self._branches[name] = self._decoded(states, name)
        mean = self.carrier.fit_rows.Y.mean(0)
        self._state_scores[name] = state_summary(states[:, :, -1], self.evaluation.Y[:, -1], mean)
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

    def _summary(self, name: str, label: str) -> dict[str, Any]:
        key = name, label
        if key not in self._scores:
            branch, native, part = self._branches[name], self._branches["native_target"], self.parts[label]
            self._scores[key] = summarize(branch, native, part)
        return self._scores[key]

    def _contrast(self, name: str, label: str) -> dict[str, Any]:
        key = name, label
        if key not in self._contrasts:
            fitted, control, part = self._branches["fitted"], self._branches[name], self.parts[label]
            self._contrasts[key] = contrast(fitted, control, part, KINDS[name].ranked)
        return self._contrasts[key]
