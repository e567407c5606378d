"""A fitted score beside its controls, wherever they were computed: in one cell, or fanned out over several."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bridge.controls.names import CONTROLS, KINDS
from bridge.records.record import NOT_IN_RUN_ID, Record
from bridge.results.items import PARTS, item_scores
from bridge.results.scores import SHARES, contrast
from bridge.results.verdicts import Finding, finding, gate_verdict, joined


@dataclass(frozen=True)
class Comparison:
    """Cells whose configs differ in nothing but `control.names`.

    `scores`, `contrasts`, `by_answer` and `state_scores` are those of record.json, joined; `missing` are the controls
    that no cell has computed, and `absent` those that cannot mean what they say here, with the reason. `part` says
    which items `scores` and `contrasts` are of (`on`).
    """

    records: tuple[Record, ...]
    scores: dict[str, Any]
    contrasts: dict[str, Any]
    by_answer: dict[str, Any]
    state_scores: dict[str, Any]
    missing: tuple[str, ...]
    part: str = "all"

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
    def absent(self) -> dict[str, str]:
        """Controls that cannot mean what they say here -> why."""
        absent: dict[str, str] = self.data["absent"]
        return absent

    @property
    def valid(self) -> bool:
        """Whether every gate of every cell passed."""
        return all(r.data["valid"] for r in self.records)

    @property
    def gates(self) -> dict[str, Any]:
        """Gate name -> {passed, value, threshold}; where it failed in one of the cells, as it failed there."""
        gates: dict[str, Any] = {}
        for record in self.records:
            for name, gate in record.data["gates"].items():
                if name not in gates or (gates[name]["passed"] and not gate["passed"]):
                    gates[name] = gate
        return gates

    @property
    def label(self) -> str:
        """What this is, in a few words: layers, injection, rows to fit on."""
        layers = self.data["layers"]
        return f"layer {layers['source']}→{layers['target']}, {injection_label(self.config)}, n={self.data['n_fit']}"

    @property
    def sizes(self) -> str:
        """How many items `scores` are of, and how many units they are."""
        unit = self.data["unit"]
        if self.part == "all":
            return f"{self.data['n_eval']} eval items, {self.data['n_units']} units ({unit})"
        part = self.by_answer[self.part]
        return f"{part['n']} eval items with {self.part} answers, {part['n_units']} units ({unit})"

    def mean(self, control: str, metric: str = "top1") -> float | None:
        """The mean score of a control, or None where it was not computed."""
        score = self.scores.get(control, {}).get(metric)
        return None if score is None else float(score["mean"])

    def contrasts_of(self, part: str) -> dict[str, Any]:
        """Contrasts on "all", "new" or "known" items."""
        contrasts: dict[str, Any] = self.contrasts if part == "all" else self.by_answer[part].get("contrasts", {})
        return contrasts

    @property
    def is_all_new(self) -> bool:
        """Whether no eval answer is known, so that new answers are all there are."""
        return bool(self.by_answer["known"]["n"] == 0)

    def on(self, part: str) -> "Comparison | None":
        """The same comparison on "all", "new" or "known" items alone; None where that part was not scored."""
        if part == "all":
            return self
        scored = self.by_answer[part]
        if "scores" not in scored:
            return None
        return replace(self, scores=scored["scores"], contrasts=scored.get("contrasts", {}), part=part)

    def finding(self, part: str = "all", metric: str = "top1") -> Finding:
        """What may be concluded about "all", "new" or "known" items, gates aside.

        Where a family has been corrected (`bridge.results.families`), its p values take the place of the cell's own.
        Where all items are new, the verdict on all of them is that on new ones.
        """
        part = "new" if part == "all" and self.is_all_new else part
        whole = {"n": self.data["n_eval"], "n_units": self.data["n_units"]}
        return finding(self.contrasts_of(part), whole if part == "all" else self.by_answer[part], self.absent, metric)

    @property
    def is_above(self) -> bool:
        """Whether every gate passed and the fitted map is above every negative control, over all items."""
        return self.valid and "fitted" in self.scores and self.finding().is_above

    def verdict(self, metric: str = "top1") -> str:
        """What may be concluded, in one line: on new answers first, which is the headline, then on all."""
        if said := gate_verdict(self.gates, self.mean("native_target")):
            return said
        if "fitted" not in self.scores:
            return "no fitted score here; run control=fitted"
        if self.is_all_new:
            parts = [f"all answers are new: {self.finding('new', metric)}"]
        else:
            parts = [f"{part} answers: {self.finding(part, metric)}" for part in ("new", "all")]
        return joined([*parts, *(f"no {name}: {why}" for name, why in self.absent.items())])


def injection_label(config: dict[str, Any]) -> str:
    """The injection's name, with the context where the same prompt leaks the question."""
    injection = config["injection"]
    return injection["name"] + (" (same prompt)" if injection.get("context") == "same" else "")


def dataset_label(config: dict[str, Any]) -> str:
    """The name of the data set."""
    name: str = config["dataset"]["name"]
    return name


def comparisons(records: Iterable[Record]) -> list[Comparison]:
    """Join the finished records of task=translate, in order of pair, data set, injection, layer and size."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.ok and "scores" in record.data:
            groups.setdefault(_shared(record.data["config"]), []).append(record)
    return sorted((_contrasted(_join(group)) for group in groups.values()), key=_order)


def _shared(config: dict[str, Any]) -> str:
    kept = {k: v for k, v in config.items() if k not in NOT_IN_RUN_ID}
    kept["control"] = {k: v for k, v in config["control"].items() if k != "names"}
    return json.dumps(kept, sort_keys=True)


def _order(c: Comparison) -> tuple[Any, ...]:
    layers = c.data["layers"]
    return (
        c.config["pair"]["name"],
        dataset_label(c.config),
        injection_label(c.config),
        layers["source"],
        layers["target"],
        c.data["n_fit"],
        c.config["seed"],
        c.records[0].data["run_id"],
    )


def _join(group: list[Record]) -> Comparison:
    group = sorted(group, key=lambda r: (-len(r.data["scores"]), r.data["run_id"]))
    order = list(KINDS)
    scores: dict[str, Any] = {}
    states: dict[str, Any] = {}
    contrasts: dict[str, Any] = {}
    by_answer: dict[str, Any] = {}
    for record in reversed(group):
        scores |= record.data["scores"]
        states |= record.data["state_scores"]
        contrasts |= record.data["contrasts"]
        for label, part in record.data["by_answer"].items():
            entry = by_answer.setdefault(label, {"n": part["n"], "n_units": part["n_units"]})
            for kind in ("scores", "contrasts"):
                if kind in part:
                    entry.setdefault(kind, {}).update(part[kind])
    absent = group[0].data["absent"]
    return Comparison(
        records=tuple(group),
        scores={name: scores[name] for name in order if name in scores},
        contrasts={name: contrasts[name] for name in order if name in contrasts},
        by_answer=by_answer,
        state_scores={name: states[name] for name in order if name in states},
        missing=tuple(name for name in CONTROLS if name not in scores and name not in absent),
    )


def _contrasted(c: Comparison) -> Comparison:
    """Add the contrasts that no record has, because fitted map and control were scored in different cells."""
    lacking = [name for name in c.scores if name != "fitted" and name not in c.contrasts]
    if "fitted" not in c.scores or not lacking:
        return c
    metrics = [m for m in c.scores["fitted"] if m not in SHARES]
    items = item_scores(c.records, ["fitted", *lacking], metrics)
    made: dict[str, dict[str, Any]] = {}
    for label in PARTS:
        part = items.part(label, c.config["task"]["n_resamples"], c.config["seed"])
        if label == "all" or part.is_scored:
            made[label] = {
                name: contrast(items.branches["fitted"], items.branches[name], part, KINDS[name].ranked)
                for name in lacking
            }

    def ordered(label: str) -> dict[str, Any]:
        merged = c.contrasts_of(label) | made.get(label, {})
        return {name: merged[name] for name in c.scores if name in merged}

    by_answer = {
        label: {**part, "contrasts": ordered(label)} if "scores" in part else part
        for label, part in c.by_answer.items()
    }
    return replace(c, contrasts=ordered("all"), by_answer=by_answer)
