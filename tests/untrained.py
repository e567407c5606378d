"""Overrides for cells of a few tenths of a second, and the models behind them."""

import json
from pathlib import Path

# Models of the shape of pair=tiny that have learnt nothing: enough where no score is asserted.
UNTRAINED = [f"pair.{side}.zoo.{what}" for side in ("source", "target") for what in ("n_steps=2", "width=32")]
FAST = [*UNTRAINED, "control.n_draws=2", "task.n_resamples=20", "device=cpu"]
SMALL = [*FAST, "dataset.relations=[city_country,animal_kind]"]


def untrained_model(artefacts: Path, architecture: str) -> Path:
    """The folder of one model of `UNTRAINED`."""
    (folder,) = [p for p in (artefacts / "model").glob("[!.]*") if _is_wanted(p, architecture)]
    return folder


def _is_wanted(model: Path, architecture: str) -> bool:
    spec = json.loads((model / "artefact.json").read_text())["made_from"]["spec"]
    wanted = {"architecture": architecture, "width": 32, "n_blocks": 4, "seed": 0, "n_steps": 2}
    return {name: spec[name] for name in wanted} == wanted
