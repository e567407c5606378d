"""Overrides for cells of a few tenths of a second, and the models behind them."""

import json
from pathlib import Path

from bridge.config import compose_config, to_plain
from bridge.models.recipe import KIND, ZooSpec
from bridge.records.artefacts import Artefacts

# Models of the shape of pair=tiny that have learnt nothing: enough where no score is asserted.
UNTRAINED = [f"pair.{side}.zoo.{what}" for side in ("source", "target") for what in ("n_steps=2", "width=32")]
FAST = [*UNTRAINED, "control.n_draws=2", "task.n_resamples=20", "device=cpu"]
SMALL = [*FAST, "dataset.relations=[city_country,animal_kind]"]


def make_models(artefacts: Path, *overrides: str) -> None:
    """Put more models into a folder of models: made in this process, for one of its own takes seconds to start."""
    from bridge.models.zoo import train

    pair = compose_config(*UNTRAINED, *overrides).pair
    for model in (pair.source, pair.target):
        spec = ZooSpec(**to_plain(model)["zoo"])
        Artefacts(artefacts).ensure(KIND, spec.made_from(), lambda folder, spec=spec: train(spec, folder))


def untrained_model(artefacts: Path, architecture: str) -> Path:
    """The folder of one model of `UNTRAINED`."""
    (folder,) = [p for p in (artefacts / "model").glob("[!.]*") if _is_wanted(p, architecture)]
    return folder


def _is_wanted(model: Path, architecture: str) -> bool:
    spec = json.loads((model / "artefact.json").read_text())["made_from"]["spec"]
    wanted = {"architecture": architecture, "width": 32, "n_blocks": 4, "seed": 0, "n_steps": 2}
    return {name: spec[name] for name in wanted} == wanted
