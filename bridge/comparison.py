"""A fitted score beside its controls, wherever they were computed: in one cell, or fanned out over several."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from bridge.controls import CONTROLS, REFERENCES
from bridge.record import NOT_IN_RUN_ID, Record
from bridge.statistics import bootstrap_interval, draw_rank_p, paired_permutation_p
from bridge.tasks.matrices import is_similarity
from bridge.tasks.summary import SHARES

NEGATIVES = tuple(c.name for c in CONTROLS.values() if c.kind == "negative")
ALPHA = 0.05
# Cells whose contrasts are resampled together.
TOGETHER = 16


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
        """Negative controls that the fitted map does not beat, paired by item and against every draw.

        Where a family has been corrected (`bridge.family`), its p takes the place of the cell's own.
        """
        losers = []
        for name in NEGATIVES:
            found = self.contrasts.get(name, {}).get(metric)
            if found is None:
                continue
            p = max(found.get("p_holm", found["p"]), found.get("p_draws", 0.0))
            if not (found["difference"] > 0 and p < ALPHA):
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
    """Join the finished records of task=translate among `records`, in order of pair, injection, layer and size."""
    groups: dict[str, list[Record]] = {}
    for found in records:
        if found.ok and not is_similarity(found.data):
            groups.setdefault(_shared(found.data["config"]), []).append(found)
    joined = [_join(group) for group in groups.values()]
    return sorted(_contrasted(joined), key=_order)


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
    for found in reversed(group):
        scores |= found.data["scores"]
        states |= found.data["state_scores"]
        contrasts |= found.data["contrasts"]
        for label, part in found.data["scores_by_answer"].items():
            entry = by_answer.setdefault(label, {"n": part["n"], "scores": {}})
            entry["scores"] |= part["scores"]
    return Comparison(
        records=tuple(group),
        scores={name: scores[name] for name in order if name in scores},
        contrasts={name: contrasts[name] for name in order if name in contrasts},
        state_scores={name: states[name] for name in order if name in states},
        scores_by_answer=by_answer,
        missing=tuple(name for name in CONTROLS if name not in scores),
    )


def item_scores(
    records: Iterable[Record], controls: Sequence[str], metrics: Sequence[str]
) -> dict[str, dict[str, Tensor]]:
    """Control -> metric -> per-item scores (n_draws, m) in `records`; metrics that hold null are left out."""
    found: dict[str, dict[str, Tensor]] = {}
    for record in records:
        wanted = {c for c in controls if c in record.data["scores"] and c not in found}
        if not wanted:
            continue
        table = pq.read_table(record.folder / "items.parquet", columns=["control", "draw", *metrics])
        column = table["control"].combine_chunks()
        names, index = column.dictionary.to_pylist(), column.indices.to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist()]
        values = {metric: table[metric].to_numpy() for metric in metrics}
        for start, end in zip(starts, [*starts[1:], len(index)], strict=True):
            name = names[index[start]]
            if name in wanted:
                n_draws = table["draw"][end - 1].as_py() + 1
                parts = {m: v[start:end].reshape(n_draws, -1) for m, v in values.items()}
                found[name] = {m: torch.tensor(v) for m, v in parts.items() if not np.isnan(v).any()}
    return found


def _contrasted(joined: Sequence[Comparison]) -> list[Comparison]:
    """Add the contrasts that no record has, because fitted map and control were scored in different cells."""
    found = list(joined)
    waiting: dict[tuple[int, int], list[int]] = {}
    for i, c in enumerate(joined):
        if "fitted" in c.scores and any(name not in c.contrasts for name in c.scores if name != "fitted"):
            waiting.setdefault((c.data["n_eval"], c.config["task"]["n_resamples"]), []).append(i)
    for (_, n_resamples), places in waiting.items():
        # Resamples are drawn once for many cells, as if for each alone; not for all, or memory would not hold them.
        for start in range(0, len(places), TOGETHER):
            some = places[start : start + TOGETHER]
            for i, contrasts in zip(some, _contrasts([joined[i] for i in some], n_resamples), strict=True):
                merged = joined[i].contrasts | contrasts
                found[i] = replace(joined[i], contrasts={n: merged[n] for n in joined[i].scores if n in merged})
    return found


def _contrasts(cells: Sequence[Comparison], n_resamples: int) -> list[dict[str, Any]]:
    """What `bridge.tasks.summary.contrast` gives, for the missing contrasts of cells with as many items."""
    columns, keys = [], []
    results: list[dict[str, Any]] = []
    for c in cells:
        lacking = [name for name in c.scores if name != "fitted" and name not in c.contrasts]
        results.append({name: {} for name in lacking})
        metrics = [m for m in c.scores["fitted"] if m not in SHARES]
        branches = item_scores(c.records, ["fitted", *lacking], metrics)
        fitted = branches["fitted"]
        for name in lacking:
            for metric, draws in branches[name].items():
                columns.append(fitted[metric][0] - draws.mean(0))
                results[-1][name][metric] = {"difference": float(columns[-1].mean())}
                keys.append(results[-1][name][metric])
                if name in CONTROLS and CONTROLS[name].drawn:
                    sign = -1.0 if metric == "kl_nats" else 1.0
                    own = fitted[metric][0].mean()[None]
                    keys[-1]["p_draws"] = float(draw_rank_p(sign * own, sign * draws.mean(1)[:, None]))
    differences, generator = torch.stack(columns, -1), torch.Generator().manual_seed(0)
    low, high = bootstrap_interval(differences, n_resamples, generator)
    p = paired_permutation_p(differences, n_resamples, generator)
    for entry, *numbers in zip(keys, low.tolist(), high.tolist(), p.tolist(), strict=True):
        entry |= dict(zip(("low", "high", "p"), numbers, strict=True))
    return results
