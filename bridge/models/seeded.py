"""Which of the trainings of many seeds at once a recipe has."""

from collections.abc import Sequence

import torch

from bridge.models.cohort import ensure_cohort
from bridge.models.loading import torch_device
from bridge.models.recipe import DyckSpec, TextSpec
from bridge.models.text_seeds import ensure_text_seeds
from bridge.records.artefacts import Artefacts


def ensure_seeds(specs: Sequence[DyckSpec | TextSpec], store: Artefacts, device: str, bar_position: int = 0) -> None:
    """Train models that differ in seed and checkpoint alone, and store the weights of every kept step.

    Args:
        specs: of one class.
        store: the artefact store that holds the models.
        device: auto, cpu, cuda or cuda:N.
        bar_position: line of the progress bar.

    Raises:
        ConfigError: the device does not exist, or a checkpoint is not kept.
        DataError: a text that is to be learnt cannot be read, or is too short.
        StoreError: the store cannot be written.
    """
    torch.set_num_threads(1)
    where = torch_device(device)
    if dyck := [spec for spec in specs if isinstance(spec, DyckSpec)]:
        ensure_cohort(dyck, store, where, bar_position)
    if text := [spec for spec in specs if isinstance(spec, TextSpec)]:
        ensure_text_seeds(text, store, where, bar_position)
