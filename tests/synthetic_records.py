"""Small records on disk, as a cell would leave them, made from chosen success rates instead of models."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bridge.records import record
from bridge.records.record import Record
from bridge.results.points import PointScores, result_of
from bridge.results.scores import Branch, Part
from bridge.tasks.registry import get, run_id

TASK = get("translate")
CHOSEN = TASK.conditions.chosen

# Units of one to three items; of the first half of them the answer is new.
N_DRAWS, N_ITEMS, N_UNITS, N_RESAMPLES = 20, 120, 60, 60
RATES = {
    "fitted": 0.7,
    "random": 0.02,
    "shuffled": 0.03,
    "shuffled_within": 0.2,
    "identity": 0.05,
    "mean": 0.04,
    "lookup": 0.25,
    "bag_of_words": 0.1,
    "clustered": 0.4,
    "same_model": 0.9,
    "planted": 0.9,
    "own_state": 0.92,
    "native_source": 0.95,
    "native_target": 0.92,
}
REFERENCES = TASK.conditions.always
METRICS = ("top1", "top5", "top10", "mrr", "logprob_nats", "kl_nats", "agreement")
GATES: dict[str, dict[str, Any]] = {
    "states": {"value": 1e-6, "threshold": 1e-3},
    "drift": {"value": 1e-6, "threshold": 1e-3},
    "pairing": {"value": 0.002, "threshold": 0.05, "p": {"free": 0.002, "within": 0.002}, "n": 400},
    "known": {"value": 0.92, "threshold": 0.05, "above": True},
    "alive": {"value": 0.98, "threshold": 0.8, "most": 1.25},
    "planted": {"value": 1e-15, "threshold": 0.05},
}
# What a gate holds where it failed.
FAILED = {"states": 0.4, "drift": 0.2, "pairing": 0.3, "known": 0.04, "alive": 0.14, "planted": 0.5}
NO_RELATIONS = "the fit rows have no relation labels to permute within"


def config(**changes: Any) -> dict[str, Any]:
    """A resolved config; `changes` are dotted names with a double underscore for the dot."""
    whole: dict[str, Any] = {
        "pair": {"name": "tiny", "source": {"name": "tiny-llama"}, "target": {"name": "tiny-mistral"}},
        "layer": {"source": "4", "target": None, "position": "last"},
        "injection": {"_target_": "bridge.injection.lm_head.LmHead", "name": "lm_head"},
        "control": {"names": list(CHOSEN), "n_draws": N_DRAWS},
        "dataset": {"name": "facts", "size": 100, "unit": "answer"},
        "map": {"name": "orthogonal"},
        "normalize": {"center": True, "scale": "frobenius"},
        "task": {"name": "translate", "n_resamples": N_RESAMPLES},
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
    controls: tuple[str, ...] = CHOSEN,
    rates: dict[str, float] | None = None,
    new_rates: dict[str, float] | None = None,
    n_units: int = N_UNITS,
    metrics: tuple[str, ...] = METRICS,
    absent: dict[str, str] | None = None,
    failed_gate: str | None = None,
    warnings: tuple[str, ...] = (),
    all_new: bool = False,
    **changes: Any,
) -> Record:
    """Write a finished cell that scored `controls` and the native references.

    `new_rates` take the place of `rates` on items whose answer is new. The first half of the units has new answers;
    of these the last tenth of all units begins with a token that is known. With `all_new` no answer is known.
    """
    rates = RATES | (rates or {})
    absent = absent or {}
    whole = config(layer__source=str(layers[0]), dataset__size=n, control__names=list(controls), **changes)
    units = _units(n_units)
    shown = [name for name in controls if name not in absent] + [name for name in REFERENCES if name in rates]
    scores = _scores(
        tuple(rates.items()),
        tuple((new_rates or {}).items()),
        n_units,
        metrics,
        all_new,
        whole["task"]["n_resamples"],
        whole["seed"],
        whole["dataset"]["unit"],
        (N_DRAWS, N_ITEMS),
        _branch,
    )
    scores.axes = {"layer": list(layers), "n_fit": n}
    result = result_of([scores], shown, [{"items": _about(units)}])
    gates = {name: {"passed": name != failed_gate, **gate} for name, gate in GATES.items()}
    if failed_gate is not None:
        gates[failed_gate]["value"] = FAILED[failed_gate]
    data = {
        "status": "done",
        "layers": {"source": layers[0], "target": layers[1], "n_source": 4, "n_target": 4},
        "n_left": 500,
        "coverage": {"loaded": 947, "kept": 901, "duplicate_prompt": 46},
        "rank": 64,
        "fit": {
            "n_rows": n,
            "rank": 64,
            "n_over_d": n / 64,
            "eval_variance_outside_span": 0.25,
            "n_parameters": 4096,
            "lookup_neighbours": 1,
            "cycle": {"relative_error": 0.4, "permuted_relative_error": 0.7},
        },
        "chance": {"uniform_logprob_nats": -7.8, "prior_logprob_nats": -5.1, "commonest_top1": 0.05},
        "gates": gates,
        "valid": failed_gate is None,
        "absent": absent,
        "points": copy.deepcopy(result.points),
        "warnings": list(warnings),
    }
    return _write(outputs, whole, data, result.items)


def write_failed(outputs: Path, error: str, traceback: str, **changes: Any) -> Record:
    """Write a cell that failed."""
    data = {"status": "failed", "error": error, "traceback": traceback, "valid": False}
    return _write(outputs, config(**changes), data, {})


def _write(outputs: Path, whole: dict[str, Any], data: dict[str, Any], tables: Any) -> Record:
    identity = run_id(whole)
    shared = {
        "config": copy.deepcopy(whole),
        "inputs": {"source": "weights", "target": "weights", "items": "items"} if tables else {},
        "versions": {"bridge": "0.1.0", "torch": "2.13.0"},
        "commit": "0123456789abcdef",
        "dirty": False,
        "wall_s": 1.25,
    }
    return record.write(outputs, identity, {**data, **shared}, "seed: 0\n", tables, "log\n")


@cache
def _scores(
    rates: tuple[tuple[str, float], ...],
    new_rates: tuple[tuple[str, float], ...],
    n_units: int,
    metrics: tuple[str, ...],
    all_new: bool,
    n_resamples: int,
    seed: int,
    unit: str,
    _sizes: tuple[int, int],
    branch: Callable[..., Branch],
) -> PointScores:
    """The scores of a point, which cells of the same rates and sizes share; its axes are the caller's."""
    units = _units(n_units)
    known = {"token": units >= n_units // 2 - n_units // 10, "whole": units >= n_units // 2}
    if all_new:
        known = {name: torch.zeros_like(mask) for name, mask in known.items()}
    parts = _parts(units, known, n_resamples, seed)
    branches = {
        name: branch(name, rate, dict(new_rates).get(name, rate), units, known["whole"], metrics)
        for name, rate in rates
    }
    for name in set(CHOSEN) & set(dict(rates)):
        branches[name].totals["explained_variance"] = {"mean": 0.5, "low": 0.4, "high": 0.6}
    return PointScores(TASK, {}, parts, unit, branches.__getitem__)


def _units(n_units: int) -> Tensor:
    """The unit of every item: of one to three items each, or more where there are fewer units, in mixed order."""
    sizes = torch.tensor([1, 2, 2, 3]).repeat(N_ITEMS)[:n_units]
    units = torch.arange(n_units).repeat_interleave(sizes).repeat(N_ITEMS)[:N_ITEMS]
    return units[torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(5))]


def _about(units: Tensor) -> dict[str, list[str]]:
    return {
        "prompt": [f"prompt {i}:" for i in range(len(units))],
        "relation": [f"relation {u % 3}" for u in units.tolist()],
        "subject": [f"subject {i}" for i in range(len(units))],
        "answer": [f"answer {u}" for u in units.tolist()],
    }


def _parts(units: Tensor, known: dict[str, Tensor], n_resamples: int, seed: int) -> dict[str, Part]:
    every = torch.ones_like(known["token"])
    masks = {
        "all": (every, every),
        "new": (~known["token"], ~known["whole"]),
        "known": (known["token"], known["whole"]),
    }
    keys = [("items", "token"), ("items", "whole")]
    return {
        label: Part({"items": units}, dict(zip(keys, both, strict=True)), n_resamples, seed)
        for label, both in masks.items()
    }


def _branch(name: str, rate: float, new_rate: float, units: Tensor, known: Tensor, metrics: tuple[str, ...]) -> Branch:
    """Scores that are right together within a unit, but for every fourth item."""
    n_draws = N_DRAWS if TASK.conditions[name].drawn else 1
    # the same generators for all controls, so that a higher rate wins item by item
    of_unit, of_item = (torch.Generator().manual_seed(seed) for seed in (7, 8))
    uniform = torch.rand(n_draws, int(units.max()) + 1, dtype=torch.float64, generator=of_unit)[:, units]
    own = torch.rand(n_draws, N_ITEMS, dtype=torch.float64, generator=of_item)
    uniform = torch.where(torch.arange(N_ITEMS) % 4 == 0, own, uniform)
    hit = (uniform < torch.where(known, rate, new_rate)).double()
    return Branch({m: torch.where(hit > 0, -0.1, -5.0).double() if "nats" in m else hit for m in metrics})
