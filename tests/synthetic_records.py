"""Small records on disk, as a cell would leave them, made from chosen success rates instead of models."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from bridge import record
from bridge.controls import CONTROLS
from bridge.record import Record
from bridge.tasks.summary import Branch, contrast, summarize

N_DRAWS, N_ITEMS, N_RESAMPLES = 20, 40, 60
RATES = {
    "fitted": 0.7,
    "random": 0.02,
    "shuffled": 0.03,
    "shuffled_within": 0.2,
    "identity": 0.05,
    "mean": 0.04,
    "same_model": 0.9,
    "planted": 0.9,
    "native_source": 0.95,
    "native_target": 0.92,
}
REFERENCES = ("native_source", "native_target", "gold_embedding")
METRICS = ("top1", "top5", "top10", "mrr", "logprob_nats", "kl_nats", "agreement")


def config(**changes: Any) -> dict[str, Any]:
    """A resolved config; `changes` are dotted names with a double underscore for the dot."""
    whole: dict[str, Any] = {
        "pair": {"name": "tiny", "source": {"name": "tiny-llama"}, "target": {"name": "tiny-mistral"}},
        "layer": {"source": "4", "target": None, "position": "last"},
        "injection": {"_target_": "bridge.injection.lm_head.LmHead", "name": "lm_head"},
        "control": {"names": list(CONTROLS), "n_draws": N_DRAWS},
        "dataset": {"name": "facts", "size": 100},
        "map": {"name": "orthogonal"},
        "normalize": {"center": True, "scale": "none"},
        "task": {"n_resamples": N_RESAMPLES},
        "tracker": {"name": "none"},
        "paths": {"outputs": "outputs"},
        "seed": 0,
    }
    for name, value in changes.items():
        *path, last = name.split("__")
        node = whole
        for part in path:
            node = node[part]
        node[last] = value
    return whole


def write_cell(
    outputs: Path,
    *,
    layers: tuple[int, int] = (4, 4),
    n: int = 100,
    controls: tuple[str, ...] = tuple(CONTROLS),
    rates: dict[str, float] | None = None,
    failed_gate: str | None = None,
    warnings: tuple[str, ...] = (),
    **changes: Any,
) -> Record:
    """Write a finished cell that scored `controls` and the native references."""
    rates = RATES | (rates or {})
    whole = config(layer__source=str(layers[0]), dataset__size=n, control__names=list(controls), **changes)
    shown = [*controls, *(name for name in REFERENCES if name in rates)]
    branches = {name: _branch(name, rates[name]) for name in (*shown, "fitted")}
    seen = torch.arange(N_ITEMS) < N_ITEMS // 2
    native = branches["native_target"]

    def summed(mask: torch.Tensor) -> dict[str, Any]:
        return {k: summarize(branches[k], mask, native, N_RESAMPLES, torch.Generator().manual_seed(0)) for k in shown}

    values = {"decode": (0.0, 1e-4), "same_model": (0.98, 0.8), "planted": (1e-15, 0.05), "pairing": (0.048, 0.05)}
    gates = {k: {"passed": k != failed_gate, "value": v, "threshold": t} for k, (v, t) in values.items()}
    if failed_gate == "same_model":
        gates["same_model"]["value"] = 0.14
    data = {
        "status": "done",
        "layers": {"source": layers[0], "target": layers[1], "n_source": 4, "n_target": 4},
        "n_fit": n,
        "n_eval": N_ITEMS,
        "n_left": 500,
        "coverage": {"loaded": 947, "kept": 901, "duplicate_prompt": 46},
        "rank": 64,
        "fit": {
            "n_rows": n,
            "rank": 64,
            "n_over_d": n / 64,
            "eval_variance_outside_span": 0.25,
            "n_parameters": 4096,
            "cycle": {"relative_error": 0.4, "permuted_relative_error": 0.7},
        },
        "chance": {"uniform_logprob_nats": -7.8, "prior_logprob_nats": -5.1, "prior_top1": 0.03},
        "gates": gates,
        "valid": failed_gate is None,
        "scores": summed(torch.ones(N_ITEMS, dtype=torch.bool)),
        "scores_by_answer": {
            label: {"n": int(mask.sum()), "scores": summed(mask)} for label, mask in (("seen", seen), ("unseen", ~seen))
        },
        "contrasts": {
            k: contrast(branches["fitted"], branches[k], N_RESAMPLES, torch.Generator().manual_seed(0))
            for k in shown
            if "fitted" in controls and k != "fitted"
        },
        "state_scores": {k: {"explained_variance": {"mean": 0.5, "low": 0.4, "high": 0.6}} for k in controls},
        "warnings": list(warnings),
    }
    return _write(outputs, whole, data, _columns({name: branches[name] for name in shown}))


def write_failed(outputs: Path, error: str, traceback: str, **changes: Any) -> Record:
    """Write a cell that failed."""
    data = {"status": "failed", "error": error, "traceback": traceback, "valid": False}
    return _write(outputs, config(**changes), data, None)


def _write(outputs: Path, whole: dict[str, Any], data: dict[str, Any], columns: Any) -> Record:
    run_id = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
    shared = {
        "config": copy.deepcopy(whole),
        "inputs": {"source": "weights", "target": "weights", "items": "items"} if columns else {},
        "versions": {"bridge": "0.1.0", "torch": "2.13.0"},
        "commit": "0123456789abcdef",
        "dirty": False,
        "wall_s": 1.25,
    }
    return record.write(outputs, run_id, {**data, **shared}, "seed: 0\n", columns, "log\n")


def _branch(name: str, rate: float) -> Branch:
    known = CONTROLS.get(name)
    n_draws = N_DRAWS if known is not None and known.drawn else 1
    # the same generator for all controls, so that a higher rate wins item by item
    uniform = torch.rand(n_draws, N_ITEMS, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    hit = (uniform < rate).double()
    return Branch({m: torch.where(hit > 0, -0.1, -5.0).double() if "nats" in m else hit for m in METRICS})


def _columns(branches: dict[str, Branch]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in ("control", "draw", "item", *METRICS)}
    for name, branch in branches.items():
        columns["control"] += [name] * (branch.n_draws * N_ITEMS)
        columns["draw"] += [d for d in range(branch.n_draws) for _ in range(N_ITEMS)]
        columns["item"] += list(range(N_ITEMS)) * branch.n_draws
        for metric in METRICS:
            columns[metric] += branch.metrics[metric].flatten().tolist()
    return columns
