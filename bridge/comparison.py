"""A fitted score beside its controls, wherever they were computed: in one cell, or fanned out over several."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import torch

from bridge.config import NOT_IN_RUN_ID
from bridge.controls import CONTROLS, REFERENCES
from bridge.record import Record
from bridge.tasks.summary import Branch, contrast
from bridge.tasks.translate import METRICS

NEGATIVES = tuple(c.name for c in CONTROLS.values() if c.kind == "negative")
ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """Cells whose configs differ in nothing but `control.names`.

    `scores`, `contrasts` and `state_scores` are those of record.json, joined; `missing` are the controls that no
    cell has computed.
    """

    records: tuple[Record, ...]
    scores: dict[str, Any]
    contrasts: dict[str, Any]
    state_scores: dict[str, Any]
    scores_by_answer: dict[str, Any]
    missing: tuple[str, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The config of the first cell."""
        config: dict[str, Any] = self.records[0].data["config"]
        return config

    @property
    def data(self) -> dict[str, Any]:
        """record.json of the first cell, for what all cells share: layers, n_fit, gates, fit."""
        return self.records[0].data

    @property
    def valid(self) -> bool:
        """Whether every gate of every cell passed."""
        return all(r.data["valid"] for r in self.records)

    @property
    def gates(self) -> dict[str, Any]:
        """Gate name -> {passed, value, threshold}; where it failed in one of the cells, as it failed there."""
        gates: dict[str, Any] = {}
        for found in self.records:
            for name, gate in found.data["gates"].items():
                if name not in gates or (gates[name]["passed"] and not gate["passed"]):
                    gates[name] = gate
        return gates

    @property
    def label(self) -> str:
        """What this is, in a few words: layers, injection, rows to fit on."""
        layers = self.data["layers"]
        return f"layer {layers['source']}→{layers['target']}, {injection_label(self.config)}, n={self.data['n_fit']}"

    def mean(self, control: str, metric: str = "top1") -> float | None:
        """The mean score of a control, or None where it was not computed."""
        found = self.scores.get(control, {}).get(metric)
        return None if found is None else float(found["mean"])

    def not_beaten(self, metric: str = "top1") -> list[str]:
        """Negative controls that the fitted map does not beat, paired by item and against every draw."""
        losers = []
        for name in NEGATIVES:
            found = self.contrasts.get(name, {}).get(metric)
            if found is None:
                continue
            beats = found["difference"] > 0 and found["p"] < ALPHA and found.get("p_draws", 0.0) < ALPHA
            if not beats:
                losers.append(name)
        return losers

    def verdict(self, metric: str = "top1") -> str:
        """What may be concluded, in one line."""
        failed = [name for name, gate in self.gates.items() if not gate["passed"]]
        if "same_model" in failed and self.mean("native_target") == 0:
            return "dead: the target itself gets none of these items right"
        if "same_model" in failed:
            share = self.gates["same_model"]["value"]
            return f"dead: the target's own states reach only {share:.0%} of its native score this way"
        if failed:
            return f"invalid: gate {', '.join(failed)} failed"
        if "fitted" not in self.scores:
            return "no fitted score here; run control=fitted"
        absent = [c for c in self.missing if c in NEGATIVES]
        if absent:
            return f"open: no score yet for {', '.join(absent)}"
        losers = self.not_beaten(metric)
        if losers:
            return f"not above {', '.join(losers)}"
        return "above every negative control"


def injection_label(config: dict[str, Any]) -> str:
    """The injection's name, with the context where the same prompt leaks the question."""
    injection = config["injection"]
    return injection["name"] + (" (same prompt)" if injection.get("context") == "same" else "")


def comparisons(records: Iterable[Record]) -> list[Comparison]:
    """Join the finished records among `records` into comparisons, in order of pair, injection, layer and size."""
    groups: dict[str, list[Record]] = {}
    for found in records:
        if found.ok:
            groups.setdefault(_shared(found.data["config"]), []).append(found)
    joined = [_join(group) for group in groups.values()]
    return sorted(joined, key=_order)


def _shared(config: dict[str, Any]) -> str:
    kept = {k: v for k, v in config.items() if k not in NOT_IN_RUN_ID}
    kept["control"] = {k: v for k, v in config["control"].items() if k != "names"}
    return json.dumps(kept, sort_keys=True)


def _order(c: Comparison) -> tuple[Any, ...]:
    layers = c.data["layers"]
    return (
        c.config["pair"]["name"],
        injection_label(c.config),
        layers["source"],
        layers["target"],
        c.data["n_fit"],
        c.config["seed"],
        c.records[0].data["run_id"],
    )


def _join(group: list[Record]) -> Comparison:
    group = sorted(group, key=lambda r: (-len(r.data["scores"]), r.data["run_id"]))
    order = [*CONTROLS, *REFERENCES]
    scores: dict[str, Any] = {}
    states: dict[str, Any] = {}
    contrasts: dict[str, Any] = {}
    by_answer: dict[str, Any] = {}
    home: dict[str, Record] = {}
    for found in reversed(group):
        scores |= found.data["scores"]
        states |= found.data["state_scores"]
        contrasts |= found.data["contrasts"]
        home |= dict.fromkeys(found.data["scores"], found)
        for label, part in found.data["scores_by_answer"].items():
            entry = by_answer.setdefault(label, {"n": part["n"], "scores": {}})
            entry["scores"] |= part["scores"]
    lacking = [name for name in scores if name != "fitted" and name not in contrasts]
    if "fitted" in home and lacking:
        fitted = _branch(home["fitted"], "fitted")
        generator = torch.Generator().manual_seed(0)
        n_resamples = group[0].data["config"]["task"]["n_resamples"]
        for name in lacking:
            contrasts[name] = contrast(fitted, _branch(home[name], name), n_resamples, generator)
    return Comparison(
        records=tuple(group),
        scores={name: scores[name] for name in order if name in scores},
        contrasts={name: contrasts[name] for name in order if name in contrasts},
        state_scores={name: states[name] for name in order if name in states},
        scores_by_answer=by_answer,
        missing=tuple(name for name in CONTROLS if name not in scores),
    )


def _branch(found: Record, control: str) -> Branch:
    table = found.items().filter(pc.field("control") == control)
    n_draws = pc.max(table["draw"]).as_py() + 1
    columns = {metric: table[metric].to_numpy() for metric in METRICS if table[metric].null_count == 0}
    return Branch({metric: torch.tensor(values).view(n_draws, -1) for metric, values in columns.items()})
