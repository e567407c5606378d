"""Storing the weights that seeds have along their training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from bridge.errors import ConfigError
from bridge.models.recipe import KIND, DyckSpec, TextSpec
from bridge.records.artefacts import Artefacts

S = TypeVar("S", DyckSpec, TextSpec)


def without_checkpoints(specs: Sequence[S]) -> list[S]:
    """Each different seed once, with its last weights.

    Raises:
        ConfigError: a checkpoint that is not kept.
    """
    for spec in specs:
        if spec.checkpoint is not None and spec.checkpoint not in spec.kept:
            kept = ", ".join(map(str, spec.kept))
            raise ConfigError(f"checkpoint={spec.checkpoint} is not kept; wanted one of {kept}, or null: change it")
    return list({replace(spec, checkpoint=None): None for spec in specs})


def keeper(
    specs: Sequence[S], store: Artefacts, make: Callable[[S], Any], tokenizer: Any
) -> Callable[[int, int, dict[str, Tensor]], None]:
    """What `bridge.models.seeds.train_seeds` calls to store the weights of a kept step.

    Args:
        specs: of the models in training, in their order, without checkpoints.
        store: where to; the last weights are stored as the checkpoint of the last step, and as those of the model.
        make: a model of this spec, whatever its weights.
        tokenizer: stored beside all weights.
    """

    def keep(i: int, step: int, weights: dict[str, Tensor]) -> None:
        spec = replace(specs[i], checkpoint=step)
        model = make(spec)
        model.load_state_dict(weights)

        def save(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

        for made in (spec, specs[i]) if step == spec.n_steps else (spec,):
            store.ensure(KIND, made.made_from(), save)

    return keep
