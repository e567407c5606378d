"""One fitted map and its controls: each control is carried and scored once, when it is first asked for."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from tqdm import tqdm

from bridge.carry.carrier import Carrier
from bridge.carry.rows import Rows
from bridge.injection import Injection, SoftPrefix
from bridge.results.points import PointScores, Result, result_of
from bridge.results.scores import Branch, Part
from bridge.tasks.translate.conditions import CONDITIONS
from bridge.tasks.translate.fit_facts import fit_facts, state_summary
from bridge.tasks.translate.gates import alive_gate, known_gate, planted_gate
from bridge.tasks.translate.native import Native, whole_scores
from bridge.tasks.translate.task import Translate

# Few enough for the processor's cache, but enough rows that the weights of a large head are not read too often.
LOGITS_AT_ONCE, ROWS_AT_LEAST = 2**22, 128


class Trial:
    """The work that all controls of a cell share, with a cache of the controls that were scored so far.

    No number depends on which other controls are asked for, or in which order: each control has a generator of its own,
        and
    all intervals and p values use the same resamples of the units.

    Args:
        carrier: the fitted map beside its controls.
        injection: prepared for the eval prompts.
        evaluation: states to carry, on the target's device.
        native: both models' own answers on the eval items.
        parts: "all", "new" and "known" items.
        axes: where the cell lies.
        unit: what a unit of inference is.
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
        axes: Mapping[str, Any],
        unit: str,
        checks: Mapping[str, dict[str, Any]],
        commonest: float,
        gates: Any,
    ) -> None:
        self.carrier = carrier
        self.injection = injection
        self.evaluation = evaluation
        self.native = native
        self.checks = checks
        self.commonest = commonest
        self.thresholds = gates
        # A weak reference: with a strong one, the reference cycle of trial and scores would keep all states in memory
        # after the cell.
        this = ref(self)

        def branch(name: str) -> Branch:
            trial = this()
            assert trial is not None
            return trial._branch(name)

        self.scores = PointScores(Translate(), axes, parts, unit, branch)
        self.absent = dict(carrier.absent_)
        if "bag_of_words" not in self.absent and not carrier.bag_.tells_apart(evaluation.source):
            self.absent["bag_of_words"] = "no eval item differs from another in words that a fit row has"
        self._carried: dict[str, Tensor] = {}
        self._features: dict[str, Any] = {}

    def result(self, controls: Sequence[str]) -> Result:
        """The result of `controls`, the references and the gates."""
        gates = self.gates
        controls = [name for name in controls if name not in self.absent]
        references = [n for n in CONDITIONS.always if n != "gold_embedding" or isinstance(self.injection, SoftPrefix)]
        items = self.native.items
        about = {name: [getattr(item, name) for item in items] for name in ("prompt", "relation", "subject", "answer")}
        result = result_of([self.scores], [*controls, *references], [{"items": about}])
        facts, warnings = self.fit
        result.gates, result.absent, result.warnings = gates, dict(self.absent), list(warnings)
        features = {name: self._features[name] for name in controls}
        result.facts = {"rank": facts["rank"], "fit": facts, "explained_variance_per_feature": features}
        return result

    def _branch(self, name: str) -> Branch:
        """The scores of a condition that was not asked for before."""
        native = self.native
        if name in native.branches:
            return native.branches[name]
        if name == "own_state":
            return self._decoded(self.evaluation.Y[None], name)
        if name == "gold_embedding":
            assert isinstance(self.injection, SoftPrefix)
            gold, answers = native.target.gold, native.target.answers
            continued = None if answers is None else self.injection.gold_continued(gold, answers)
            return native.branch_of(self.injection.gold_logits(gold), native.target, native.logits, continued)
        states = self._carry(name)
        branch = self._decoded(states, name)
        mean = self.carrier.fit_rows.Y.mean(0)
        branch.totals, self._features[name] = state_summary(states[:, :, -1], self.evaluation.Y[:, -1], mean)
        del self._carried[name]
        return branch

    @cached_property
    def gates(self) -> dict[str, dict[str, Any]]:
        """The validity gates; the same for every control."""
        Y, limits = self.evaluation.Y[:, -1], self.thresholds
        own, native = self.scores.branch("own_state"), self.scores.branch("native_target")
        return {
            **self.checks,
            "known": known_gate(native, self.commonest),
            "alive": alive_gate(own, native, limits.alive),
            "planted": planted_gate(self.carrier, self._carry("planted")[0, :, -1], Y, limits.planted),
        }

    @cached_property
    def fit(self) -> tuple[dict[str, Any], list[str]]:
        """Facts about the fit, and warnings."""
        return fit_facts(self.carrier, self.evaluation)

    def _carry(self, name: str) -> Tensor:
        """States (n_draws, m, K, d_target) under a control; cached until they are scored."""
        if name not in self._carried:
            X, Y = self.evaluation.X, self.evaluation.Y
            answers = self.evaluation.answers.repeat_interleave(X.shape[1])
            # The k-th of K states comes after all but the last K - 1 - k tokens of the text.
            ends = range(X.shape[1] - 1, -1, -1)
            texts = [text[: len(text) - left] for text in self.evaluation.source for left in ends]
            carried = self.carrier.carry(name, X.flatten(0, 1), Y.flatten(0, 1), answers, texts)
            self._carried[name] = carried.unflatten(1, X.shape[:2])
        return self._carried[name]

    def _decoded(self, states: Tensor, name: str) -> Branch:
        """Score the tokens that the target decodes from `states` (n_draws, m, K, d_target)."""
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
